package data

import (
	"fmt"
	"io"
	"iter"
	"sync"
)

// Share is the indices of the samples of one rank, for ever: global batch b is samples first + b size to first + (b+1) size
// - 1, and rank r of the data-parallel ranks has the r-th of their equal parts. size is a multiple of ranks.
func Share(first uint64, size, rank, ranks int) iter.Seq[uint64] {
	part := uint64(size / ranks)
	return func(yield func(uint64) bool) {
		for begin := first; ; begin += uint64(size) {
			for i := range part {
				if !yield(begin + uint64(rank)*part + i) {
					return
				}
			}
		}
	}
}

// Loader reads batches ahead of the training step, in a goroutine of its own.
type Loader struct {
	ready, free chan batch
	stop        chan struct{}
	once        sync.Once
	done        sync.WaitGroup
	err         error // set before ready is closed
}

type batch []int32

// LoaderOptions says which samples make batches.
type LoaderOptions struct {
	Order     iter.Seq[uint64] // the indices of the samples; see Share
	BatchSize int              // samples of a batch
	Depth     int              // batches read ahead; default 2
	VocabSize int              // when set, a token at or above it is an error that names the sample
}

// NewLoader begins to read. Close must be called.
func NewLoader(src Source, o LoaderOptions) *Loader {
	if o.Depth <= 0 {
		o.Depth = 2
	}
	l := &Loader{ready: make(chan batch, o.Depth), free: make(chan batch, o.Depth), stop: make(chan struct{})}
	for range o.Depth {
		l.free <- make(batch, o.BatchSize*(src.SeqLength()+1))
	}
	l.done.Go(func() {
		defer close(l.ready)
		defer func() {
			if p := recover(); p != nil {
				l.err = fmt.Errorf("data: reading samples failed: %v", p)
			}
		}()
		l.err = l.run(src, o)
	})
	return l
}

func (l *Loader) run(src Source, o LoaderOptions) error {
	width := src.SeqLength() + 1
	var b batch
	n := 0
	for index := range o.Order {
		if n == 0 {
			select {
			case b = <-l.free:
			case <-l.stop:
				return io.ErrClosedPipe
			}
		}
		sample := b[n*width : (n+1)*width]
		if err := src.Sample(index, sample); err != nil {
			return fmt.Errorf("sample %d: %w", index, err)
		}
		if err := checkIDs(sample, o.VocabSize, index); err != nil {
			return err
		}
		if n++; n == o.BatchSize {
			l.ready <- b // never blocks: there are no more batches than places
			n = 0
		}
	}
	return io.EOF
}

func checkIDs(sample []int32, vocab int, index uint64) error {
	if vocab <= 0 {
		return nil
	}
	for _, id := range sample {
		if uint32(id) >= uint32(vocab) {
			return fmt.Errorf("data: sample %d has the token %d, but the model's vocabulary has %d entries; was it made with another tokenizer?", index, id, vocab)
		}
	}
	return nil
}

// Next waits for the next batch and copies it to dst: BatchSize rows of seq_length + 1 tokens. io.EOF when the order has
// ended (an incomplete last batch is dropped), io.ErrClosedPipe after Close, otherwise what reading a sample gave.
func (l *Loader) Next(dst []int32) error {
	select {
	case <-l.stop:
		return io.ErrClosedPipe
	default:
	}
	b, ok := <-l.ready
	if !ok {
		return l.err
	}
	if len(dst) != len(b) {
		l.free <- b
		return fmt.Errorf("data: a batch has %d tokens, the destination %d", len(b), len(dst))
	}
	copy(dst, b)
	l.free <- b
	return nil
}

// Close ends the reading and waits for the goroutine.
func (l *Loader) Close() {
	l.once.Do(func() { close(l.stop) })
	l.done.Wait()
}
