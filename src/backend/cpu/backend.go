package cpu

import (
	"fmt"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// maxWorkers bounds the workers of one stream: far more than the cores that share one memory well.
const maxWorkers = 1024

// Options of a Backend.
type Options struct {
	Workers int    // workers a stream; 0 means one for every processor that Go may use
	Level   string // avx512, avx2 or portable; empty means CAMBIUM_CPU_LEVEL, or else the fastest
}

// Check is nil when New accepts the options, and otherwise one sentence for the user.
func (o Options) Check() error {
	if o.Workers < 0 || o.Workers > maxWorkers {
		return fmt.Errorf("cpu: %d workers: want 1 to %d, or 0 for one on every core", o.Workers, maxWorkers)
	}
	_, err := chooseLevel(o.Level)
	return err
}

// Backend is the processor as one rank uses it. It implements backend.Backend.
type Backend struct {
	workers int
	level   level

	scratch atomic.Int64 // bytes that streams keep for operations

	mu      sync.Mutex
	streams []*stream
	blocks  map[*tensor.Memory]block
	usage   backend.Usage
	closed  bool
}

var _ backend.Backend = (*Backend)(nil)

// New makes a backend. It panics with the sentence of o.Check when that rejects the options.
func New(o Options) *Backend {
	if err := o.Check(); err != nil {
		panic(err)
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	l, _ := chooseLevel(o.Level)
	return &Backend{
		workers: o.Workers, level: l, blocks: map[*tensor.Memory]block{},
		usage: backend.Usage{ByLabel: map[string]int{}, PeakByLabel: map[string]int{}},
	}
}

// Name is like "cpu avx512, 2 workers".
func (b *Backend) Name() string {
	plural := "s"
	if b.workers == 1 {
		plural = ""
	}
	return fmt.Sprintf("cpu %v, %d worker%s", b.level, b.workers, plural)
}

// Workers is the number of workers of every stream.
func (b *Backend) Workers() int { return b.workers }

// Level is the instruction set in use: avx512, avx2 or portable.
func (b *Backend) Level() string { return b.level.String() }

// Alloc returns zeroed memory that begins at a cache line.
func (b *Backend) Alloc(label string, bytes int) (*tensor.Memory, error) {
	if bytes < 0 {
		return nil, fmt.Errorf("cpu: %d bytes of memory for %q", bytes, label)
	}
	blk, err := newBlock(bytes)
	if err != nil {
		return nil, fmt.Errorf("cpu: no memory for %q: %d bytes wanted beside the %d in use: %w", label, bytes, b.Usage().Current, err)
	}
	m := &tensor.Memory{Host: blk.data, Bytes: bytes, Label: label}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocks[m] = blk
	u := &b.usage
	u.ByLabel[label] += bytes
	u.Current += bytes
	u.Peak = max(u.Peak, u.Current)
	if u.ByLabel[label] > u.PeakByLabel[label] {
		u.PeakByLabel[label] = u.ByLabel[label]
	}
	return m, nil
}

// Free gives memory back; nothing may use it any more, and it panics when b did not allocate it.
func (b *Backend) Free(m *tensor.Memory) {
	b.mu.Lock()
	defer b.mu.Unlock()
	blk, ok := b.blocks[m]
	if !ok {
		panic(fmt.Sprintf("cpu: Free of memory %q that is not allocated here", m.Label))
	}
	delete(b.blocks, m)
	if b.usage.ByLabel[m.Label] -= m.Bytes; b.usage.ByLabel[m.Label] == 0 {
		delete(b.usage.ByLabel, m.Label)
	}
	b.usage.Current -= m.Bytes
	m.Host = nil
	blk.free()
}

// Usage counts allocated bytes.
func (b *Backend) Usage() backend.Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.usage
	u.ByLabel, u.PeakByLabel = maps.Clone(u.ByLabel), maps.Clone(u.PeakByLabel)
	u.Scratch = int(b.scratch.Load())
	return u
}

// ResetPeak begins anew with what is allocated now.
func (b *Backend) ResetPeak() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.Peak, b.usage.PeakByLabel = b.usage.Current, maps.Clone(b.usage.ByLabel)
}

// NewStream starts a stream with its own workers.
func (b *Backend) NewStream(name string) backend.Stream {
	s := newStream(name, b.workers, b.level, &b.scratch)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		panic(fmt.Sprintf("cpu: NewStream(%q) after Close", name))
	}
	b.streams = append(b.streams, s)
	return s
}

// NewEvent makes an event.
func (b *Backend) NewEvent() backend.Event { return &event{} }

// Close waits for all streams, ends their workers and frees all memory. It returns the first error that no Sync has
// returned. Closing again does nothing.
func (b *Backend) Close() error {
	b.mu.Lock()
	streams := b.streams
	b.streams, b.closed = nil, true
	b.mu.Unlock()
	var first error
	for _, s := range streams {
		if err := s.close(); err != nil && first == nil {
			first = err
		}
	}
	b.mu.Lock()
	blocks := b.blocks
	b.blocks = map[*tensor.Memory]block{}
	b.usage.Current, b.usage.ByLabel = 0, map[string]int{}
	b.scratch.Store(0)
	b.mu.Unlock()
	for m, blk := range blocks {
		m.Host = nil
		blk.free()
	}
	return first
}

// block is the memory behind one tensor.Memory.
type block struct {
	data   []byte
	mapped []byte // the mapping to give back, nil when the garbage collector owns it
}

// heapBlock takes zeroed, aligned memory from the garbage collector's heap.
func heapBlock(bytes int) block {
	return block{data: alignedBytes(bytes)}
}

// cacheLine is the alignment of all memory made here.
const cacheLine = 64

func alignedBytes(n int) []byte {
	if n == 0 {
		return []byte{}
	}
	raw := make([]byte, n+cacheLine-1)
	skip := -uintptr(unsafe.Pointer(&raw[0])) % cacheLine
	return raw[skip : skip+uintptr(n) : skip+uintptr(n)]
}

func alignedFloats(n int) []float32 {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&alignedBytes(4 * n)[0])), n)
}
