package data

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"cambium/src/rng"
)

// Corpus is a corpus of a dataset: a Megatron prefix (or its .bin or .idx), an llm.c shard or a pattern of shards.
type Corpus struct {
	Path   string
	Weight float64 // share of the samples, relative to the others'
}

// Source gives samples by their index.
type Source interface {
	SeqLength() int
	// Sample writes sample index, seq_length + 1 tokens, to dst. It may be called by several goroutines.
	Sample(index uint64, dst []int32) error
}

// Dataset is the samples of one or several corpora for one sequence length: input dst[:T] and targets dst[1:].
//
// Sample s of a corpus of n = (tokens-1)/T samples is its tokens s T to s T + T. Sample index i of the dataset is found
// in two steps, both pure functions of (seed, i):
//
//   - blending: samples come in blocks of 65,536, in which corpus c has k_c places, its weight's share; a pseudo-random
//     permutation of each block's own says whose a place is, and which of the k_c of the block it is. So i is sample number
//     m = block k_c + that of corpus c, and the corpora's m run through 0, 1, 2, ... without a gap.
//   - order: m is sample Permute_e(m mod n) in epoch e = m / n of corpus c; each epoch has its own permutation.
type Dataset struct {
	seqLength int
	seed      uint64
	corpora   []corpus
}

type corpus struct {
	stream
	path    string
	order   string // begins the name of the random numbers that order its samples
	samples uint64
	places  uint64 // of a block
	before  uint64 // places of the corpora before
	info    Info
	known   bool // info is
}

// blendBlock is how many samples have the corpora in the exact proportion of their weights.
const blendBlock = 1 << 16

