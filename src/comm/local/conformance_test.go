package local_test

import (
	"testing"

	"go.uber.org/goleak"

	"cambium/src/backend/cpu"
	"cambium/src/comm/conformance"
	"cambium/src/comm/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, n int) []conformance.Rank {
	w := local.NewWorld(n)
	var ranks []conformance.Rank
	for _, c := range w.Comms() {
		b := cpu.New(cpu.Options{Workers: 1 + c.Rank()%2})
		t.Cleanup(func() { _ = b.Close() })
		ranks = append(ranks, conformance.Rank{Comm: c, Backend: b})
	}
	return ranks
}

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Suite{Open: open})
}
