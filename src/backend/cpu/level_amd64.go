package cpu

import xcpu "golang.org/x/sys/cpu"

// hasLevel tells whether processor and operating system support l.
func hasLevel(l level) bool {
	x := &xcpu.X86
	switch l {
	case avx512:
		return x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX2 && x.HasFMA
	case avx2:
		return x.HasAVX2 && x.HasFMA
	}
	return true
}
