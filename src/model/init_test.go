package model

import (
	"runtime"
	"testing"

	"cambium/src/arch"
	"cambium/src/rng"
)

// Rows that several processors fill are those that one fills, in a box inside a tensor too.
func TestInitialValuesDoNotDependOnTheNumberOfProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	weight := arch.Tensor{Name: "w", Shape: []int{1000, 301}, Axes: []arch.Axis{arch.FFN, arch.Hidden}, Std: 0.02}
	for _, box := range [][2][]int{{{0, 0}, {1000, 301}}, {{17, 3}, {996, 300}}, {{5, 0}, {6, 301}}} {
		lo, hi := box[0], box[1]
		n := (hi[0] - lo[0]) * (hi[1] - lo[1])
		got, want := make([]float32, n), make([]float32, n)
		InitialValues(got, arch.Model{}, weight, 7, lo, hi)
		rng.NewKey(7, "init/w").FillNormalBox(want, weight.Shape, lo, hi, 0.02)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("box %v: element %d is %g, want %g", box, i, got[i], want[i])
			}
		}
	}
}
