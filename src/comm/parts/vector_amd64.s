#include "textflag.h"

// The loops of addTo and of the conversions of 16-bit types on whole vectors; n is a multiple of 16, and not 0.

// func addAVX2(out, a, b *float32, n int)
TEXT ·addAVX2(SB), NOSPLIT, $0-32
	MOVQ out+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	XORQ AX, AX
add:
	VMOVUPS (SI)(AX*4), Y0
	VMOVUPS 32(SI)(AX*4), Y1
	VADDPS (DX)(AX*4), Y0, Y0
	VADDPS 32(DX)(AX*4), Y1, Y1
	VMOVUPS Y0, (DI)(AX*4)
	VMOVUPS Y1, 32(DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT add
	VZEROUPPER
	RET

// func widenBF16AVX2(out *float32, in *uint16, n int)
// A bfloat16 is the upper half of a binary32.
TEXT ·widenBF16AVX2(SB), NOSPLIT, $0-24
	MOVQ out+0(FP), DI
	MOVQ in+8(FP), SI
	MOVQ n+16(FP), CX
	XORQ AX, AX
widen:
	VPMOVZXWD (SI)(AX*2), Y0
	VPMOVZXWD 16(SI)(AX*2), Y1
	VPSLLD $16, Y0, Y0
	VPSLLD $16, Y1, Y1
	VMOVDQU Y0, (DI)(AX*4)
	VMOVDQU Y1, 32(DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT widen
	VZEROUPPER
	RET

DATA bias<>+0(SB)/4, $0x00007fff
GLOBL bias<>(SB), RODATA|NOPTR, $4
DATA one<>+0(SB)/4, $0x00000001
GLOBL one<>(SB), RODATA|NOPTR, $4
DATA quiet<>+0(SB)/4, $0x00400000
GLOBL quiet<>(SB), RODATA|NOPTR, $4

// ROUND makes y the upper half of the nearest, ties to even: y + 0x7fff + the last bit that stays; NaN gets its quiet bit.
#define ROUND(y, t, m) \
	VCMPPS $3, y, y, m; \
	VPSRLD $16, y, t; \
	VPAND Y14, t, t; \
	VPADDD Y15, t, t; \
	VPADDD y, t, t; \
	VPOR Y13, y, y; \
	VBLENDVPS m, y, t, y; \
	VPSRLD $16, y, y

// func narrowBF16AVX2(out *uint16, in *float32, n int)
TEXT ·narrowBF16AVX2(SB), NOSPLIT, $0-24
	MOVQ out+0(FP), DI
	MOVQ in+8(FP), SI
	MOVQ n+16(FP), CX
	VPBROADCASTD bias<>(SB), Y15
	VPBROADCASTD one<>(SB), Y14
	VPBROADCASTD quiet<>(SB), Y13
	XORQ AX, AX
narrow:
	VMOVDQU (SI)(AX*4), Y0
	VMOVDQU 32(SI)(AX*4), Y1
	ROUND(Y0, Y2, Y3)
	ROUND(Y1, Y4, Y5)
	VPACKUSDW Y1, Y0, Y0
	VPERMQ $0xd8, Y0, Y0
	VMOVDQU Y0, (DI)(AX*2)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT narrow
	VZEROUPPER
	RET

// func widenF16F16C(out *float32, in *uint16, n int)
TEXT ·widenF16F16C(SB), NOSPLIT, $0-24
	MOVQ out+0(FP), DI
	MOVQ in+8(FP), SI
	MOVQ n+16(FP), CX
	XORQ AX, AX
widen:
	VCVTPH2PS (SI)(AX*2), Y0
	VCVTPH2PS 16(SI)(AX*2), Y1
	VMOVUPS Y0, (DI)(AX*4)
	VMOVUPS Y1, 32(DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT widen
	VZEROUPPER
	RET

// func narrowF16F16C(out *uint16, in *float32, n int)
// To nearest, ties to even.
TEXT ·narrowF16F16C(SB), NOSPLIT, $0-24
	MOVQ out+0(FP), DI
	MOVQ in+8(FP), SI
	MOVQ n+16(FP), CX
	XORQ AX, AX
narrow:
	VMOVUPS (SI)(AX*4), Y0
	VMOVUPS 32(SI)(AX*4), Y1
	VCVTPS2PH $0, Y0, (DI)(AX*2)
	VCVTPS2PH $0, Y1, 16(DI)(AX*2)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT narrow
	VZEROUPPER
	RET
