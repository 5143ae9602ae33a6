package data

import (
	"fmt"

	"cambium/src/rng"
)

// Mock is random tokens without files, for benches: uniform over the vocabulary, a function of (seed, index).
type Mock struct {
	vocab, seqLength int
	key              rng.Key
}

// NewMock makes random samples of seqLength + 1 tokens below vocab.
func NewMock(vocab, seqLength int, seed uint64) *Mock {
	return &Mock{vocab, seqLength, rng.NewKey(seed, "data/mock")}
}

// SeqLength is the number of inputs of a sample.
func (m *Mock) SeqLength() int { return m.seqLength }

// Sample writes sample index to dst.
func (m *Mock) Sample(index uint64, dst []int32) error {
	if len(dst) != m.seqLength+1 {
		return fmt.Errorf("data: a sample has %d tokens, the destination %d", m.seqLength+1, len(dst))
	}
	for i := range dst {
		dst[i] = int32(m.key.Below(index*uint64(len(dst))+uint64(i), uint64(m.vocab)))
	}
	return nil
}
