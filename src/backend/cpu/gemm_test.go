package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// guard is what memory outside a tensor holds, and must still hold afterwards.
const guard = -12345.5

// padded makes a rows x cols tensor with gap unused elements after every row and a guard band on both sides.
func padded(t testing.TB, b *Backend, rows, cols, gap int, fill func() float32) (tensor.Tensor, func()) {
	t.Helper()
	const band = 64
	ld := cols + gap
	mem, err := b.Alloc("test", 4*(rows*ld+2*band))
	if err != nil {
		t.Fatal(err)
	}
	all := tensor.New(mem, 0, tensor.F32, rows*ld+2*band).F32()
	for i := range all {
		all[i] = guard
	}
	x := tensor.New(mem, 4*band, tensor.F32, rows, ld).Columns(0, cols)
	for i := range rows {
		for j := range cols {
			all[band+i*ld+j] = fill()
		}
	}
	return x, func() {
		for i, v := range all {
			if at := i - band; (at < 0 || at >= rows*ld || at%ld >= cols) && v != guard {
				t.Fatalf("element %d outside of %v became %v", at, x, v)
			}
		}
	}
}

func nan() float32 { return float32(math.NaN()) }

// caseGemm is one product to try.
type caseGemm struct {
	m, n, k        int
	transA, transB bool
	alpha          float32
	accumulate     bool
	bias           bool
	act            backend.Activation
	pre, alias     bool
	gap            int
}

func (c caseGemm) String() string {
	type plain caseGemm
	return fmt.Sprintf("%+v", plain(c))
}

// expected is what float64 says: C, how far off it may be, and z.
type expected struct{ want, bound, pre []float64 }

// run computes the case on a new backend, compares it with what is expected, and returns C and Pre. The first run
// fills in the expectation.
func (c caseGemm) run(t testing.TB, b *Backend, s *stream, x *expected) (got []float32) {
	level, workers := b.Level(), b.Workers()
	r := rand.New(rand.NewPCG(uint64(c.m*1000003+c.n*1009+c.k), 1))
	normal := func() float32 { return float32(r.NormFloat64()) }
	ar, ac := c.m, c.k
	if c.transA {
		ar, ac = ac, ar
	}
	br, bc := c.k, c.n
	if c.transB {
		br, bc = bc, br
	}
	a, checkA := padded(t, b, ar, ac, c.gap, normal)
	bb, checkB := padded(t, b, br, bc, 2*c.gap, normal)
	fillC := nan
	if c.accumulate || c.alias {
		fillC = normal
	}
	cc, checkC := padded(t, b, c.m, c.n, 3*c.gap, fillC)
	g := backend.Gemm{C: cc, A: a, B: bb, TransA: c.transA, TransB: c.transB, Alpha: c.alpha, Accumulate: c.accumulate, Act: c.act}
	checks := []func(){checkA, checkB, checkC}
	if c.bias {
		bias, check := padded(t, b, 1, c.n, 0, normal)
		g.Bias, checks = bias.Reshape(c.n), append(checks, check)
	}
	switch {
	case c.alias:
		g.Pre = cc
	case c.pre:
		fill := nan
		if c.act == backend.GELUGrad {
			fill = normal
		}
		pre, check := padded(t, b, c.m, c.n, c.gap, fill)
		g.Pre, checks = pre, append(checks, check)
	}
	if x.want == nil {
		x.want, x.bound, x.pre = c.reference(g)
	}
	want, bound, wantPre := x.want, x.bound, x.pre
	defer func() {
		for _, x := range []tensor.Tensor{g.A, g.B, g.C, g.Bias, g.Pre} {
			if x.Present() && x.Memory().Host != nil {
				b.Free(x.Memory())
			}
		}
	}()
	s.Gemm(g)
	if err := s.Sync(); err != nil {
		t.Fatalf("%v: %v", c, err)
	}
	for _, check := range checks {
		check()
	}
	for i := range c.m {
		for j := range c.n {
			v := cc.F32()[i*cc.LD()+j]
			got = append(got, v)
			if e := math.Abs(float64(v) - want[i*c.n+j]); !(e <= bound[i*c.n+j]) {
				t.Fatalf("%s, %d workers, %v: C[%d,%d] = %v, want %v within %.2g", level, workers, c, i, j, v, want[i*c.n+j], bound[i*c.n+j])
			}
			if c.act == backend.GELU && c.pre {
				p := g.Pre.F32()[i*g.Pre.LD()+j]
				got = append(got, p)
				if e := math.Abs(float64(p) - wantPre[i*c.n+j]); !(e <= bound[i*c.n+j]) {
					t.Fatalf("%s, %d workers, %v: Pre[%d,%d] = %v, want %v", level, workers, c, i, j, p, wantPre[i*c.n+j])
				}
			}
		}
	}
	return got
}

