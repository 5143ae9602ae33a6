// AVX-512 micro-kernels of the GEMM: out[r][j] = sum_p a[r][p] b[p][j] for a tile of up to 8 rows and 48, 32 or 16 columns,
// with alpha, addition and bias applied on the way out; and the copies that bring operands into panels.
//
// struct tile (gemm_tile.go) holds the arguments. A row of the tile is 3, 2 or 1 vectors; its sums stay in Z8-Z31
// (24, 16 or 8 of them) for the whole of k. Every sum is one chain of fused multiply-adds in the order of p, whatever the
// kernel, so a result does not depend on the tile that it falls in.

// The file is long because every width is written out, and the copies belong to the panels that the kernels read.

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
#define tile_rows 80
#define tile_mask 88
#define tile_add  96
#define tile_biasmask 104
#define tile_alpha 112
#define tile_fetch 120
#define tile_fetchstep 128
#define tile_fetches 136

// SI, R12: rows 0-3 and 4-7 of A at step p; R13, R15: one and three row distances; R9: the distance of two steps.
#define ROW3(at, x, s0, s1, s2) \
	VBROADCASTSS at, x       \
	VFMADD231PS  Z0, x, s0   \
	VFMADD231PS  Z1, x, s1   \
	VFMADD231PS  Z2, x, s2

#define STEP3(p) \
	VMOVUPS (192*p)(DI), Z0               \
	VMOVUPS (192*p+64)(DI), Z1            \
	VMOVUPS (192*p+128)(DI), Z2           \
	ROW3((SI), Z3, Z8, Z9, Z10)           \
	ROW3((SI)(R13*1), Z4, Z11, Z12, Z13)  \
	ROW3((SI)(R13*2), Z5, Z14, Z15, Z16)  \
	ROW3((SI)(R15*1), Z6, Z17, Z18, Z19)  \
	ROW3((R12), Z3, Z20, Z21, Z22)        \
	ROW3((R12)(R13*1), Z4, Z23, Z24, Z25) \
	ROW3((R12)(R13*2), Z5, Z26, Z27, Z28) \
	ROW3((R12)(R15*1), Z6, Z29, Z30, Z31) \
	ADDQ R9, SI                           \
	ADDQ R9, R12

#define ROW2(at, x, s0, s1) \
	VBROADCASTSS at, x       \
	VFMADD231PS  Z0, x, s0   \
	VFMADD231PS  Z1, x, s1

#define STEP2(p) \
	VMOVUPS (128*p)(DI), Z0          \
	VMOVUPS (128*p+64)(DI), Z1       \
	ROW2((SI), Z3, Z8, Z9)           \
	ROW2((SI)(R13*1), Z4, Z11, Z12)  \
	ROW2((SI)(R13*2), Z5, Z14, Z15)  \
	ROW2((SI)(R15*1), Z6, Z17, Z18)  \
	ROW2((R12), Z3, Z20, Z21)        \
	ROW2((R12)(R13*1), Z4, Z23, Z24) \
	ROW2((R12)(R13*2), Z5, Z26, Z27) \
	ROW2((R12)(R15*1), Z6, Z29, Z30) \
	ADDQ R9, SI                      \
	ADDQ R9, R12

#define STEP1(p) \
	VMOVUPS (64*p)(DI), Z0                   \
	VFMADD231PS.BCST (SI), Z0, Z8            \
	VFMADD231PS.BCST (SI)(R13*1), Z0, Z11    \
	VFMADD231PS.BCST (SI)(R13*2), Z0, Z14    \
	VFMADD231PS.BCST (SI)(R15*1), Z0, Z17    \
	VFMADD231PS.BCST (R12), Z0, Z20          \
	VFMADD231PS.BCST (R12)(R13*1), Z0, Z23   \
	VFMADD231PS.BCST (R12)(R13*2), Z0, Z26   \
	VFMADD231PS.BCST (R12)(R15*1), Z0, Z29   \
	ADDQ R9, SI                              \
	ADDQ R9, R12

#define ZERO3(s0, s1, s2) \
	VPXORQ s0, s0, s0 \
	VPXORQ s1, s1, s1 \
	VPXORQ s2, s2, s2

