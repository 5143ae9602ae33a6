//go:build cuda

package doctor

import (
	"bytes"
	"regexp"
	"testing"

	"cambium/src/backend/cuda"
	"cambium/src/comm/nccl"
)

// With a GPU, or the emulated driver.
func TestDevicesAreTold(t *testing.T) {
	if _, err := cuda.Devices(); err != nil {
		t.Skipf("no device: %v", err)
	}
	r := Examine(t.Context(), fake(nil, nil, nil), Options{GPUs: cuda.Describe, NCCL: nccl.Find})
	var b bytes.Buffer
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`driver +knows CUDA \d+\.\d\n`, `GPU 0 +\S.*, compute capability \d+\.\d, [\d.]+ [MG]iB, [1-9]\d* multiprocessors`, `NCCL +\S`, `cuBLASLt +\S`} {
		if !regexp.MustCompile(want).MatchString(b.String()) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
