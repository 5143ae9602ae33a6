package tokenizer

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// TrainOptions says what vocabulary to learn.
type TrainOptions struct {
	VocabSize     int      // ids in all: 256 bytes, merges, special tokens
	Pattern       string   // PatternGPT2 (default) or PatternCL100K
	SpecialTokens []string // the last ids; default <|endoftext|>
	MinFrequency  int64    // a pair met less often is not merged; default 2
	MemoryBytes   int64    // bound on the table of words; default 256 MiB
	Workers       int      // default GOMAXPROCS; the result does not depend on it
}

// defaultWordMemory holds about three million different words.
const defaultWordMemory = 256 << 20

func (o *TrainOptions) complete() error {
	if o.Pattern == "" {
		o.Pattern = PatternGPT2
	}
	if _, ok := knownSplit(o.Pattern); !ok {
		return fmt.Errorf("train tokenizer: unknown split pattern %q; want tokenizer.PatternGPT2 or PatternCL100K", o.Pattern)
	}
	if o.SpecialTokens == nil {
		o.SpecialTokens = []string{EndOfText}
	}
	if least := 256 + len(o.SpecialTokens); o.VocabSize < least {
		return fmt.Errorf("train tokenizer: a vocabulary of %d is too small; the bytes and the special tokens alone are %d", o.VocabSize, least)
	}
	if o.MinFrequency <= 0 {
		o.MinFrequency = 2
	}
	if o.MemoryBytes <= 0 {
		o.MemoryBytes = defaultWordMemory
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return nil
}

// Trainer learns a byte-level BPE vocabulary from documents. It counts their words (the pieces of the split pattern) and
// at the end merges, again and again, the pair of adjacent tokens that is most frequent; among equals the one with the
// smaller ids. This is the algorithm of Sennrich et al. (arXiv 1508.07909) with the tie rule of Hugging Face's trainer, so
// the merges agree with that one's.
//
// Memory is bounded: when the table of words passes TrainOptions.MemoryBytes the rarest words are dropped, so a vocabulary
// from more text than that holds is approximate (in its rarest merges). The result depends on the documents, their order
// and the options, not on the number of workers.
//
// A Trainer is used by one goroutine.
type Trainer struct {
	o     TrainOptions
	block []byte // documents not yet counted
	marks []int  // their ends
	wave  []countJob
	words wordTable
}

// countBlock is how much text a worker counts at a time. Fixed, so that words are dropped at the same places of the
// corpus whatever the number of workers.
const countBlock = 4 << 20

// countJob is a block of documents on its way through a worker.
type countJob struct {
	text  []byte
	marks []int
}

// NewTrainer begins a training.
func NewTrainer(o TrainOptions) (*Trainer, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	return &Trainer{o: o, words: newWordTable(o.MemoryBytes)}, nil
}

// Add counts the words of a document. The text may be changed afterwards.
func (t *Trainer) Add(text []byte) {
	for len(text) > 0 {
		n := len(text)
		if room := countBlock - len(t.block); n > room {
			if n = SafeCut(text[:max(room, 1)]); n == 0 {
				n = max(room, 1)
			}
		}
		t.block = append(t.block, text[:n]...)
		t.marks = append(t.marks, len(t.block))
		text = text[n:]
		if len(text) > 0 || len(t.block) >= countBlock {
			t.flush()
		}
	}
}

// flush hands the block over; a full wave of one block a worker is counted at the same time, and merged in order.
func (t *Trainer) flush() {
	if len(t.block) > 0 {
		t.wave = append(t.wave, countJob{t.block, t.marks})
		t.block, t.marks = nil, nil
	}
	if len(t.wave) >= t.o.Workers {
		t.count()
	}
}

func (t *Trainer) count() {
	split, _ := knownSplit(t.o.Pattern)
	tables := make([]map[string]int64, len(t.wave))
	var wait sync.WaitGroup
	for i, job := range t.wave {
		wait.Go(func() { tables[i] = countWords(split, job) })
	}
	wait.Wait()
	for _, table := range tables {
		t.words.merge(table)
	}
	t.wave = t.wave[:0]
}

// Finish learns the merges. It fails when the text has too few different pairs for the vocabulary asked for, or when the
// context ends.
func (t *Trainer) Finish(ctx context.Context) (*BPE, error) {
	if len(t.block) > 0 {
		t.wave = append(t.wave, countJob{t.block, t.marks})
		t.block, t.marks = nil, nil
	}
	t.count()
	want := t.o.VocabSize - 256 - len(t.o.SpecialTokens)
	merges, tokens, err := learn(ctx, t.words.sorted(), want, t.o.MinFrequency)
	if err != nil {
		return nil, err
	}
	if len(merges) < want {
		return nil, fmt.Errorf("train tokenizer: the text gives %d merges, a vocabulary of %d needs %d; use more text or a vocabulary of %d",
			len(merges), t.o.VocabSize, want, 256+len(merges)+len(t.o.SpecialTokens))
	}
	special := map[string]int32{}
	for i, text := range t.o.SpecialTokens {
		special[text] = int32(len(tokens) + i)
	}
	return withSpecial(tokens, merges, t.o.Pattern, special)
}

// maxWord is the longest word counted as one; longer pieces (data, drawn lines) are counted in parts.
const maxWord = 256

func countWords(split splitter, job countJob) map[string]int64 {
	counts := make(map[string]*int64, 1<<14)
	var ends []int32
	begin := 0
	for _, mark := range job.marks {
		text := job.text[begin:mark]
		ends = split.cut(ends[:0], text)
		from := int32(0)
		for _, end := range ends {
			for from < end {
				to := min(end, from+maxWord)
				if n := counts[string(text[from:to])]; n != nil {
					*n++
				} else {
					counts[string(text[from:to])] = ptr(int64(1))
				}
				from = to
			}
		}
		begin = mark
	}
	table := make(map[string]int64, len(counts))
	for word, n := range counts {
		table[word] = *n
	}
	return table
}

func ptr[T any](v T) *T { return &v }

// wordTable counts words in bounded memory.
type wordTable struct {
	counts map[string]int64
	bytes  int64 // about what the table occupies
	limit  int64
}

// wordOverhead is the memory of a word besides its text: string header, count, share of the map.
const wordOverhead = 64

func newWordTable(limit int64) wordTable {
	return wordTable{counts: map[string]int64{}, limit: limit}
}

func (w *wordTable) merge(table map[string]int64) {
	for word, n := range table {
		before := w.counts[word]
		if before == 0 {
			w.bytes += int64(len(word)) + wordOverhead
		}
		w.counts[word] = before + n
	}
	for least := int64(1); w.bytes > w.limit; least *= 2 {
		w.drop(least)
	}
}

// drop removes the words met at most n times, and makes the map anew: a Go map never shrinks.
func (w *wordTable) drop(n int64) {
	kept := make(map[string]int64)
	w.bytes = 0
	for word, count := range w.counts {
		if count > n {
			kept[word] = count
			w.bytes += int64(len(word)) + wordOverhead
		}
	}
	w.counts = kept
}

// word is a different word of the text with its number of occurrences.
type word struct {
	text  string
	count int64
}

// sorted lists the words in one order for equal contents.
func (w *wordTable) sorted() []word {
	list := make([]word, 0, len(w.counts))
	for text, n := range w.counts {
		if len(text) > 1 {
			list = append(list, word{text, n})
		}
	}
	slices.SortFunc(list, func(a, b word) int { return cmp.Compare(a.text, b.text) })
	return list
}
