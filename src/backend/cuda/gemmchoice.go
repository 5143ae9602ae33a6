//go:build cuda

package cuda

import (
	"fmt"
	"slices"
	"unsafe"

	"cambium/src/tensor"
)

// A GEMM can be done in several ways: by our own kernels, and by cuBLASLt where it is found. Which of them does it is decided once a
// shape, on the goroutine that feeds the stream, and then stays: the same calls give the same bits as long as the process lives. A GPU
// times the ways; the emulated driver takes the first in the order of makers.
//
// Ranks choose by themselves, and may choose otherwise. That costs the last bits of a repetition, which is why the mode can be forced, but never makes
// replicas differ: what they must have in common, gradients, partial sums of tensor-parallel ranks, weights, is added up in one place and
// handed to all.

// gemmCall is a GEMM on its way through the queue.
type gemmCall struct {
	gemmArgs
	in, out tensor.DType // of A and B, and of C
	mode    gemmMode
}

// launcher enqueues calls of the shape that it was made for, on the stream's goroutine.
type launcher func(s *stream, c *gemmCall) error

// way is one implementation, ready for the calls of a shape.
type way struct {
	name   string
	kernel *kernel // nil: not ours
	launch launcher
}

// by is who does the work, for a profile.
func (w *way) by() string {
	if w.kernel != nil {
		return w.kernel.name
	}
	return w.name
}

// maker looks whether it has an implementation, or several, for the calls of c's shape.
type maker func(s *stream, c *gemmCall) []way

// makers in the order of preference, for those who do not measure: a new kernel comes in by one line here. What none of them takes, simtWays does.
var makers = [...]struct {
	library bool // not ours
	make    maker
}{{true, blasWays}, {false, wgmmaWays}, {false, mmaWays}}

// gemmMode says who does GEMMs.
type gemmMode uint8

// The modes: what is fastest, our own kernels, or cuBLASLt wherever it can.
const (
	gemmAuto gemmMode = iota
	gemmOwn
	gemmBlas
)

var gemmModes = [...]string{"auto", "own", "cublaslt"}

func (m gemmMode) String() string { return gemmModes[m] }

// parseGemmMode reads a mode; "" is gemmAuto.
func parseGemmMode(text string) (gemmMode, error) {
	for i, name := range gemmModes {
		if text == name || text == "" {
			return gemmMode(i), nil
		}
	}
	return 0, fmt.Errorf("cuda: GEMMs by %q: want auto, own or cublaslt", text)
}

// gemmKey is what a choice depends on.
type gemmKey struct {
	mode                  gemmMode
	m, n, k, act          int32
	lda, ldb, ldc, ldp    int64
	in, out               tensor.DType
	transA, transB        bool
	accumulate, bias, pre bool
	inPlace, aligned      bool
}

func (c *gemmCall) key() gemmKey {
	return gemmKey{
		mode: c.mode, m: c.m, n: c.n, k: c.k, act: c.act, lda: c.a.ld, ldb: c.b.ld, ldc: c.c.ld, ldp: c.pre.ld, in: c.in, out: c.out,
		transA: c.transA != 0, transB: c.transB != 0, accumulate: c.accumulate != 0, bias: c.bias != 0, pre: c.pre.data != 0,
		inPlace: c.pre.data == c.c.data, aligned: (c.a.data|c.b.data|c.c.data|c.pre.data|c.bias)%16 == 0,
	}
}

// runGemm is what the queue calls.
func runGemm(s *stream, o *op) error {
	c := (*gemmCall)(unsafe.Pointer(&o.args))
	k := c.key()
	w, known := s.gemms[k]
	if !known {
		if s.capturing {
			return errCapturing
		}
		var err error
		if w, err = s.choose(k, c); err != nil {
			return err
		}
		s.gemms[k] = w
	}
	s.last, o.by, o.grid = o.name, w.by(), dim{uint32(c.m), uint32(c.n), uint32(c.k)} // for a profile: who, and what
	return w.launch(s, c)
}

// choose decides who does the calls of a shape: as any stream of this device did before, by time, or by rule.
func (s *stream) choose(k gemmKey, c *gemmCall) (way, error) {
	ways := waysOf(s, c, k.mode)
	s.b.mu.Lock()
	name, known := s.b.chosen[k]
	s.b.mu.Unlock()
	for _, w := range ways {
		if known && w.name == name {
			return w, nil
		}
	}
	best := ways[0]
	if len(ways) > 1 && k.mode == gemmAuto && s.b.tuning.rounds > 0 {
		var err error
		if best, err = s.fastest(c, ways); err != nil {
			return best, err
		}
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.chosen[k] = best.name
	return best, nil
}

// waysOf are the implementations that a mode allows, at least one.
func waysOf(s *stream, c *gemmCall, mode gemmMode) (all []way) {
	for _, m := range makers {
		if m.library && mode == gemmOwn || !m.library && mode == gemmBlas && len(all) > 0 {
			continue
		}
		ways := m.make(s, c)
		if mode == gemmBlas && len(ways) > 1 {
			ways = ways[:1] // what the library itself thinks best
		}
		all = append(all, ways...)
	}
	if len(all) == 0 {
		return simtWays(s, c)
	}
	return all
}

func (b *gpu) gemmMode() gemmMode { return gemmMode(b.mode.Load()) }

// gemmVariable sets the mode that a device begins with.
const gemmVariable = "CAMBIUM_GEMM"

// GemmModes are the modes that make a difference on this device.
func (b *gpu) GemmModes() []string {
	if b.library() == nil {
		return gemmModes[:gemmOwn+1]
	}
	return gemmModes[:]
}

// SetGemmMode changes who does the GEMMs that are enqueued from now on, in all streams.
func (b *gpu) SetGemmMode(text string) error {
	m, err := parseGemmMode(text)
	if err == nil {
		b.mode.Store(uint32(m))
	}
	return err
}

// Gemms says who does GEMMs on this device, and why not cuBLASLt where it does none.
func (b *gpu) Gemms() string {
	mode := b.gemmMode()
	if mode == gemmOwn {
		return "GEMMs by own kernels"
	}
	l := b.library()
	switch {
	case l == nil:
		return fmt.Sprintf("GEMMs by own kernels: %v", b.blasAbsent)
	case mode == gemmBlas:
		return "GEMMs by cuBLASLt " + l.versionText()
	}
	return "GEMMs by cuBLASLt " + l.versionText() + " or own kernels, whichever is faster for a shape"
}

// GemmChoices tells of the choices made by time so far.
func (b *gpu) GemmChoices() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.choices)
}
