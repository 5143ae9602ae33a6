package staged_test

import (
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm/conformance"
	"cambium/src/comm/local"
	"cambium/src/comm/staged"
)

// suite runs on devices that open makes, over ranks of this process.
func suite(open func(t *testing.T, rank int) backend.Backend) conformance.Suite {
	return conformance.Suite{Open: func(t *testing.T, n int) []conformance.Rank {
		var ranks []conformance.Rank
		for _, c := range local.NewWorld(n).Comms() {
			b := open(t, c.Rank())
			t.Cleanup(func() { _ = b.Close() })
			ranks = append(ranks, conformance.Rank{Comm: staged.New(c), Backend: b})
		}
		return ranks
	}}
}

func TestConformanceOverHostMemory(t *testing.T) {
	conformance.Run(t, suite(func(_ *testing.T, rank int) backend.Backend { return cpu.New(cpu.Options{Workers: 1 + rank%2}) }))
}
