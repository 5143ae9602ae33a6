package parts

import (
	"fmt"

	"cambium/src/tensor"
)

// SameShape compares type and size as matrices; an absent tensor equals an absent one only.
func SameShape(a, b tensor.Tensor) bool {
	if !a.Present() || !b.Present() {
		return a.Present() == b.Present()
	}
	return a.DType() == b.DType() && a.Rows() == b.Rows() && a.Cols() == b.Cols()
}

// Same compares what a rank gets with what it gives.
func Same(out, in []tensor.Tensor) error {
	if len(out) != len(in) {
		return fmt.Errorf("%d parts to receive, %d of its own to send", len(out), len(in))
	}
	for i := range out {
		if !SameShape(out[i], in[i]) {
			return fmt.Errorf("part %d: receives %v, sends %v", i, out[i], in[i])
		}
	}
	return nil
}
