//go:build cuda

package cuda

import (
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) backend.Backend {
		b, err := Open(0)
		if err != nil {
			t.Skipf("no device: %v", err)
		}
		return b
	})
}
