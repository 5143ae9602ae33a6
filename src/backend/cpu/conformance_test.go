package cpu_test

import (
	"fmt"
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/conformance"
	"cambium/src/backend/cpu"
)

// TestEveryLevelConformsWithAnyNumberOfWorkers runs the conformance suite at every instruction set of this processor with
// one, two and three workers, whose results must agree to the last bit.
func TestEveryLevelConformsWithAnyNumberOfWorkers(t *testing.T) {
	counts := []int{1, 2, 3}
	if testing.Short() {
		counts = []int{1, 3}
	}
	for _, level := range cpu.Levels() {
		t.Run(level, func(t *testing.T) {
			var one map[string]uint64
			for _, workers := range counts {
				t.Run(fmt.Sprintf("workers%d", workers), func(t *testing.T) {
					prints := conformance.Fingerprints(t, func(t *testing.T) backend.Backend {
						return cpu.New(cpu.Options{Level: level, Workers: workers})
					})
					if workers == 1 {
						one = prints
					}
					for name, p := range prints {
						if q, ok := one[name]; ok && p != q {
							t.Errorf("%s: results with %d workers differ from those with one", name, workers)
						}
					}
				})
			}
		})
	}
}