// reference computes the product in float64. The bound is the rounding error of a sum of k products, doubled, and what
// the activation may add.
func (c caseGemm) reference(g backend.Gemm) (want, bound, pre []float64) {
	a, ra, ca := strides(g.A, c.transA)
	b, rb, cb := strides(g.B, c.transB)
	at := func(x tensor.Tensor, i, j int) float64 { return float64(x.F32()[i*x.LD()+j]) }
	alpha := float64(c.alpha)
	if alpha == 0 {
		alpha = 1
	}
	for i := range c.m {
		for j := range c.n {
			z, size := 0.0, 0.0
			for p := range c.k {
				v := float64(a[i*ra+p*ca]) * float64(b[p*rb+j*cb])
				z, size = z+v, size+math.Abs(v)
			}
			z, size = alpha*z, math.Abs(alpha)*size
			if c.bias {
				z, size = z+float64(g.Bias.F32()[j]), size+math.Abs(float64(g.Bias.F32()[j]))
			}
			pre = append(pre, z)
			factor := 1.0
			switch {
			case c.accumulate:
				old := at(g.C, i, j)
				z, size = z+old, size+math.Abs(old)
			case c.act == backend.GELU:
				z, factor = z*gelu64(z), 1.2
			case c.act == backend.GELUGrad:
				z *= geluGrad64(at(g.Pre, i, j))
				factor = 1.2
			}
			want = append(want, z)
			bound = append(bound, factor*size*(math.Sqrt(float64(c.k))+8)*0x1p-23+3e-7)
		}
	}
	return want, bound, pre
}

// strides is x's memory and the distances between rows and columns of op(x).
func strides(x tensor.Tensor, trans bool) (v []float32, row, col int) {
	if trans {
		return x.F32(), 1, x.LD()
	}
	return x.F32(), x.LD(), 1
}

// gelu64 is gelu(z)/z.
func gelu64(z float64) float64 {
	return 0.5 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(z+0.044715*z*z*z)))
}

func geluGrad64(z float64) float64 {
	c := math.Sqrt(2 / math.Pi)
	t := math.Tanh(c * (z + 0.044715*z*z*z))
	return 0.5*(1+t) + 0.5*z*(1-t*t)*c*(1+3*0.044715*z*z)
}

// gemmCases are shapes that do and do not fit the tiles, panels and blocks, with all variants and endings.
func gemmCases() []caseGemm {
	shapes := [][3]int{{1, 1, 1}, {8, 48, 16}, {7, 5, 3}, {64, 128, 128}, {33, 49, 70}, {16, 64, 9}, {130, 47, 400}, {20, 113, 777},
		{65, 300, 31}, {200, 16, 130}, {1, 200, 50}, {96, 112, 1}, {50, 4, 1200}, {17, 500, 390}}
	var cases []caseGemm
	n := 0
	for _, s := range shapes {
		for _, trans := range [][2]bool{{false, true}, {false, false}, {true, false}, {true, true}} {
			for end := range 9 {
				n++
				c := caseGemm{m: s[0], n: s[1], k: s[2], transA: trans[0], transB: trans[1], gap: n % 4}
				switch end {
				case 1:
					c.accumulate = true
				case 2:
					c.bias, c.alpha = true, 0.5
				case 3:
					c.accumulate, c.alpha = true, -1.25
				case 4:
					c.act, c.pre, c.bias = backend.GELU, true, true
				case 5:
					c.act = backend.GELU
				case 6:
					c.act, c.pre = backend.GELUGrad, true
				case 7:
					c.act, c.alias = backend.GELUGrad, true
				case 8:
					c.act, c.alias, c.bias, c.alpha = backend.GELUGrad, true, true, 2
				}
				// A fifth of the cases, coprime to variants and endings, still has all of them.
				if !testing.Short() || n%5 == 0 {
					cases = append(cases, c)
				}
			}
		}
	}
	return cases
}

func TestGemmAgreesWithFloat64AndNotWithTheNumberOfWorkers(t *testing.T) {
	const most = 3
	var backends []*Backend
	var streams []*stream
	for _, level := range Levels() {
		for workers := 1; workers <= most; workers++ {
			b := New(Options{Workers: workers, Level: level})
			defer b.Close()
			backends, streams = append(backends, b), append(streams, b.NewStream("test").(*stream))
		}
	}
	for _, c := range gemmCases() {
		var x expected
		var one []float32
		for i, b := range backends {
			got := c.run(t, b, streams[i], &x)
			if b.Workers() == 1 {
				one = got
			}
			for j, v := range one {
				if math.Float32bits(v) != math.Float32bits(got[j]) {
					t.Fatalf("%s, %v: element %d is %v with 1 worker, %v with %d", b.Level(), c, j, v, got[j], b.Workers())
				}
			}
		}
	}
}
