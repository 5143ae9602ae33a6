package cpu

//go:noescape
func fmaLoop512(steps int)

//go:noescape
func fmaLoop256(steps int)

// fmaFlops is the floating-point operations of one step of fmaLoop.
func fmaFlops(l level) float64 { return [...]float64{portable: 16, avx2: 10 * 16, avx512: 10 * 32}[l] }

func fmaLoop(l level, steps int) {
	switch l {
	case avx512:
		fmaLoop512(steps)
	case avx2:
		fmaLoop256(steps)
	default:
		fmaLoopGo(steps)
	}
}
