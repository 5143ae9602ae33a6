//go:build !amd64

package cpu

// fmaFlops is the floating-point operations of one step of fmaLoop.
func fmaFlops(level) float64 { return 16 }

func fmaLoop(_ level, steps int) { fmaLoopGo(steps) }
