//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/conformance"
	"cambium/src/tensor"
)

// openHopper opens the device with the sm_90a GEMM for every product that it can do, and skips where there is none
// (emulated: CAMBIUM_EMU_SM=90).
func openHopper(t *testing.T) *gpu {
	t.Helper()
	b, err := Open(0)
	if err != nil {
		t.Skipf("no device: %v", err)
	}
	g := b.(*gpu)
	if g.capability != 90 {
		g.Close()
		t.Skipf("%s is not sm_90", g.name)
	}
	g.wgmmaAlways = true
	g.mode.Store(uint32(gemmOwn))
	return g
}

func TestWgmmaConforms(t *testing.T) {
	conformance.RunOnly(t, func(t *testing.T) backend.Backend { return openHopper(t) }, "Gemm", "GemmActivations")
}

// TestWgmmaOfManyTiles compares products of several tiles and slices with sums in fp64, whole tiles and stream-K, twice over the same
// memory: a flag that stayed set, or a slot of the ring that was used too early, shows.
func TestWgmmaOfManyTiles(t *testing.T) {
	b := openHopper(t)
	defer b.Close()
	shared := 0
	for _, units := range []int{b.units, 2, 6, 10} { // of which products are shared out anew
		b.units = units
		for _, size := range [][3]int{{264, 520, 200}, {130, 264, 1032}, {520, 250, 520}} {
			for form := range 4 {
				for _, c := range []tensor.DType{tensor.BF16, tensor.F32} {
					if _, split := schedule(size[0], size[1], size[2], units, 1); split {
						shared++
					}
					if testing.Short() && (form == 3 || units == 6) {
						continue
					}
					t.Run(fmt.Sprintf("%dunits/%v/%v/form%d", units, size, c, form), func(t *testing.T) {
						wgmmaProduct(t, b, size[0], size[1], size[2], form, c)
					})
				}
			}
		}
	}
	if shared == 0 {
		t.Error("no product was shared out by slices")
	}
}

func wgmmaProduct(t *testing.T, b *gpu, m, n, k, form int, ctype tensor.DType) {
	s := b.NewStream("gemm").(*stream)
	rng := rand.New(rand.NewPCG(uint64(m), uint64(form)))
	make16 := func(rows, cols int) (tensor.Tensor, []float32) {
		ld := (cols + 7) / 8 * 8
		mem, err := b.Alloc("test", 2*rows*ld)
		if err != nil {
			t.Fatal(err)
		}
		raw, val := make([]byte, 2*rows*ld), make([]float32, rows*cols)
		for i := range rows {
			for j := range cols {
				bits := math.Float32bits(float32(rng.NormFloat64())) &^ 0xffff
				val[i*cols+j] = math.Float32frombits(bits)
				raw[2*(i*ld+j)], raw[2*(i*ld+j)+1] = byte(bits>>16), byte(bits>>24)
			}
		}
		s.Upload(tensor.New(mem, 0, tensor.BF16, rows, ld), raw)
		t.Cleanup(func() { b.Free(mem) })
		return tensor.New(mem, 0, tensor.BF16, rows, ld).Columns(0, cols), val
	}
	transA, transB := form&1 != 0, form&2 != 0
	ar, ac, br, bc := m, k, k, n
	if transA {
		ar, ac = ac, ar
	}
	if transB {
		br, bc = bc, br
	}
	at, a := make16(ar, ac)
	bt, bv := make16(br, bc)
	ld := (n + 7) / 8 * 8
	size := ctype.Size()
	mem, err := b.Alloc("test", size*m*ld)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free(mem)
	all := tensor.New(mem, 0, ctype, m, ld)
	g := backend.Gemm{A: at, B: bt, C: all.Columns(0, n), TransA: transA, TransB: transB, Accumulate: true, Alpha: 0.5}
	s.Fill(all, 1)
	s.Gemm(g)
	s.Gemm(g)
	raw := make([]byte, size*m*ld)
	s.Download(raw, all)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if s.shares != nil { // flags are 0 between launches: one that stayed would let the next product read too early
		flags := make([]byte, 4*b.units)
		s.Download(flags, tensor.New(s.shares, b.units*wgmmaPart, tensor.I32, b.units))
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(flags, func(x byte) bool { return x != 0 }) {
			t.Errorf("flags %v after the product", flags)
		}
	}
	bound := map[tensor.DType]float64{tensor.BF16: 1.0 / 64, tensor.F32: 1e-5}[ctype]
	for i := range m {
		for j := range n {
			want := 0.0
			for p := range k {
				x, y := i*k+p, p*n+j
				if transA {
					x = p*m + i
				}
				if transB {
					y = j*k + p
				}
				want += float64(a[x]) * float64(bv[y])
			}
			want += 1 // two times a half
			var got float64
			if at := (i*ld + j) * size; size == 2 {
				got = float64(math.Float32frombits(uint32(raw[at])<<16 | uint32(raw[at+1])<<24))
			} else {
				got = float64(math.Float32frombits(uint32(raw[at]) | uint32(raw[at+1])<<8 | uint32(raw[at+2])<<16 | uint32(raw[at+3])<<24))
			}
			if math.Abs(got-want) > bound*(math.Abs(want)+math.Sqrt(float64(k))) {
				t.Fatalf("element (%d, %d) is %v, want %v", i, j, got, want)
			}
		}
	}
}