// DX: row of C; R8: its distance; R10: prefetch of C; BX: rounds of 4 steps.
#define START \
	MOVQ t+0(FP), AX         \
	MOVQ tile_a(AX), SI      \
	MOVQ tile_b(AX), DI      \
	MOVQ tile_k(AX), CX      \
	MOVQ tile_rsa(AX), R13   \
	MOVQ tile_csa(AX), R9    \
	MOVQ tile_ldc(AX), R8    \
	MOVQ tile_c(AX), R10     \
	MOVQ tile_fetch(AX), R11 \
	MOVQ tile_fetchstep(AX), DX \
	LEAQ (SI)(R13*4), R12    \
	LEAQ (R13)(R13*2), R15   \
	ZERO3(Z8, Z9, Z10)       \
	ZERO3(Z11, Z12, Z13)     \
	ZERO3(Z14, Z15, Z16)     \
	ZERO3(Z17, Z18, Z19)     \
	ZERO3(Z20, Z21, Z22)     \
	ZERO3(Z23, Z24, Z25)     \
	ZERO3(Z26, Z27, Z28)     \
	ZERO3(Z29, Z30, Z31)     \
	MOVQ CX, BX              \
	SHRQ $2, BX

// The first rounds of 4 steps fetch a row of C each: all rows at once would keep A and B waiting. The later ones fetch what
// the next tiles will read from memory.
#define FETCHC \
	PREFETCHT0 (R10)    \
	PREFETCHT0 64(R10)  \
	PREFETCHT0 128(R10) \
	ADDQ R8, R10

#define FETCHNEXT \
	PREFETCHT1 (R11) \
	ADDQ DX, R11

// Z1-Z3: bias, or zeros; Z4: alpha; K1-K3: columns that exist; K4-K6: the same, or none when nothing is added.
#define FINISH \
	MOVQ tile_c(AX), DX      \
	MOVQ tile_out(AX), R10   \
	MOVQ tile_ldo(AX), R9    \
	MOVQ tile_bias(AX), SI   \
	MOVQ tile_rows(AX), R11  \
	VBROADCASTSS tile_alpha(AX), Z4 \
	MOVQ tile_biasmask(AX), R12 \
	KMOVQ R12, K1            \
	KSHIFTRQ $16, K1, K2     \
	KSHIFTRQ $32, K1, K3     \
	VMOVUPS.Z (SI), K1, Z1   \
	VMOVUPS.Z 64(SI), K2, Z2 \
	VMOVUPS.Z 128(SI), K3, Z3 \
	KMOVQ tile_mask(AX), K1  \
	KSHIFTRQ $16, K1, K2     \
	KSHIFTRQ $32, K1, K3     \
	KMOVQ tile_add(AX), K4   \
	KSHIFTRQ $16, K4, K5     \
	KSHIFTRQ $32, K4, K6

#define OUT(at, s, bias, add, mask) \
	VMOVUPS.Z (at)(DX), add, Z0 \
	VMULPS    Z4, s, s          \
	VADDPS    Z0, s, s          \
	VADDPS    bias, s, s        \
	VMOVUPS   s, mask, (at)(R10)

#define OUT1(s0) OUT(0, s0, Z1, K4, K1)
#define OUT2(s0, s1) OUT1(s0); OUT(64, s1, Z2, K5, K2)
#define OUT3(s0, s1, s2) OUT2(s0, s1); OUT(128, s2, Z3, K6, K3)

#define NEXT \
	ADDQ R8, DX  \
	ADDQ R9, R10 \
	DECQ R11     \
	JZ   done

// func tile8x48(t *tile)
TEXT ·tile8x48(SB), NOSPLIT, $0-8
	START
	CMPQ BX, $8
	JL   rest
	SUBQ $8, BX
	MOVQ $8, AX

fetching:
	FETCHC
	STEP3(0)
	STEP3(1)
	STEP3(2)
	STEP3(3)
	ADDQ $768, DI
	DECQ AX
	JNZ  fetching

