#include "textflag.h"
#include "simd_avx2_amd64.h"
#include "simd_loops_amd64.h"

// r = 1/d
#define RECIPROCAL(d, r, e) \
	VMOVUPS one<>(SB), e; \
	VDIVPS  d, e, r

#include "gelu_loops_amd64.h"

// func geluAVX2(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int)
TEXT ·geluAVX2(SB), NOSPLIT, $0-64
	ARGUMENTS
	ROWS(GELU, row, loop, tail, done)
	VZEROUPPER
	RET

// func geluGradAVX2(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int)
TEXT ·geluGradAVX2(SB), NOSPLIT, $0-64
	ARGUMENTS
	ROWS(GELUGRAD, row, loop, tail, done)
	VZEROUPPER
	RET
