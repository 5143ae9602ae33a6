#include "textflag.h"
#include "simd_avx2_amd64.h"
#include "simd_loops_amd64.h"
#include "simd_attention_amd64.h"

// Tiles of attention for AVX2: transposition, softmax, work on rows.

// func softmaxColumnAVX2(s *float32, lds, full, seen, keys int, max, sum, rescale *float32)
TEXT ·softmaxColumnAVX2(SB), NOSPLIT, $0-64
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

// func softmaxGradColumnAVX2(s, ds *float32, lds, full, seen, keys int, lse, delta *float32, scale float32)
TEXT ·softmaxGradColumnAVX2(SB), NOSPLIT, $0-68
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

// func logSumAVX2(lse, max, sum, factor []float32, scale float32)
TEXT ·logSumAVX2(SB), NOSPLIT, $0-100
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

// func scaleRowsAVX2(dst []float32, ldd int, src []float32, lds int, v []float32, rows, cols int)
TEXT ·scaleRowsAVX2(SB), NOSPLIT, $0-104
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

// func rowDotsAVX2(out, x []float32, ldx int, y []float32, ldy, rows, cols int)
TEXT ·rowDotsAVX2(SB), NOSPLIT, $0-104
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

// Columns c..c+3 of 8 rows become 4 rows of 8: each Y holds rows i and i+4 of the block, so that transposing 4 x 4 within
// the 128-bit lanes leaves the rows in order.
#define GATHER4(a, b, y, x) \
	VMOVUPS     a, x; \
	VINSERTF128 $1, b, y, y

// func transposeAVX2(dst *float32, ldd int, src *float32, lds, rows, cols int, s float32)
// rows is a multiple of 8, cols of 4.
TEXT ·transposeAVX2(SB), NOSPLIT, $0-52
	MOVQ dst+0(FP), DX
	MOVQ ldd+8(FP), R8
	SHLQ $2, R8
	MOVQ src+16(FP), BX
	MOVQ lds+24(FP), R9
	SHLQ $2, R9
	LEAQ (R9)(R9*2), R10
	MOVQ rows+32(FP), R15
	VBROADCASTSS s+48(FP), Y8

rows:
	MOVQ BX, SI
	LEAQ (SI)(R9*4), R11
	MOVQ DX, DI
	MOVQ cols+40(FP), CX

cols:
	GATHER4((SI), (R11), Y0, X0)
	GATHER4((SI)(R9*1), (R11)(R9*1), Y1, X1)
	GATHER4((SI)(R9*2), (R11)(R9*2), Y2, X2)
	GATHER4((SI)(R10*1), (R11)(R10*1), Y3, X3)
	VUNPCKLPS Y1, Y0, Y4
	VUNPCKHPS Y1, Y0, Y5
	VUNPCKLPS Y3, Y2, Y6
	VUNPCKHPS Y3, Y2, Y7
	VUNPCKLPD Y6, Y4, Y0
	VUNPCKHPD Y6, Y4, Y1
	VUNPCKLPD Y7, Y5, Y2
	VUNPCKHPD Y7, Y5, Y3
	VMULPS    Y8, Y0, Y0
	VMULPS    Y8, Y1, Y1
	VMULPS    Y8, Y2, Y2
	VMULPS    Y8, Y3, Y3
	VMOVUPS   Y0, (DI)
	VMOVUPS   Y1, (DI)(R8*1)
	LEAQ      (DI)(R8*2), DI
	VMOVUPS   Y2, (DI)
	VMOVUPS   Y3, (DI)(R8*1)
	LEAQ      (DI)(R8*2), DI
	ADDQ      $16, SI
	ADDQ      $16, R11
	SUBQ      $4, CX
	JNZ       cols
	ADDQ      $32, DX
	LEAQ      (BX)(R9*8), BX
	SUBQ      $8, R15
	JNZ       rows
	VZEROUPPER
	RET
