package report

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Kernels are the times of a backend's operations, and the device's own roofs.
type Kernels struct {
	Backend    string      `json:"backend"`
	Shape      string      `json:"shape"`
	DType      string      `json:"dtype"`
	Tokens     int         `json:"tokens"`
	CopyGBs    float64     `json:"copy_gbs"`    // of a large copy, read and written
	PeakGFLOPs float64     `json:"peak_gflops"` // what operations are compared with
	Program    string      `json:"program"`
	Machine    string      `json:"machine"`
	Rows       []KernelRow `json:"kernels"`
	Notes      []string    `json:"notes,omitempty"` // what else there is to say, a line each
}

// KernelRow is one operation. Rates are of the median of batches.
type KernelRow struct {
	Name       string  `json:"name"`
	FLOPs      float64 `json:"flops"` // of a launch, a multiplication and an addition as two
	Bytes      float64 `json:"bytes"` // that must cross the memory bus once
	Samples    int     `json:"samples"`
	ColdUS     float64 `json:"cold_us"` // median of single launches after the caches were flushed
	ColdNoise  float64 `json:"cold_noise_percent"`
	BatchUS    float64 `json:"batch_us"` // median of launches back to back
	BatchNoise float64 `json:"batch_noise_percent"`
	BestUS     float64 `json:"batch_us_min"`
	GBs        float64 `json:"gbs"`
	GFLOPs     float64 `json:"gflops"`
	// Kernels are what the device was given for it, by name; none where the backend does not tell.
	Kernels []string `json:"kernels,omitempty"`
}

// Roof is the rate in GFLOP/s that the device's roofs allow an operation: the peak, or the copy's bandwidth times its operations a
// byte.
func (k *Kernels) Roof(r KernelRow) float64 { return min(k.PeakGFLOPs, k.CopyGBs*r.FLOPs/r.Bytes) }

// share is the part of its roof that an operation reaches; of one without arithmetic, that of the copy's bandwidth.
func (k *Kernels) share(r KernelRow) float64 {
	if r.FLOPs == 0 {
		return r.GBs / k.CopyGBs
	}
	return r.GFLOPs / k.Roof(r)
}

// Markdown is the table in the manner of nvbench.
func (k *Kernels) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, shape %s, %d tokens, %s: copy %.1f GB/s, peak %.0f GFLOP/s\n\n", k.Backend, k.Shape, k.Tokens, k.DType, k.CopyGBs, k.PeakGFLOPs)
	b.WriteString("| kernel | samples | cold (us) | noise | batch (us) | noise | least | GB/s | of copy | GFLOP/s | of peak | of its roof |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, r := range k.Rows {
		fmt.Fprintf(&b, "| %s | %d | %.1f | %.1f %% | %.1f | %.1f %% | %.1f | %.1f | %.0f %% | %.1f | %.0f %% | %.0f %% |\n", r.Name, r.Samples, r.ColdUS, r.ColdNoise,
			r.BatchUS, r.BatchNoise, r.BestUS, r.GBs, 100*r.GBs/k.CopyGBs, r.GFLOPs, 100*r.GFLOPs/k.PeakGFLOPs, 100*k.share(r))
	}
	for i, n := range k.Notes {
		if i == 0 {
			b.WriteString("\n")
		}
		b.WriteString("- " + n + "\n")
	}
	return b.String()
}

// Roofline draws operations under the device's roofs, as NAME.png and NAME.svg in dir.
func Roofline(dir, name string, k *Kernels) error {
	f := figure{name: name, title: "Roofline: " + k.Backend + ", " + k.Shape + ", " + k.DType, xLabel: "operations a byte", yLabel: "GFLOP/s", wide: true,
		x: open(true, digits), y: open(true, digits), keyLeft: true}
	kinds := []string{"gemm", "attention", "norm", "classifier", "adamw", "others"} // a colour each
	told := map[string]bool{}
	for _, r := range k.Rows {
		if r.FLOPs == 0 {
			continue
		}
		kind, _, _ := strings.Cut(r.Name, " ")
		if !slices.Contains(kinds, kind) {
			kind = "others"
		}
		p := points{{X: r.FLOPs / r.Bytes, Y: r.GFLOPs}}
		dot := series{name: r.Name, ink: stageInk(slices.Index(kinds, kind)), dots: true, p: p}
		if !told[kind] {
			dot.key, told[kind] = kind, true
		}
		f.series = append(f.series, dot)
		fit(&f.y, p)
		f.x.lo, f.x.hi = min(f.x.lo, p[0].X), max(f.x.hi, p[0].X)
	}
	f.x.lo, f.x.hi = f.x.lo/1.5, f.x.hi*1.5
	knee := k.PeakGFLOPs / k.CopyGBs
	roof := series{key: "roof", ink: muted(), width: 1.2, dashed: true}
	for _, x := range []float64{f.x.lo, min(max(knee, f.x.lo), f.x.hi), f.x.hi} {
		roof.p = add(roof.p, x, min(k.PeakGFLOPs, x*k.CopyGBs))
	}
	fit(&f.y, roof.p)
	f.y.lo, f.y.hi = f.y.lo/1.2, f.y.hi*1.3
	f.series = append([]series{roof}, f.series...)
	if err := f.png(filepath.Join(dir, name+".png")); err != nil {
		return err
	}
	return f.svgFile(filepath.Join(dir, name+".svg"))
}
