//go:build cuda

package cuda

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// products is a stream with three operands for products of side 192 in bf16.
type products struct {
	s       backend.Stream
	a, b, c tensor.Tensor
}

func newProducts(t *testing.T, b backend.Backend) *products {
	t.Helper()
	const side = 192
	p := &products{s: b.NewStream("test")}
	take := func(d tensor.DType) tensor.Tensor {
		m, err := b.Alloc("test", side*side*d.Size())
		if err != nil {
			t.Fatal(err)
		}
		return tensor.New(m, 0, d, side, side)
	}
	p.a, p.b, p.c = take(tensor.BF16), take(tensor.BF16), take(tensor.F32)
	host := make([]byte, p.a.Bytes())
	for i := range host { // exponents near 1, mantissas without a pattern
		if host[i] = byte(i * i / 7); i%2 == 1 {
			host[i] = 0x3f - byte(i/2%3)
		}
	}
	p.s.Upload(p.a, host)
	p.s.Upload(p.b, host)
	return p
}

// product is C (+)= A^T B, as it comes back.
func (p *products) product(t *testing.T, accumulate bool) []byte {
	t.Helper()
	out := make([]byte, p.c.Bytes())
	p.s.Gemm(backend.Gemm{C: p.c, A: p.a, B: p.b, TransA: true, Accumulate: accumulate})
	p.s.Download(out, p.c)
	if err := p.s.Sync(); err != nil {
		t.Fatal(err)
	}
	return out
}

// Ways differ in the last bits. Timing must leave no trace, and what was chosen stays: in all streams of a device, and for it alone.
func TestAShapeIsAlwaysDoneInTheSameWay(t *testing.T) {
	needLibrary(t)
	for round := range 3 {
		b := opened(gemmAuto)(t).(*gpu)
		b.tuning = tuning{2, 2}
		first := newProducts(t, b)
		want := first.product(t, false)
		notes := b.GemmChoices()
		if len(notes) != 1 || !strings.HasPrefix(notes[0], "GEMM 192 x 192 x 192 tn, bf16 to fp32: cublaslt 0 ") || !strings.Contains(notes[0], ", mma ") {
			t.Fatalf("round %d: one choice among several is wanted: %q", round, notes)
		}
		second := newProducts(t, b)
		for range 3 {
			if !bytes.Equal(first.product(t, false), want) || !bytes.Equal(second.product(t, false), want) {
				t.Fatalf("round %d: another result of the same product: %s", round, notes[0])
			}
		}
		if n := len(b.GemmChoices()); n != 1 {
			t.Errorf("round %d: %d choices for one shape", round, n)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What is added to is added to once, although it is timed.
func TestTimingAddsNothing(t *testing.T) {
	needLibrary(t)
	result := func(mode gemmMode) []byte {
		b := opened(mode)(t).(*gpu)
		defer b.Close()
		b.tuning = tuning{2, 2}
		p := newProducts(t, b)
		p.s.Fill(p.c, 1)
		return p.product(t, true)
	}
	if !near(result(gemmAuto), result(gemmOwn)) {
		t.Error("the sum of 1 and a product is another one when it was timed")
	}
}

// near compares fp32 numbers.
func near(x, y []byte) bool {
	for i := 0; i < len(x); i += 4 {
		a, b := math.Float32frombits(binary.NativeEndian.Uint32(x[i:])), math.Float32frombits(binary.NativeEndian.Uint32(y[i:]))
		if math.Abs(float64(a-b)) > 1e-5*(1+math.Abs(float64(a))) {
			return false
		}
	}
	return true
}

// A kernel that does nothing is the fastest of all.
func TestAWayThatIsWrongIsLeftOut(t *testing.T) {
	b := opened(gemmAuto)(t).(*gpu)
	defer b.Close()
	b.tuning = tuning{2, 2}
	p := newProducts(t, b)
	for _, accumulate := range []bool{false, true} {
		c := callOf(backend.Gemm{C: p.c, A: p.a, B: p.b, TransA: true, Accumulate: accumulate})
		idle := way{"idle", nil, func(*stream, *gemmCall) error { return nil }}
		var best way
		p.s.(*stream).enqueue(op{name: "test", run: func(s *stream) (err error) {
			best, err = s.fastest(&c, append([]way{idle}, waysOf(s, &c, gemmAuto)...))
			return err
		}})
		if err := p.s.Sync(); err != nil {
			t.Fatal(err)
		}
		choices := b.GemmChoices()
		if told := choices[len(choices)-1]; best.name == "idle" || best.name == "" || !strings.HasSuffix(told, "WRONG RESULTS, left out: idle") {
			t.Errorf("adding %v: %q was taken: %s", accumulate, best.name, told)
		}
	}
}

func TestWhoDoesGEMMsIsToldInOneSentence(t *testing.T) {
	b := opened(gemmAuto)(t).(*gpu)
	defer b.Close()
	if !b.emulated {
		t.Skip("for the emulated driver")
	}
	for _, c := range []struct{ env, want string }{
		{"CAMBIUM_CUBLASLT=", "GEMMs by own kernels: no cuBLASLt for the emulated driver"},
		{"CAMBIUM_CUBLASLT=/nowhere/libcublasLt.so.13", "GEMMs by own kernels: no cuBLASLt (/nowhere/libcublasLt.so.13: cannot open"},
		{"CAMBIUM_CUBLASLT=libc.so.6", "GEMMs by own kernels: libc.so.6 is not cuBLASLt: name its library, of CUDA 12 or later"},
		{"CAMBIUM_EMU_CUBLASLT_VERSION=111103", "GEMMs by own kernels: "},
		{"CAMBIUM_GEMM=own", "GEMMs by own kernels"},
		{"CAMBIUM_GEMM=fast", `GEMMs by "fast": want auto, own or cublaslt`},
	} {
		if got := said(t, "gemms", c.env); !strings.Contains(got, c.want) || strings.Count(got, "\n") > 0 {
			t.Errorf("%s: %q, want %q", c.env, got, c.want)
		}
	}
	if b.library() == nil {
		t.Skip(b.blasAbsent)
	}
	for env, want := range map[string]string{
		"X=1":                                 "GEMMs by cuBLASLt 13.0.0 or own kernels",
		"CAMBIUM_GEMM=cublaslt":               "GEMMs by cuBLASLt 13.0.0",
		"CAMBIUM_EMU_CUBLASLT_VERSION=111103": "is cuBLASLt 11.11.3, too old: name one of CUDA 12 or later",
		"CAMBIUM_EMU_CUBLASLT_VERSION=11205":  "is cuBLASLt 11.2.5, too old",
	} {
		if got := said(t, "gemms", env); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", env, got, want)
		}
	}
}

// gemms is a role: it says who does GEMMs.
func gemms() error {
	b, err := Open(0)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s", b.(*gpu).Gemms())
}
