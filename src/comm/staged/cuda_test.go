//go:build cuda

package staged_test

import (
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/cuda"
	"cambium/src/comm/conformance"
)

func TestConformanceOnADevice(t *testing.T) {
	if b, err := cuda.Open(0); err != nil {
		t.Skipf("no device: %v", err)
	} else if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, suite(func(t *testing.T, _ int) backend.Backend {
		b, err := cuda.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}))
}
