package bench

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the table exactly as nccl-tests does, so that scripts which read theirs read ours.
func (t CommTable) Print(out io.Writer, version string) error {
	var b strings.Builder
	o := t.Options
	fmt.Fprintf(&b, "# cambium version %s (table of nccl-tests 2.19)\n", version)
	fmt.Fprintf(&b, "# Collective test starting: %s_perf\n", t.Call)
	fmt.Fprintf(&b, "# nThread 1 nGpus 1 minBytes %d maxBytes %d step: %d(factor) warmup iters: %d iters: %d agg iters: 1 validation: 1 graph: 0\n",
		o.MinBytes, o.MaxBytes, o.Factor, o.Warmup, o.Iters)
	fmt.Fprintf(&b, "#\n# Using devices: %d groups %s of %d ranks, all at once\n", t.Groups, t.Group, t.Ranks)
	for _, d := range t.Devices {
		fmt.Fprintf(&b, "#  Rank %2d Group %2d Pid %6d on %10s device  0 [0x00] %s\n", d.Rank, d.Group, d.Pid, d.Host, d.Device)
	}
	fmt.Fprintf(&b, "#\n# %10s  %12s  %8s  %6s  %6s           out-of-place                       in-place          \n", "", "", "", "", "")
	fmt.Fprintf(&b, "# %10s  %12s  %8s  %6s  %6s  %7s  %6s  %6s  %6s  %7s  %6s  %6s  %6s\n",
		"size", "count", "type", "redop", "root", "time", "algbw", "busbw", "#wrong", "time", "algbw", "busbw", "#wrong")
	fmt.Fprintf(&b, "# %10s  %12s  %8s  %6s  %6s  %7s  %6s  %6s  %6s  %7s  %6s  %6s  %6s\n",
		"(B)", "(elements)", "", "", "", "(us)", "(GB/s)", "(GB/s)", "", "(us)", "(GB/s)", "(GB/s)", "")
	wrong, sum, n := 0, 0.0, 0
	for _, r := range t.Rows {
		fmt.Fprintf(&b, "%12d  %12d  %8s  %6s  %6d", r.Size, r.Count, r.Type, r.RedOp, r.Root)
		for _, m := range []*CommTime{r.OutOfPlace, r.InPlace} {
			if m == nil {
				fmt.Fprintf(&b, "  %7s  %6s  %6s  %6s", "N/A", "N/A", "N/A", "N/A")
				continue
			}
			fmt.Fprintf(&b, "  %7s  %6.2f  %6.2f  %6g", microseconds(m.Time), m.AlgBW, m.BusBW, float64(m.Wrong))
			wrong += m.Wrong
			sum += m.BusBW
			n++
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "# Out of bounds values : %d %s\n", wrong, map[bool]string{true: "OK", false: "FAILED"}[wrong == 0])
	fmt.Fprintf(&b, "# Avg bus bandwidth    : %g \n#\n# Collective test concluded: %s_perf\n#\n\n", sum/float64(max(n, 1)), t.Call)
	_, err := io.WriteString(out, b.String())
	return err
}

// microseconds has as many decimals as nccl-tests gives.
func microseconds(t float64) string {
	switch {
	case t >= 10000:
		return fmt.Sprintf("%7.0f", t)
	case t >= 100:
		return fmt.Sprintf("%7.1f", t)
	}
	return fmt.Sprintf("%7.2f", t)
}
