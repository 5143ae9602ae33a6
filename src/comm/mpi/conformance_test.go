//go:build mpi

package mpi_test

import (
	"fmt"
	"os"
	"testing"

	"cambium/src/backend/cpu"
	"cambium/src/comm/conformance"
	commpi "cambium/src/comm/mpi"
	"cambium/src/mpi"
)

// TestMain starts MPI: these tests run under mpirun, in all ranks alike. See launch_test.go.
func TestMain(m *testing.M) {
	env, err := mpi.InitThread(mpi.Serialized)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if code != 0 {
		mpi.Abort(code)
	}
	if err := env.Finalize(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// world is a fresh world of all ranks.
func world(t testing.TB, o commpi.Options) *commpi.World {
	t.Helper()
	c, err := mpi.World()
	if err != nil {
		t.Fatal(err)
	}
	w, err := commpi.NewWorld(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func suite(o commpi.Options) conformance.Suite {
	return conformance.Suite{Open: func(t *testing.T, n int) []conformance.Rank {
		if c, err := mpi.World(); err != nil || c.Size() != n {
			return nil
		}
		w := world(t, o)
		b := cpu.New(cpu.Options{Workers: 1 + w.Comm().Rank()%2})
		t.Cleanup(func() { _ = b.Close() })
		return []conformance.Rank{{Comm: w.Comm(), Backend: b}}
	}}
}

func TestConformance(t *testing.T) { conformance.Run(t, suite(commpi.Options{})) }

// TestConformanceAcrossNodes has no ranks share memory, as if each were on a node of its own, or pairs of them.
func TestConformanceAcrossNodes(t *testing.T) {
	for _, neighbours := range []int{1, 2} {
		t.Run(fmt.Sprint(neighbours), func(t *testing.T) { conformance.Run(t, suite(commpi.Options{Neighbours: neighbours})) })
	}
}
