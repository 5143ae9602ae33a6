// AVX2 + FMA micro-kernel of the GEMM, 6 x 16, and the copies that bring operands into panels. See gemm_avx512_amd64.s for
// how the tile is described; here a kernel always writes whole tiles, adds C when tile.c is not nil and the bias when
// tile.bias is not nil.

#include "textflag.h"

#define tile_a    0
#define tile_b    8
#define tile_c    16
#define tile_out  24
#define tile_bias 32
#define tile_k    40
#define tile_rsa  48
#define tile_csa  56
#define tile_ldc  64
#define tile_ldo  72
#define tile_alpha 112
#define tile_fetch 120
#define tile_fetchstep 128
#define tile_fetches 136
#define tile_tiles 144
#define tile_nexta 152
#define tile_each 160
#define tile_fetchrows 168
#define tile_fetchleft 176
#define tile_fetchwrap 184

// SI, R12: rows 0-2 and 3-5 of A at step p; R13: the distance of rows; R9: the distance of steps. The 12 sums are Y4-Y15.
#define ROW(at, x, s0, s1) \
	VBROADCASTSS at, x      \
	VFMADD231PS  Y0, x, s0  \
	VFMADD231PS  Y1, x, s1

#define STEP(p) \
	VMOVUPS (64*p)(DI), Y0          \
	VMOVUPS (64*p+32)(DI), Y1       \
	ROW((SI), Y2, Y4, Y5)           \
	ROW((SI)(R13*1), Y3, Y6, Y7)    \
	ROW((SI)(R13*2), Y2, Y8, Y9)    \
	ROW((R12), Y3, Y10, Y11)        \
	ROW((R12)(R13*1), Y2, Y12, Y13) \
	ROW((R12)(R13*2), Y3, Y14, Y15) \
	ADDQ R9, SI                     \
	ADDQ R9, R12

#define ALPHA(s0, s1) \
	VMULPS Y2, s0, s0 \
	VMULPS Y2, s1, s1

#define ADDC(s0, s1) \
	VADDPS (DX), s0, s0   \
	VADDPS 32(DX), s1, s1 \
	ADDQ   R8, DX

#define BIAS(s0, s1) \
	VADDPS Y0, s0, s0 \
	VADDPS Y1, s1, s1

#define OUT(s0, s1) \
	VMOVUPS s0, (R10)   \
	VMOVUPS s1, 32(R10) \
	ADDQ    R9, R10

#define ALL(f) \
	f(Y4, Y5)   \
	f(Y6, Y7)   \
	f(Y8, Y9)   \
	f(Y10, Y11) \
	f(Y12, Y13) \
	f(Y14, Y15)

#define ZERO(s0, s1) \
	VXORPS s0, s0, s0 \
	VXORPS s1, s1, s1

// func tile6x16(t *tile)
//
// tile.tiles tiles, one under the other. Between them it moves a, c, out and what is left to fetch along in t.
TEXT ·tile6x16(SB), NOSPLIT, $0-8
	MOVQ t+0(FP), AX

next:
	MOVQ tile_a(AX), SI
	MOVQ tile_b(AX), DI
	MOVQ tile_k(AX), CX
	MOVQ tile_rsa(AX), R13
	MOVQ tile_csa(AX), R9
	MOVQ tile_out(AX), R10
	MOVQ tile_fetch(AX), R11
	MOVQ tile_fetchstep(AX), DX
	LEAQ (R13)(R13*2), R12
	ADDQ SI, R12
	ALL(ZERO)

	// Rows of C that will be added or overwritten.
	MOVQ tile_ldo(AX), R15
	MOVQ $6, BX

fetch:
	PREFETCHT0 (R10)
	PREFETCHT0 63(R10)
	ADDQ R15, R10
	DECQ BX
	JNZ  fetch
	MOVQ    CX, BX
	SHRQ    $2, BX
	MOVQ    tile_each(AX), R15
	CMPQ    R15, BX
	CMOVQGT BX, R15
	MOVQ    tile_fetches(AX), R8
	CMPQ    R15, R8
	CMOVQGT R8, R15
	SUBQ    R15, R8
	MOVQ    R8, tile_fetches(AX)
	SUBQ    R15, BX
	TESTQ   R15, R15
	JZ      plain
	MOVQ    tile_fetchleft(AX), R8

