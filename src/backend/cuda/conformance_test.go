//go:build cuda

package cuda

import (
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/conformance"
)

// opened is device 0 with GEMMs done as mode says.
func opened(mode gemmMode) func(t *testing.T) backend.Backend {
	return func(t *testing.T) backend.Backend {
		t.Helper()
		b, err := Open(0)
		if err != nil {
			t.Skipf("no device: %v", err)
		}
		b.(*gpu).mode.Store(uint32(mode))
		return b
	}
}

func TestConformance(t *testing.T) { conformance.Run(t, opened(gemmOwn)) }

func TestGemmsByLibraryConform(t *testing.T) {
	needLibrary(t)
	conformance.RunOnly(t, opened(gemmBlas), "Gemm", "GemmActivations")
}

func TestGemmsByTimeConform(t *testing.T) {
	needLibrary(t)
	conformance.RunOnly(t, func(t *testing.T) backend.Backend {
		b := opened(gemmAuto)(t)
		b.(*gpu).tuning = tuning{1, 1} // on the emulated driver too
		return b
	}, "Gemm", "GemmActivations")
}

func needLibrary(t *testing.T) {
	t.Helper()
	b := opened(gemmAuto)(t).(*gpu)
	defer b.Close()
	if b.library() == nil {
		t.Skip(b.blasAbsent)
	}
}
