package telemetry

import (
	"fmt"
	"strings"
)

// memoryTable is what the device of the rank with most memory holds when a stage begins, in MiB: what the rank has allocated by purpose, the optimizer's state
// in its parts, what others have (the driver's context, kernels, libraries, other programs), and what is free. "" when the device
// does not tell.
func memoryTable(r *Stage) string {
	if r.DeviceBytes == 0 {
		return ""
	}
	var b strings.Builder
	row := func(name string, bytes int64) { fmt.Fprintf(&b, "\n  %-14s %10.1f", name, float64(bytes)/(1<<20)) }
	for _, label := range []string{"weights", "gradients", "optimizer", "activations", "workspace"} {
		for _, m := range r.Memory {
			switch {
			case m.Label != label:
			case label == "optimizer" && r.DType != "fp32": // master weights and two moments, all fp32
				row("master weights", m.Bytes/3)
				row("moments", m.Bytes-m.Bytes/3)
			case label == "optimizer":
				row("moments", m.Bytes)
			default:
				row(label, m.Bytes)
			}
		}
	}
	for _, m := range r.Memory {
		switch m.Label {
		case "weights", "gradients", "optimizer", "activations", "workspace":
		default:
			row(m.Label, m.Bytes)
		}
	}
	row("others", r.DeviceBytes-r.DeviceFree-r.MemoryBytes())
	row("free", r.DeviceFree)
	return fmt.Sprintf("\nmemory of rank %d's device, %.0f MiB:%s", r.MemoryRank, float64(r.DeviceBytes)/(1<<20), b.String())
}
