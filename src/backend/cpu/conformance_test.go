package cpu_test

import (
	"fmt"
	"slices"
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/conformance"
	"cambium/src/backend/cpu"
)

// scope is the instruction sets and numbers of workers that tests go through: all of this processor; with -short one worker, and
// more than most operations divide evenly among. The race detector cannot look into assembler and needs several workers: there
// the portable loops and the best set will do, since what surrounds their kernels is the same.
func scope() (levels []string, workers []int) {
	levels, workers = cpu.Levels(), []int{1, 2, 3}
	if testing.Short() {
		workers = []int{1, 3}
	}
	if raceEnabled {
		levels, workers = slices.Compact([]string{levels[0], levels[len(levels)-1]}), []int{3}
	}
	return levels, workers
}

// TestEveryLevelConformsWithAnyNumberOfWorkers runs the conformance suite at every instruction set of this processor with
// one, two and three workers, whose results must agree to the last bit.
func TestEveryLevelConformsWithAnyNumberOfWorkers(t *testing.T) {
	levels, counts := scope()
	for _, level := range levels {
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
