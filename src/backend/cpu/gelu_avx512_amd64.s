#include "textflag.h"
#include "simd_avx512_amd64.h"
#include "simd_loops_amd64.h"

// r = 1/d for a normal d: 14 bits and one step of Newton, r (2 - d r), which is quicker than a division.
CONST(two, 0x4000000040000000)
#define RECIPROCAL(d, r, e) \
	VRCP14PS     d, r; \
	VMOVUPS      two<>(SB), e; \
	VFNMADD231PS d, r, e; \
	VMULPS       e, r, r

#include "gelu_loops_amd64.h"

// func geluAVX512(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int)
TEXT ·geluAVX512(SB), NOSPLIT, $0-64
	ARGUMENTS
	ROWS(GELU, row, loop, tail, done)
	VZEROUPPER
	RET

// func geluGradAVX512(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int)
TEXT ·geluGradAVX512(SB), NOSPLIT, $0-64
	ARGUMENTS
	ROWS(GELUGRAD, row, loop, tail, done)
	VZEROUPPER
	RET
