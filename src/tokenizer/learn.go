package tokenizer

import (
	"container/heap"
	"context"
	"fmt"
)

// pair is two adjacent tokens.
type pair struct{ left, right int32 }

// candidate is a pair with the count it had when it was pushed: an upper bound of what it has now, so the heap is mended
// only for the pair on top.
type candidate struct {
	pair
	count int64
}

// candidates is a heap of pairs: most frequent first, then the smaller ids.
type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	a, b := c[i], c[j]
	if a.count != b.count {
		return a.count > b.count
	}
	if a.left != b.left {
		return a.left < b.left
	}
	return a.right < b.right
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// learner is the state of the merges: every word as tokens, the count of every pair and the words that hold it.
type learner struct {
	words  [][]int32
	counts []int64 // of each word
	pairs  map[pair]*pairStat
	heap   candidates
	fresh  []pair // pairs that arose in the current merge
}

// pairStat is what is known of a pair. words may name a word twice, or one that has lost the pair.
type pairStat struct {
	count int64
	words []int32
	fresh bool
}

// learn makes up to want merges of words; it stops earlier at a pair met less than least times.
func learn(ctx context.Context, words []word, want int, least int64) (merges [][2]int32, tokens [][]byte, err error) {
	tokens = byteTokens()
	l := newLearner(words, tokens)
	for len(merges) < want && len(l.heap) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("train tokenizer: %w", err)
		}
		top := &l.heap[0]
		if now := l.pairs[top.pair].count; now != top.count {
			top.count = now
			heap.Fix(&l.heap, 0)
			continue
		}
		if top.count < least {
			break
		}
		p := heap.Pop(&l.heap).(candidate).pair
		merges = append(merges, [2]int32{p.left, p.right})
		id := int32(len(tokens))
		tokens = append(tokens, append(append([]byte(nil), tokens[p.left]...), tokens[p.right]...))
		l.apply(p, id)
	}
	return merges, tokens, nil
}

func newLearner(words []word, tokens [][]byte) *learner {
	var byteIDs [256]int32
	for id, token := range tokens {
		byteIDs[token[0]] = int32(id)
	}
	l := &learner{pairs: map[pair]*pairStat{}}
	size := 0
	for _, w := range words {
		size += len(w.text)
	}
	all := make([]int32, 0, size)
	for i, w := range words {
		begin := len(all)
		for _, b := range []byte(w.text) {
			all = append(all, byteIDs[b])
		}
		ids := all[begin:len(all):len(all)]
		l.words, l.counts = append(l.words, ids), append(l.counts, w.count)
		for j := 0; j+1 < len(ids); j++ {
			l.change(pair{ids[j], ids[j+1]}, w.count, int32(i))
		}
	}
	l.pushFresh()
	return l
}

// change adds to the count of a pair; a positive change says that the word holds it.
func (l *learner) change(p pair, by int64, word int32) {
	s := l.pairs[p]
	if s == nil {
		s = &pairStat{}
		l.pairs[p] = s
	}
	s.count += by
	if by < 0 {
		return
	}
	if n := len(s.words); n == 0 || s.words[n-1] != word {
		s.words = append(s.words, word)
	}
	if !s.fresh {
		s.fresh = true
		l.fresh = append(l.fresh, p)
	}
}

// pushFresh enters the pairs of the current merge into the heap. A pair that rose while a lower bound of it lies in the
// heap gets a second entry; whichever is stale is mended when it comes to the top.
func (l *learner) pushFresh() {
	for _, p := range l.fresh {
		s := l.pairs[p]
		s.fresh = false
		if s.count > 0 {
			heap.Push(&l.heap, candidate{p, s.count})
		}
	}
	l.fresh = l.fresh[:0]
}

// apply replaces the pair by id in every word.
func (l *learner) apply(p pair, id int32) {
	for _, w := range l.pairs[p].words {
		ids, count := l.words[w], l.counts[w]
		kept := 0
		for i := 0; i < len(ids); i++ {
			if i+1 == len(ids) || ids[i] != p.left || ids[i+1] != p.right {
				ids[kept] = ids[i]
				kept++
				continue
			}
			if kept > 0 {
				l.change(pair{ids[kept-1], p.left}, -count, w)
				l.change(pair{ids[kept-1], id}, count, w)
			}
			if i+2 < len(ids) {
				l.change(pair{p.right, ids[i+2]}, -count, w)
				l.change(pair{id, ids[i+2]}, count, w)
			}
			ids[kept] = id
			kept++
			i++
		}
		l.words[w] = ids[:kept]
	}
	l.pairs[p].count = 0
	l.pairs[p].words = nil
	l.pushFresh()
}
