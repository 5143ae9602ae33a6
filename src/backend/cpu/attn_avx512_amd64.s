#include "textflag.h"
#include "simd_avx512_amd64.h"
#include "simd_loops_amd64.h"
#include "simd_attention_amd64.h"

// Tiles of attention for AVX-512: transposition, softmax, work on rows.

// func softmaxColumnAVX512(s *float32, lds, full, seen, keys int, max, sum, rescale *float32)
TEXT ·softmaxColumnAVX512(SB), NOSPLIT, $0-64
	MOVQ s+0(FP), SI
	MOVQ lds+8(FP), R9
	MOVQ full+16(FP), R10
	MOVQ seen+24(FP), R11
	MOVQ keys+32(FP), R12
	MOVQ max+40(FP), DX
	MOVQ sum+48(FP), R15
	MOVQ rescale+56(FP), AX
	SOFTMAXCOLUMN
	VZEROUPPER
	RET

// func softmaxGradColumnAVX512(s, ds *float32, lds, full, seen, keys int, lse, delta *float32, scale float32)
TEXT ·softmaxGradColumnAVX512(SB), NOSPLIT, $0-68
	MOVQ s+0(FP), SI
	MOVQ ds+8(FP), DI
	MOVQ lds+16(FP), R9
	MOVQ full+24(FP), R10
	MOVQ seen+32(FP), R11
	MOVQ keys+40(FP), R12
	MOVQ lse+48(FP), DX
	MOVQ delta+56(FP), AX
	VBROADCASTSS scale+64(FP), V10
	SOFTMAXGRADCOLUMN
	VZEROUPPER
	RET

// func logSumAVX512(lse, max, sum, factor []float32, scale float32)
TEXT ·logSumAVX512(SB), NOSPLIT, $0-100
	MOVQ lse_base+0(FP), DI
	MOVQ lse_len+8(FP), CX
	MOVQ max_base+24(FP), SI
	MOVQ sum_base+48(FP), DX
	MOVQ factor_base+72(FP), BX
	VBROADCASTSS scale+96(FP), V8
	XORQ AX, AX
	LOOP(LOGSUM, loop, tail, done)
	VZEROUPPER
	RET

// func scaleRowsAVX512(dst []float32, ldd int, src []float32, lds int, v []float32, rows, cols int)
TEXT ·scaleRowsAVX512(SB), NOSPLIT, $0-104
	MOVQ dst_base+0(FP), DI
	MOVQ ldd+24(FP), R9
	MOVQ src_base+32(FP), SI
	MOVQ lds+56(FP), R10
	MOVQ v_base+64(FP), DX
	MOVQ rows+88(FP), R11
	MOVQ cols+96(FP), R12
	SCALEROWS
	VZEROUPPER
	RET

// func rowDotsAVX512(out, x []float32, ldx int, y []float32, ldy, rows, cols int)
TEXT ·rowDotsAVX512(SB), NOSPLIT, $0-104
	MOVQ out_base+0(FP), DI
	MOVQ x_base+24(FP), SI
	MOVQ ldx+48(FP), R9
	MOVQ y_base+56(FP), DX
	MOVQ ldy+80(FP), R10
	MOVQ rows+88(FP), R11
	MOVQ cols+96(FP), R12
	ROWDOTS
	VZEROUPPER
	RET

// Columns c..c+3 of 16 rows become 4 rows of 16: each Z holds rows i, i+4, i+8, i+12 of the block, so that transposing
// 4 x 4 within the 128-bit lanes leaves the rows in order.
#define GATHER4(a, b, c, d, z, x) \
	VMOVUPS      a, x; \
	VINSERTF32X4 $1, b, z, z; \
	VINSERTF32X4 $2, c, z, z; \
	VINSERTF32X4 $3, d, z, z

// func transposeAVX512(dst *float32, ldd int, src *float32, lds, rows, cols int, s float32)
// rows is a multiple of 16, cols of 4.
TEXT ·transposeAVX512(SB), NOSPLIT, $0-52
	MOVQ dst+0(FP), DX
	MOVQ ldd+8(FP), R8
	SHLQ $2, R8
	MOVQ src+16(FP), BX
	MOVQ lds+24(FP), R9
	SHLQ $2, R9
	LEAQ (R9)(R9*2), R10
	MOVQ rows+32(FP), R15
	VBROADCASTSS s+48(FP), Z16

rows:
	MOVQ BX, SI
	LEAQ (SI)(R9*4), R11
	LEAQ (R11)(R9*4), R12
	LEAQ (R12)(R9*4), R13
	MOVQ DX, DI
	MOVQ cols+40(FP), CX

cols:
	GATHER4((SI), (R11), (R12), (R13), Z0, X0)
	GATHER4((SI)(R9*1), (R11)(R9*1), (R12)(R9*1), (R13)(R9*1), Z1, X1)
	GATHER4((SI)(R9*2), (R11)(R9*2), (R12)(R9*2), (R13)(R9*2), Z2, X2)
	GATHER4((SI)(R10*1), (R11)(R10*1), (R12)(R10*1), (R13)(R10*1), Z3, X3)
	VUNPCKLPS Z1, Z0, Z4
	VUNPCKHPS Z1, Z0, Z5
	VUNPCKLPS Z3, Z2, Z6
	VUNPCKHPS Z3, Z2, Z7
	VUNPCKLPD Z6, Z4, Z0
	VUNPCKHPD Z6, Z4, Z1
	VUNPCKLPD Z7, Z5, Z2
	VUNPCKHPD Z7, Z5, Z3
	VMULPS    Z16, Z0, Z0
	VMULPS    Z16, Z1, Z1
	VMULPS    Z16, Z2, Z2
	VMULPS    Z16, Z3, Z3
	VMOVUPS   Z0, (DI)
	VMOVUPS   Z1, (DI)(R8*1)
	LEAQ      (DI)(R8*2), DI
	VMOVUPS   Z2, (DI)
	VMOVUPS   Z3, (DI)(R8*1)
	LEAQ      (DI)(R8*2), DI
	ADDQ      $16, SI
	ADDQ      $16, R11
	ADDQ      $16, R12
	ADDQ      $16, R13
	SUBQ      $4, CX
	JNZ       cols
	ADDQ      $64, DX
	SHLQ      $4, R9
	ADDQ      R9, BX
	SHRQ      $4, R9
	SUBQ      $16, R15
	JNZ       rows
	VZEROUPPER
	RET
