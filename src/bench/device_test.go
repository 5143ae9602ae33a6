//go:build cuda

package bench

import (
	"context"
	"testing"

	"cambium/src/backend/cuda"
	"cambium/src/train"
)

// With a GPU, or the emulated driver: the kernels of a step are seen, and the peak is the device's own.
func TestDeviceStepIsProfiled(t *testing.T) {
	if _, err := cuda.Devices(); err != nil {
		t.Skipf("no device: %v", err)
	}
	r, err := Step(context.Background(), smallStep(t, "backend=cuda", "precision.params_dtype=bf16"), nil, "test", train.MeasureOptions{Warmup: 1, Steps: 1, Profile: true})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, k := range r.Profile.Kernels {
		count[k.Operation] += k.Count
	}
	// Two micro-batches through the four products of a layer and the output layer, each with its data and weight gradients.
	if gemms := 2 * 3 * (4 + 1); count["gemm"] != gemms || count["attention"] < 4 || count["adamw"] == 0 || count["cross-entropy"] != 2 {
		t.Errorf("counted %v: want %d gemms", count, gemms)
	}
	if p := r.Profile; !(p.SumMS > 0) || p.SumMS > 1.01*p.StepMS || r.PeakOf != "a large GEMM" || !(r.PeakGFLOPs > 0) {
		t.Errorf("kernels %g ms of %g, peak %g of %s", p.SumMS, p.StepMS, r.PeakGFLOPs, r.PeakOf)
	}
}
