//go:build cuda

package bench

import (
	"context"
	"strings"
	"testing"

	"cambium/src/backend/cuda"
	"cambium/src/tensor"
	"cambium/src/train"
)

// With a GPU, or the emulated driver: the kernels of a step are seen, and the peak is the device's own.
// Every operation tells of which kernels it consists.
func TestDeviceKernelsAreNamed(t *testing.T) {
	b, err := cuda.Open(0)
	if err != nil {
		t.Skipf("no device: %v", err)
	}
	defer b.Close()
	shape, err := KernelShapeNamed("tiny")
	if err != nil {
		t.Fatal(err)
	}
	k, err := Kernels(b, KernelOptions{Shape: shape, DType: tensor.BF16, Samples: 1})
	if err != nil {
		t.Fatal(err)
	}
	begins := map[string]string{"gemm logits, own": "gemm_", "attention forward": "attention_", "classifier": "classifier_", "adamw": "adamw_bf16", "sum of squares": "sum_squares_f32"}
	for _, r := range k.Rows {
		if len(r.Kernels) == 0 || !strings.HasPrefix(r.Kernels[0], begins[r.Name]) {
			t.Errorf("%s: kernels %v, want %s...", r.Name, r.Kernels, begins[r.Name])
		}
	}
}

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