rest:
	MOVQ t+0(FP), AX
	MOVQ tile_fetches(AX), AX
	CMPQ AX, BX
	CMOVQGT BX, AX
	SUBQ AX, BX
	TESTQ AX, AX
	JZ   plain

ahead:
	FETCHNEXT
	STEP3(0)
	STEP3(1)
	STEP3(2)
	STEP3(3)
	ADDQ $768, DI
	DECQ AX
	JNZ  ahead

plain:
	TESTQ BX, BX
	JZ    tail

rounds:
	STEP3(0)
	STEP3(1)
	STEP3(2)
	STEP3(3)
	ADDQ $768, DI
	DECQ BX
	JNZ  rounds

tail:
	ANDQ $3, CX
	JZ   finish

steps:
	STEP3(0)
	ADDQ $192, DI
	DECQ CX
	JNZ  steps

finish:
	MOVQ t+0(FP), AX
	FINISH
	OUT3(Z8, Z9, Z10)
	NEXT
	OUT3(Z11, Z12, Z13)
	NEXT
	OUT3(Z14, Z15, Z16)
	NEXT
	OUT3(Z17, Z18, Z19)
	NEXT
	OUT3(Z20, Z21, Z22)
	NEXT
	OUT3(Z23, Z24, Z25)
	NEXT
	OUT3(Z26, Z27, Z28)
	NEXT
	OUT3(Z29, Z30, Z31)

done:
	VZEROUPPER
	RET

// func tile8x32(t *tile)
TEXT ·tile8x32(SB), NOSPLIT, $0-8
	START
	JZ tail
	MOVQ $8, AX

rounds:
	DECQ AX
	JL   fetched
	FETCHC

fetched:
	STEP2(0)
	STEP2(1)
	STEP2(2)
	STEP2(3)
	ADDQ $512, DI
	DECQ BX
	JNZ  rounds

tail:
	ANDQ $3, CX
	JZ   finish

steps:
	STEP2(0)
	ADDQ $128, DI
	DECQ CX
	JNZ  steps

finish:
	MOVQ t+0(FP), AX
	FINISH
	OUT2(Z8, Z9)
	NEXT
	OUT2(Z11, Z12)
	NEXT
	OUT2(Z14, Z15)
	NEXT
	OUT2(Z17, Z18)
	NEXT
	OUT2(Z20, Z21)
	NEXT
	OUT2(Z23, Z24)
	NEXT
	OUT2(Z26, Z27)
	NEXT
	OUT2(Z29, Z30)

done:
	VZEROUPPER
	RET

// func tile8x16(t *tile)
TEXT ·tile8x16(SB), NOSPLIT, $0-8
	START
	JZ tail
	MOVQ $8, AX

rounds:
	DECQ AX
	JL   fetched
	FETCHC

fetched:
	STEP1(0)
	STEP1(1)
	STEP1(2)
	STEP1(3)
	ADDQ $256, DI
	DECQ BX
	JNZ  rounds

tail:
	ANDQ $3, CX
	JZ   finish

steps:
	STEP1(0)
	ADDQ $64, DI
	DECQ CX
	JNZ  steps

finish:
	MOVQ t+0(FP), AX
	FINISH
	OUT1(Z8)
	NEXT
	OUT1(Z11)
	NEXT
	OUT1(Z14)
	NEXT
	OUT1(Z17)
	NEXT
	OUT1(Z20)
	NEXT
	OUT1(Z23)
	NEXT
	OUT1(Z26)
	NEXT
	OUT1(Z29)

done:
	VZEROUPPER
	RET

// QUAD loads 4 floats of each of 4 rows that lie 4 rows apart into the 4 lanes of z. The masked broadcasts place the lanes
// on the way in, which spares shuffles.
#define QUAD(r0, r1, r2, r3, z) \
	VBROADCASTF32X4 r0, z     \
	VBROADCASTF32X4 r1, K1, z \
	VBROADCASTF32X4 r2, K2, z \
	VBROADCASTF32X4 r3, K3, z