// Open opens corpora as a dataset of samples of seqLength tokens. The order of samples follows from the seed and the
// corpora's order in the list.
func Open(specs []Corpus, seqLength int, seed uint64) (*Dataset, error) {
	if len(specs) == 0 {
		return nil, errors.New("data: no corpus given")
	}
	if seqLength < 1 {
		return nil, fmt.Errorf("data: seq_length %d; want at least 1", seqLength)
	}
	d := &Dataset{seqLength: seqLength, seed: seed}
	for _, spec := range specs {
		c, err := openCorpus(spec.Path, seqLength)
		if err != nil {
			d.Close()
			return nil, err
		}
		c.order = fmt.Sprintf("data/order/%d/", len(d.corpora))
		d.corpora = append(d.corpora, c)
	}
	if err := d.share(specs); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func openCorpus(path string, seqLength int) (c corpus, err error) {
	c.path = path
	if c.stream, err = openStream(path); err != nil {
		return c, err
	}
	if c.info, c.known, err = readInfo(path); err == nil {
		if n := c.tokens(); n < uint64(seqLength)+1 {
			err = fmt.Errorf("data %s: %d tokens are fewer than one sample of seq_length %d + 1", path, n, seqLength)
		} else {
			c.samples = (n - 1) / uint64(seqLength)
		}
	}
	if err != nil {
		c.close()
	}
	return c, err
}

// share divides the places of a block among the corpora: the largest remainders get what rounding leaves, and every corpus
// at least one.
func (d *Dataset) share(specs []Corpus) error {
	sum := 0.0
	for _, s := range specs {
		if !(s.Weight > 0) || math.IsInf(s.Weight, 0) {
			return fmt.Errorf("data %s: weight %g; want a number above 0", s.Path, s.Weight)
		}
		sum += s.Weight
	}
	left := int64(blendBlock)
	rest := make([]float64, len(specs))
	for i, s := range specs {
		exact := s.Weight / sum * blendBlock
		places := max(1, math.Floor(exact))
		rest[i] = exact - places
		d.corpora[i].places = uint64(places)
		left -= int64(places)
	}
	for ; left != 0; left -= sign(left) {
		best := -1
		for i := range rest {
			fits := left > 0 || d.corpora[i].places > 1
			if fits && (best < 0 || float64(sign(left))*(rest[i]-rest[best]) > 0) {
				best = i
			}
		}
		if best < 0 {
			return fmt.Errorf("data: %d corpora are too many to blend; at most %d", len(specs), blendBlock)
		}
		d.corpora[best].places += uint64(sign(left))
		rest[best] -= float64(sign(left))
	}
	before := uint64(0)
	for i := range d.corpora {
		d.corpora[i].before = before
		before += d.corpora[i].places
	}
	return nil
}

func sign(n int64) int64 {
	if n < 0 {
		return -1
	}
	return 1
}

// SeqLength is the number of inputs of a sample.
func (d *Dataset) SeqLength() int { return d.seqLength }

// blend is which corpus sample index belongs to, and its number among that corpus' samples.
func (d *Dataset) blend(index uint64) (c int, number uint64) {
	if len(d.corpora) == 1 {
		return 0, index
	}
	block := index / blendBlock
	return d.place(block, d.blockKey(block).Permute(blendBlock, index%blendBlock))
}

func (d *Dataset) blockKey(block uint64) rng.Key {
	return d.key("data/blend/", block)
}

// key is the random numbers of a name and a number. It allocates nothing: it runs for every sample.
func (d *Dataset) key(name string, number uint64) rng.Key {
	var buf [48]byte
	return rng.NewKey(d.seed, string(strconv.AppendUint(append(buf[:0], name...), number, 10)))
}

func (d *Dataset) place(block, place uint64) (c int, number uint64) {
	for c = 0; c+1 < len(d.corpora) && place >= d.corpora[c+1].before; c++ {
	}
	own := &d.corpora[c]
	return c, block*own.places + place - own.before
}

// Sample writes sample index, seq_length + 1 tokens, to dst. Every index has one: epochs never end.
func (d *Dataset) Sample(index uint64, dst []int32) error {
	c, number := d.blend(index)
	own := &d.corpora[c]
	epoch := number / own.samples
	key := d.key(own.order, epoch)
	return d.window(own, key.Permute(own.samples, number%own.samples), dst)
}

func (d *Dataset) window(c *corpus, number uint64, dst []int32) error {
	if len(dst) != d.seqLength+1 {
		return fmt.Errorf("data: a sample has %d tokens, the destination %d", d.seqLength+1, len(dst))
	}
	return c.read(dst, number*uint64(d.seqLength))
}

// NumSamples is how many different samples there are: one epoch of every corpus.
func (d *Dataset) NumSamples() uint64 {
	n := uint64(0)
	for i := range d.corpora {
		n += d.corpora[i].samples
	}
	return n
}

// Sequential writes sample number index of all corpora as they lie one behind the other, for validation: 0 to
// NumSamples()-1, then from the start again.
func (d *Dataset) Sequential(index uint64, dst []int32) error {
	index %= d.NumSamples()
	for i := range d.corpora {
		if n := d.corpora[i].samples; index >= n {
			index -= n
			continue
		}
		return d.window(&d.corpora[i], index, dst)
	}
	return nil
}

// Consumed is how many samples of each corpus are among the first n: the state of a run, a corpus each.
func (d *Dataset) Consumed(n uint64) []uint64 {
	counts := make([]uint64, len(d.corpora))
	if len(d.corpora) == 1 {
		counts[0] = n
		return counts
	}
	block := n / blendBlock
	for i := range counts {
		counts[i] = block * d.corpora[i].places
	}
	key := d.blockKey(block)
	for i := range n % blendBlock {
		c, _ := d.place(block, key.Permute(blendBlock, i))
		counts[c]++
	}
	return counts
}

// Tokens is the number of tokens of all corpora.
func (d *Dataset) Tokens() uint64 {
	n := uint64(0)
	for i := range d.corpora {
		n += d.corpora[i].tokens()
	}
	return n
}

// Documents is the number of documents of all corpora; those of llm.c's shards are not known and count none.
func (d *Dataset) Documents() uint64 {
	n := uint64(0)
	for i := range d.corpora {
		n += d.corpora[i].documents()
	}
	return n
}

// BytesPerToken is how many bytes of text a token stands for, over all corpora; 0 when a corpus does not tell, because
// something other than Prep wrote it. Bits per byte = loss in nats / ln 2 / BytesPerToken.
func (d *Dataset) BytesPerToken() float64 {
	var all Info
	for i := range d.corpora {
		if !d.corpora[i].known {
			return 0
		}
		all.Bytes += d.corpora[i].info.Bytes
		all.Tokens += d.corpora[i].info.Tokens
	}
	return all.BytesPerToken()
}

// CheckVocab refuses a corpus whose tokens were made with a larger vocabulary than a model has entries, when the corpus
// tells. Loader checks the ids themselves.
func (d *Dataset) CheckVocab(entries int) error {
	for i := range d.corpora {
		if c := &d.corpora[i]; c.known && c.info.VocabSize > entries {
			return fmt.Errorf("data %s: its tokenizer %s has %d entries, the model's vocabulary %d", c.path, c.info.Tokenizer, c.info.VocabSize, entries)
		}
	}
	return nil
}

// Close closes the files; no sample may be read afterwards.
func (d *Dataset) Close() error {
	var errs []error
	for i := range d.corpora {
		errs = append(errs, d.corpora[i].close())
	}
	d.corpora = nil
	return errors.Join(errs...)
}