ahead:
	PREFETCHT1 (R11)
	ADDQ DX, R11
	DECQ R8
	JNZ  down
	ADDQ tile_fetchwrap(AX), R11
	MOVQ tile_fetchrows(AX), R8

down:
	STEP(0)
	STEP(1)
	STEP(2)
	STEP(3)
	ADDQ $256, DI
	DECQ R15
	JNZ  ahead
	MOVQ R11, tile_fetch(AX)
	MOVQ R8, tile_fetchleft(AX)

plain:
	TESTQ BX, BX
	JZ    tail

rounds:
	STEP(0)
	STEP(1)
	STEP(2)
	STEP(3)
	ADDQ $256, DI
	DECQ BX
	JNZ  rounds

tail:
	ANDQ $3, CX
	JZ   finish

steps:
	STEP(0)
	ADDQ $64, DI
	DECQ CX
	JNZ  steps

finish:
	VBROADCASTSS tile_alpha(AX), Y2
	ALL(ALPHA)
	MOVQ  tile_c(AX), DX
	MOVQ  tile_ldc(AX), R8
	TESTQ DX, DX
	JZ    bias
	ALL(ADDC)

bias:
	MOVQ    tile_bias(AX), SI
	TESTQ   SI, SI
	JZ      out
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	ALL(BIAS)

out:
	MOVQ tile_out(AX), R10
	MOVQ tile_ldo(AX), R9
	ALL(OUT)
	DECQ  tile_tiles(AX)
	JZ    end
	MOVQ  tile_nexta(AX), SI
	ADDQ  SI, tile_a(AX)
	MOVQ  R10, tile_out(AX)
	MOVQ  tile_c(AX), DX
	TESTQ DX, DX
	JZ    next
	LEAQ  (R8)(R8*2), R8
	LEAQ  (DX)(R8*2), DX
	MOVQ  DX, tile_c(AX)
	JMP   next

end:
	VZEROUPPER
	RET

// func transpose8(dst, src unsafe.Pointer, dstStep, ld, quads int)
//
// dst[p][0:8] = src[0:8][p] for p < 4 quads; the distance of two p in dst and of two rows in src are in bytes.
TEXT ·transpose8(SB), NOSPLIT, $0-40
	MOVQ  dst+0(FP), DI
	MOVQ  src+8(FP), R10
	MOVQ  dstStep+16(FP), R8
	MOVQ  ld+24(FP), SI
	MOVQ  quads+32(FP), CX
	TESTQ CX, CX
	JZ    done
	LEAQ  (SI)(SI*2), BX
	LEAQ  (R8)(R8*2), R9
	LEAQ  (R10)(SI*4), R11

quad:
	VMOVUPS      (R10), X0
	VINSERTF128  $1, (R11), Y0, Y0
	VMOVUPS      (R10)(SI*1), X1
	VINSERTF128  $1, (R11)(SI*1), Y1, Y1
	VMOVUPS      (R10)(SI*2), X2
	VINSERTF128  $1, (R11)(SI*2), Y2, Y2
	VMOVUPS      (R10)(BX*1), X3
	VINSERTF128  $1, (R11)(BX*1), Y3, Y3
	VUNPCKLPS    Y1, Y0, Y4
	VUNPCKHPS    Y1, Y0, Y5
	VUNPCKLPS    Y3, Y2, Y6
	VUNPCKHPS    Y3, Y2, Y7
	VUNPCKLPD    Y6, Y4, Y0
	VUNPCKHPD    Y6, Y4, Y1
	VUNPCKLPD    Y7, Y5, Y2
	VUNPCKHPD    Y7, Y5, Y3
	VMOVUPS      Y0, (DI)
	VMOVUPS      Y1, (DI)(R8*1)
	VMOVUPS      Y2, (DI)(R8*2)
	VMOVUPS      Y3, (DI)(R9*1)
	LEAQ         (DI)(R8*4), DI
	ADDQ         $16, R10
	ADDQ         $16, R11
	DECQ         CX
	JNZ          quad