// func transpose16(dst, src unsafe.Pointer, dstStep, ld, quads int)
//
// dst[p][0:16] = src[0:16][p] for p < 4 quads; the distance of two p in dst and of two rows in src are in bytes.
TEXT ·transpose16(SB), NOSPLIT, $0-40
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
	LEAQ  (R11)(SI*4), R12
	LEAQ  (R12)(SI*4), R13
	MOVL  $0x00f0, AX
	KMOVW AX, K1
	MOVL  $0x0f00, AX
	KMOVW AX, K2
	MOVL  $0xf000, AX
	KMOVW AX, K3

quad:
	QUAD((R10), (R11), (R12), (R13), Z0)
	QUAD((R10)(SI*1), (R11)(SI*1), (R12)(SI*1), (R13)(SI*1), Z1)
	QUAD((R10)(SI*2), (R11)(SI*2), (R12)(SI*2), (R13)(SI*2), Z2)
	QUAD((R10)(BX*1), (R11)(BX*1), (R12)(BX*1), (R13)(BX*1), Z3)

	// A 4x4 transpose in every lane.
	VUNPCKLPS Z1, Z0, Z4
	VUNPCKHPS Z1, Z0, Z5
	VUNPCKLPS Z3, Z2, Z6
	VUNPCKHPS Z3, Z2, Z7
	VUNPCKLPD Z6, Z4, Z0
	VUNPCKHPD Z6, Z4, Z1
	VUNPCKLPD Z7, Z5, Z2
	VUNPCKHPD Z7, Z5, Z3
	VMOVUPS   Z0, (DI)
	VMOVUPS   Z1, (DI)(R8*1)
	VMOVUPS   Z2, (DI)(R8*2)
	VMOVUPS   Z3, (DI)(R9*1)
	LEAQ      (DI)(R8*4), DI
	ADDQ      $16, R10
	ADDQ      $16, R11
	ADDQ      $16, R12
	ADDQ      $16, R13
	DECQ      CX
	JNZ       quad

done:
	VZEROUPPER
	RET

// func copy48(dst, src unsafe.Pointer, panel, ld, k, panels int)
//
// dst[q panel + p 48 + j] = src[p ld + 48 q + j] for p < k, q < panels, j < 48; panel and ld are in bytes. Row by row,
// so that src is read in long runs.
TEXT ·copy48(SB), NOSPLIT, $0-48
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
	VMOVUPS (R10), Z0
	VMOVUPS 64(R10), Z1
	VMOVUPS 128(R10), Z2
	VMOVUPS Z0, (R11)
	VMOVUPS Z1, 64(R11)
	VMOVUPS Z2, 128(R11)
	ADDQ    $192, R10
	ADDQ    R8, R11
	DECQ    DX
	JNZ     piece
	ADDQ    R9, SI
	ADDQ    $192, DI
	DECQ    CX
	JNZ     row
	VZEROUPPER
	RET

// func copy16(dst, src unsafe.Pointer, dstStep, group, ld, k, groups int, mask uint64)
//
// dst[p dstStep + q group + j] = src[p ld + 16 q + j] for p < k, q < groups, j < 16, distances in bytes. mask tells which
// columns of the last group exist; the others become zero.
TEXT ·copy16(SB), NOSPLIT, $0-64
	MOVQ  dst+0(FP), DI
	MOVQ  src+8(FP), SI
	MOVQ  dstStep+16(FP), R8
	MOVQ  group+24(FP), R12
	MOVQ  ld+32(FP), R9
	MOVQ  k+40(FP), CX
	MOVQ  groups+48(FP), BX
	KMOVQ mask+56(FP), K1
	DECQ  BX

row:
	MOVQ  SI, R10
	MOVQ  DI, R11
	MOVQ  BX, DX
	TESTQ DX, DX
	JZ    last

whole:
	VMOVUPS (R10), Z0
	VMOVUPS Z0, (R11)
	ADDQ    $64, R10
	ADDQ    R12, R11
	DECQ    DX
	JNZ     whole

last:
	VMOVUPS.Z (R10), K1, Z0
	VMOVUPS   Z0, (R11)
	ADDQ      R9, SI
	ADDQ      R8, DI
	DECQ      CX
	JNZ       row
	VZEROUPPER
	RET
