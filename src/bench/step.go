package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"

	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/flops"
	"cambium/src/tensor"
	"cambium/src/train"
)

// StepResult is the time of training steps. Its JSON has the keys that the scripts of bench/peers print.
type StepResult struct {
	Program      string    `json:"program"`
	Backend      string    `json:"backend"`
	Parameters   int       `json:"parameters"`
	Tokens       int       `json:"tokens"` // of a step, over all ranks
	Ranks        int       `json:"ranks"`
	Threads      int       `json:"threads"` // over all ranks
	StepMS       []float64 `json:"step_ms"`
	MedianMS     float64   `json:"step_ms_median"`
	CPUMS        float64   `json:"cpu_ms_median,omitempty"` // processor time of rank 0's process in a step: what other programs take does not count
	TokensPerSec float64   `json:"tokens_per_sec"`          // at the median
	FLOPsFormula string    `json:"flops_formula"`
	GFLOPs       float64   `json:"gflops"`      // GFLOP/s at the median, by that formula
	PeakGFLOPs   float64   `json:"peak_gflops"` // GFLOP/s that all ranks' devices reach at most, measured in the same run
	PeakOf       string    `json:"peak_of"`     // how
	PeakShare    float64   `json:"peak_share"`
	SheetTFLOPs  float64   `json:"datasheet_tflops,omitempty"` // a rank's, where the device is known
	MFU          float64   `json:"mfu,omitempty"`              // share of the datasheet
	MemoryMB     float64   `json:"memory_mb"`                  // one rank's weights, gradients, optimizer state and activations
	Loss         float64   `json:"loss"`
	Go           string    `json:"go"`

	// With a pipeline: the share of time in which its stages idle, measured, and by the schedule for equal stages.
	Bubble         float64 `json:"bubble,omitempty"`
	BubbleForetold float64 `json:"bubble_foretold,omitempty"`

	Profile *StepProfile `json:"profile,omitempty"`
}

// Step times steps of the first stage of cfg on synthetic tokens, after warmup steps that do not count. The ranks are those
// of a world, or goroutines when it is nil; where rank 0 is not, the result is nil.
func Step(ctx context.Context, cfg *config.Run, world comm.World, version string, o train.MeasureOptions) (*StepResult, error) {
	if o.Steps < 1 || o.Warmup < 0 {
		return nil, fmt.Errorf("bench step: %d steps after %d warm-up steps: want at least 1 after at least 0", o.Steps, o.Warmup)
	}
	peak, m, err := measureWithPeak(ctx, cfg, world, o)
	if err != nil || m == nil {
		return nil, err
	}
	s, f := &cfg.Stages[0], cfg.Formula()
	r := &StepResult{
		Program: "cambium " + version, Backend: m.Backend, Parameters: s.Model.ParameterCount(), Tokens: int(s.TokensPerIteration()),
		Ranks: m.World, Threads: m.Threads * m.World, FLOPsFormula: f.Name, Loss: m.Loss, Go: runtime.Version(),
		PeakGFLOPs: peak * float64(m.World) / 1e9, Bubble: round(m.Bubble, 4), BubbleForetold: round(m.BubbleForetold, 4),
	}
	for _, d := range m.Steps {
		r.StepMS = append(r.StepMS, round(1e3*d.Seconds(), 2))
	}
	r.MedianMS = median(r.StepMS)
	var used []float64
	for _, d := range m.CPU {
		used = append(used, 1e3*d.Seconds())
	}
	r.CPUMS = round(median(used), 2)
	r.TokensPerSec = round(1e3*float64(r.Tokens)/r.MedianMS, 2)
	r.GFLOPs = round(r.TokensPerSec*f.PerToken(s.Model, s.Train.SeqLength)/1e9, 1)
	r.PeakShare = round(r.GFLOPs/r.PeakGFLOPs, 3)
	r.PeakGFLOPs = round(r.PeakGFLOPs, 1)
	if r.PeakOf = "fused multiply-adds in registers"; cfg.Backend == config.BackendCUDA {
		r.PeakOf = "a large GEMM"
	}
	if sheet, known := flops.SheetOf(m.Backend); known && m.DType != tensor.F32 {
		r.SheetTFLOPs, r.MFU = sheet.BF16/1e12, round(1e9*r.GFLOPs/(sheet.BF16*float64(m.World)), 4)
	}
	if o.Profile {
		r.Profile = newStepProfile(m)
	}
	for _, bytes := range m.Peak {
		r.MemoryMB += float64(bytes) / 1e6
	}
	r.MemoryMB = round(r.MemoryMB, 1)
	return r, nil
}

// Print writes the result for people.
func (r *StepResult) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s on %s: %d parameters, %d tokens a step, %d rank(s), %d thread(s)\n"+
		"%.1f tokens/s, %.1f ms a step (median of %d, %.1f to %.1f)\n"+
		"%.1f GFLOP/s (%s), %.0f %% of %.1f GFLOP/s of %s; %.0f MB a rank; loss %.4f\n",
		r.Program, r.Backend, r.Parameters, r.Tokens, r.Ranks, r.Threads,
		r.TokensPerSec, r.MedianMS, len(r.StepMS), slices.Min(r.StepMS), slices.Max(r.StepMS),
		r.GFLOPs, r.FLOPsFormula, 100*r.PeakShare, r.PeakGFLOPs, r.PeakOf, r.MemoryMB, r.Loss)
	if err == nil && r.MFU > 0 {
		_, err = fmt.Fprintf(w, "MFU %.1f %% of the datasheet's %.0f TFLOP/s\n", 100*r.MFU, r.SheetTFLOPs)
	}
	if err == nil && r.BubbleForetold > 0 {
		_, err = fmt.Fprintf(w, "bubble %.1f %%, by the schedule %.1f %% for equal stages\n", 100*r.Bubble, 100*r.BubbleForetold)
	}
	if err == nil && r.Profile != nil {
		err = r.Profile.Print(w)
	}
	return err
}

// median of a non-empty list.
func median(x []float64) float64 {
	s := slices.Clone(x)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func round(x float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(x*p) / p
}
