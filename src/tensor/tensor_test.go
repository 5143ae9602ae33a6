package tensor

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// hostTensor is a tensor whose elements are their own numbers.
func hostTensor(dims ...int) Tensor {
	n := 1
	for _, d := range dims {
		n *= d
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(i)
	}
	b := HostBytes(values)
	return New(&Memory{Host: b, Bytes: len(b)}, 0, F32, dims...)
}

// rows reads a tensor row by row, without its gaps.
func rows(t Tensor) (out []float32) {
	for r := range t.Rows() {
		out = append(out, t.F32()[r*t.LD():r*t.LD()+t.Cols()]...)
	}
	return out
}

func TestViewsSeeTheElementsThatTheyName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.IntRange(1, 6), 1, MaxRank).Draw(t, "dims")
		x := hostTensor(dims...)
		lo := rapid.IntRange(0, dims[0]-1).Draw(t, "lo")
		hi := rapid.IntRange(lo+1, dims[0]).Draw(t, "hi")
		part := x.Slice(lo, hi)
		each := x.Len() / dims[0]
		if got := rows(part); len(got) != (hi-lo)*each || got[0] != float32(lo*each) || got[len(got)-1] != float32(hi*each-1) {
			t.Fatalf("rows [%d, %d) of %v are %v", lo, hi, x, got)
		}
		cols := x.Cols()
		a := rapid.IntRange(0, cols-1).Draw(t, "first column")
		b := rapid.IntRange(a+1, cols).Draw(t, "last column")
		c := x.Columns(a, b)
		var want []float32
		for r := range x.Rows() {
			for j := a; j < b; j++ {
				want = append(want, float32(r*cols+j))
			}
		}
		if !slices.Equal(rows(c), want) {
			t.Fatalf("columns [%d, %d) of %v are %v, want %v", a, b, x, rows(c), want)
		}
		if flat := c.Reshape(c.Rows(), c.Cols()); !slices.Equal(rows(flat), want) {
			t.Fatalf("%v as a matrix is %v, want %v", c, rows(flat), want)
		}
	})
}

func TestMistakesOfPlanningPanicWithTheShape(t *testing.T) {
	x := hostTensor(4, 6)
	for name, f := range map[string]func(){
		"slice":   func() { x.Slice(2, 5) },
		"columns": func() { x.Columns(3, 2) },
		"reshape": func() { x.Columns(0, 3).Reshape(12) },
		"too big": func() { New(x.Memory(), 8, F32, 24) },
		"type":    func() { x.I32() },
	} {
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(p.(string), "tensor:") {
					t.Errorf("%s: %v", name, p)
				}
			}()
			f()
		}()
	}
}

func TestNamesOfElementTypesRoundTrip(t *testing.T) {
	for _, d := range []DType{F32, F64, BF16, F16, I32} {
		if back, err := ParseDType(d.String()); err != nil || back != d {
			t.Errorf("%v reads back as %v, %v", d, back, err)
		}
	}
	if _, err := ParseDType("fp8"); err == nil {
		t.Error("fp8 is an element type")
	}
}
