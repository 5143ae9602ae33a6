package flops

import "testing"

func TestDevicesAreKnownByTheirDriversNames(t *testing.T) {
	for name, want := range map[string]float64{
		"cuda NVIDIA H200": 989e12, "cuda NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H100 PCIe": 756e12, "NVIDIA A100-SXM4-80GB": 312e12, "NVIDIA B200": 2250e12,
		"cuda emulated GPU": 0, "cpu avx512, 2 workers": 0,
	} {
		if s, known := SheetOf(name); s.BF16 != want || known != (want > 0) {
			t.Errorf("%s: %+v, want %g", name, s, want)
		}
	}
}
