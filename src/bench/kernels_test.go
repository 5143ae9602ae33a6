package bench

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cambium/src/backend/cpu"
	"cambium/src/report"
	"cambium/src/tensor"
)

func TestEveryKernelIsTimedInEveryType(t *testing.T) {
	shape, err := KernelShapeNamed("tiny")
	if err != nil {
		t.Fatal(err)
	}
	shape.SwiGLU = true
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
		b := cpu.New(cpu.Options{Workers: 1})
		k, err := Kernels(b, KernelOptions{Shape: shape, DType: d, Samples: 2, Spend: time.Microsecond})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(k.Rows); n != len(shape.cases(d)) || n < 18 || !(k.CopyGBs > 0) || !(k.PeakGFLOPs > 0) {
			t.Fatalf("%v: %d rows, copy %g GB/s, peak %g GFLOP/s", d, n, k.CopyGBs, k.PeakGFLOPs)
		}
		for _, r := range k.Rows {
			if !(r.ColdUS > 0) || !(r.BestUS > 0) || !(r.BatchUS >= r.BestUS) || !(r.GBs > 0) || math.IsNaN(r.GFLOPs) {
				t.Errorf("%v: %+v", d, r)
			}
			if got, want := r.GBs, r.Bytes/r.BatchUS/1e3; math.Abs(got-want) > 1e-6*want {
				t.Errorf("%v: %s: %g GB/s of %g bytes in %g us", d, r.Name, got, r.Bytes, r.BatchUS)
			}
		}
		dir := t.TempDir()
		if err := report.Roofline(dir, "roofline", k); err != nil {
			t.Fatal(err)
		}
		if f, err := os.Stat(filepath.Join(dir, "roofline.png")); err != nil || f.Size() < 5000 {
			t.Errorf("roofline.png: %v, %v", f, err)
		}
		if text := k.Markdown(); strings.Count(text, "\n") != len(k.Rows)+4 || !strings.Contains(text, "| kernel | samples | cold (us) |") {
			t.Errorf("the table:\n%s", text)
		}
	}
}

func TestAMicroBatchIsMadeOfWholeSequences(t *testing.T) {
	shape, err := KernelShapeNamed("tiny")
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]int{0: shape.Tokens, 96: 96, 33: 0, -32: 0} {
		got, err := shape.WithTokens(n)
		if (err == nil) != (want > 0) || err == nil && got.Tokens != want {
			t.Errorf("%d tokens: %d, %v", n, got.Tokens, err)
		}
	}
}

// An operation under the slope of the roofline is measured by the memory, one under its flat part by arithmetic.
func TestTheRoofIsTheLowerOfTwo(t *testing.T) {
	k := report.Kernels{CopyGBs: 10, PeakGFLOPs: 100}
	for _, c := range []struct{ flops, bytes, want float64 }{{1, 1, 10}, {20, 1, 100}, {10, 1, 100}, {1, 4, 2.5}} {
		if got := k.Roof(report.KernelRow{FLOPs: c.flops, Bytes: c.bytes}); got != c.want {
			t.Errorf("%g operations, %g bytes: roof %g, want %g", c.flops, c.bytes, got, c.want)
		}
	}
}
