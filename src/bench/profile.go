package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"cambium/src/train"
)

// StepProfile tells where a step's time goes on a device.
type StepProfile struct {
	StepMS  float64         `json:"step_ms"`    // of the step whose kernels were timed
	SumMS   float64         `json:"kernels_ms"` // of all kernels of all streams
	Kernels []ProfileKernel `json:"kernels"`    // the longest first
}

// ProfileKernel are the launches of one kernel with one grid. A time goes from the end of what the stream did before, or from the
// launch, to the kernel's end.
type ProfileKernel struct {
	Stream    string    `json:"stream"`
	Operation string    `json:"operation"`
	Kernel    string    `json:"kernel,omitempty"` // none of copies, collectives and libraries
	Grid      [3]uint32 `json:"grid"`
	Count     int       `json:"count"`
	MS        float64   `json:"ms"` // of all launches
}

func newStepProfile(m *train.Measurement) *StepProfile {
	p := &StepProfile{StepMS: round(1e3*m.Profiled.Seconds(), 3)}
	for _, k := range m.Kernels {
		ms := 1e3 * k.Total.Seconds()
		p.SumMS += ms
		p.Kernels = append(p.Kernels, ProfileKernel{k.Stream, k.Operation, k.Kernel, k.Grid, k.Count, round(ms, 4)})
	}
	p.SumMS = round(p.SumMS, 3)
	return p
}

// byKernel sums over grids and streams, the longest first.
func (p *StepProfile) byKernel() []ProfileKernel {
	var out []ProfileKernel
	for _, k := range p.Kernels {
		i := slices.IndexFunc(out, func(o ProfileKernel) bool { return o.Kernel == k.Kernel && o.Operation == k.Operation })
		if i < 0 {
			out = append(out, ProfileKernel{Operation: k.Operation, Kernel: k.Kernel})
			i = len(out) - 1
		}
		out[i].Count += k.Count
		out[i].MS += k.MS
	}
	slices.SortStableFunc(out, func(a, b ProfileKernel) int { return cmp.Compare(b.MS, a.MS) })
	return out
}

// Print writes two tables: kernels, and kernels by grid.
func (p *StepProfile) Print(w io.Writer) error {
	fmt.Fprintf(w, "\nkernels of a step of %.2f ms, each timed by itself, %.2f ms together\n", p.StepMS, p.SumMS)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "ms\tshare\tlaunches\tus each\t  operation, kernel\n")
	for _, k := range p.byKernel() {
		fmt.Fprintf(t, "%s\t  %s\n", p.numbers(k), k.name())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprint(t, "\nms\tshare\tlaunches\tus each\t  and by grid\n")
	for _, k := range p.Kernels {
		fmt.Fprintf(t, "%s\t  %s, %d x %d x %d, %s\n", p.numbers(k), k.name(), k.Grid[0], k.Grid[1], k.Grid[2], k.Stream)
	}
	return t.Flush()
}

func (p *StepProfile) numbers(k ProfileKernel) string {
	return fmt.Sprintf("%.3f\t%.1f %%\t%d\t%.1f", k.MS, 100*k.MS/p.SumMS, k.Count, 1e3*k.MS/float64(k.Count))
}

func (k ProfileKernel) name() string {
	if k.Kernel == "" {
		return k.Operation
	}
	return k.Operation + ", " + k.Kernel
}