done:
	VZEROUPPER
	RET

// func copyPanels16(dst, src unsafe.Pointer, panel, ld, k, panels int)
//
// dst[q panel + p 16 + j] = src[p ld + 16 q + j] for p < k, q < panels, j < 16; panel and ld are in bytes.
TEXT ·copyPanels16(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ panel+16(FP), R8
	MOVQ ld+24(FP), R9
	MOVQ k+32(FP), CX
	MOVQ panels+40(FP), BX

row:
	MOVQ SI, R10
	MOVQ DI, R11
	MOVQ BX, DX

piece:
	VMOVUPS (R10), Y0
	VMOVUPS 32(R10), Y1
	VMOVUPS Y0, (R11)
	VMOVUPS Y1, 32(R11)
	ADDQ    $64, R10
	ADDQ    R8, R11
	DECQ    DX
	JNZ     piece
	ADDQ    R9, SI
	ADDQ    $64, DI
	DECQ    CX
	JNZ     row
	VZEROUPPER
	RET

// func copyGroups6(dst, src unsafe.Pointer, group, ld, k, groups int)
//
// dst[q group + p 6 + r] = src[p ld + 6 q + r] for p < k, q < groups, r < 6; group and ld are in bytes. It reads nothing
// but these elements.
TEXT ·copyGroups6(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ group+16(FP), R8
	MOVQ ld+24(FP), R9
	MOVQ k+32(FP), CX
	MOVQ groups+40(FP), BX

row:
	MOVQ SI, R10
	MOVQ DI, R11
	MOVQ BX, DX

piece:
	VMOVUPS (R10), X0
	VMOVSD  16(R10), X1
	VMOVUPS X0, (R11)
	VMOVSD  X1, 16(R11)
	ADDQ    $24, R10
	ADDQ    R8, R11
	DECQ    DX
	JNZ     piece
	ADDQ    R9, SI
	ADDQ    $24, DI
	DECQ    CX
	JNZ     row
	RET

// func transpose6(dst, src unsafe.Pointer, ld, quads int)
//
// dst[p 6 + r] = src[r ld + p] for r < 6, p < 4 quads; ld is in bytes.
TEXT ·transpose6(SB), NOSPLIT, $0-32
	MOVQ  dst+0(FP), DI
	MOVQ  src+8(FP), R10
	MOVQ  ld+16(FP), SI
	MOVQ  quads+24(FP), CX
	TESTQ CX, CX
	JZ    done
	LEAQ  (SI)(SI*2), BX
	LEAQ  (R10)(BX*1), R11

quad:
	VMOVUPS   (R10), X0
	VMOVUPS   (R10)(SI*1), X1
	VMOVUPS   (R10)(SI*2), X2
	VMOVUPS   (R11), X3
	VMOVUPS   (R11)(SI*1), X4
	VMOVUPS   (R11)(SI*2), X5
	VUNPCKLPS X1, X0, X6
	VUNPCKHPS X1, X0, X7
	VUNPCKLPS X3, X2, X8
	VUNPCKHPS X3, X2, X9
	VUNPCKLPS X5, X4, X10
	VUNPCKHPS X5, X4, X11
	VUNPCKLPD X8, X6, X0
	VUNPCKHPD X8, X6, X1
	VUNPCKLPD X9, X7, X2
	VUNPCKHPD X9, X7, X3
	VMOVUPS   X0, (DI)
	VMOVLPS   X10, 16(DI)
	VMOVUPS   X1, 24(DI)
	VMOVHPS   X10, 40(DI)
	VMOVUPS   X2, 48(DI)
	VMOVLPS   X11, 64(DI)
	VMOVUPS   X3, 72(DI)
	VMOVHPS   X11, 88(DI)
	ADDQ      $16, R10
	ADDQ      $16, R11
	ADDQ      $96, DI
	DECQ      CX
	JNZ       quad

done:
	VZEROUPPER
	RET
