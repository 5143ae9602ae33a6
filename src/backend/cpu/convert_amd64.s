#include "textflag.h"

// Conversions of whole groups of 16 elements; the Go wrappers do the rest. AVX2 processors have F16C.

DATA ones16<>+0(SB)/4, $1
GLOBL ones16<>(SB), RODATA|NOPTR, $4
DATA half16<>+0(SB)/4, $0x7fff
GLOBL half16<>(SB), RODATA|NOPTR, $4
DATA quiet16<>+0(SB)/4, $0x40
GLOBL quiet16<>(SB), RODATA|NOPTR, $4

// Round to nearest even: add half of the last kept bit, less one when that bit is 0. NaN is cut off and made quiet.
// func toBF16AVX512(dst *uint16, src *float32, n int)
TEXT ·toBF16AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	VPBROADCASTD ones16<>(SB), Z8
	VPBROADCASTD half16<>(SB), Z9
	VPBROADCASTD quiet16<>(SB), Z10

loop:
	VMOVUPS   (SI), Z0
	VPSRLD    $16, Z0, Z1
	VPANDD    Z8, Z1, Z2
	VPADDD    Z9, Z2, Z2
	VPADDD    Z0, Z2, Z2
	VPSRLD    $16, Z2, Z2
	VCMPPS    $3, Z0, Z0, K2
	VPORD     Z10, Z1, K2, Z2
	VPMOVDW   Z2, (DI)
	ADDQ      $64, SI
	ADDQ      $32, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET

// func toBF16AVX2(dst *uint16, src *float32, n int)
TEXT ·toBF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	VPBROADCASTD ones16<>(SB), Y8
	VPBROADCASTD half16<>(SB), Y9
	VPBROADCASTD quiet16<>(SB), Y10

#define TOBF16(o, x, t, m) \
	VMOVUPS   o(SI), x; \
	VPSRLD    $16, x, t; \
	VPAND     Y8, t, m; \
	VPADDD    Y9, m, m; \
	VPADDD    x, m, m; \
	VPOR      Y10, t, t; \
	VCMPPS    $3, x, x, x; \
	VPSRLD    $16, m, m; \
	VBLENDVPS x, t, m, m

loop:
	TOBF16(0, Y0, Y1, Y2)
	TOBF16(32, Y3, Y4, Y5)
	VPACKUSDW Y5, Y2, Y2
	VPERMQ    $0xd8, Y2, Y2
	VMOVDQU   Y2, (DI)
	ADDQ      $64, SI
	ADDQ      $32, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET

// func fromBF16AVX512(dst *float32, src *uint16, n int)
TEXT ·fromBF16AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VPMOVZXWD (SI), Z0
	VPSLLD    $16, Z0, Z0
	VMOVUPS   Z0, (DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET

// func fromBF16AVX2(dst *float32, src *uint16, n int)
TEXT ·fromBF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VPMOVZXWD (SI), Y0
	VPMOVZXWD 16(SI), Y1
	VPSLLD    $16, Y0, Y0
	VPSLLD    $16, Y1, Y1
	VMOVUPS   Y0, (DI)
	VMOVUPS   Y1, 32(DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET

// func toF16AVX512(dst *uint16, src *float32, n int)
TEXT ·toF16AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VMOVUPS   (SI), Z0
	VCVTPS2PH $0, Z0, (DI)
	ADDQ      $64, SI
	ADDQ      $32, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET

// func toF16AVX2(dst *uint16, src *float32, n int)
TEXT ·toF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VMOVUPS   (SI), Y0
	VMOVUPS   32(SI), Y1
	VCVTPS2PH $0, Y0, (DI)
	VCVTPS2PH $0, Y1, 16(DI)
	ADDQ      $64, SI
	ADDQ      $32, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET

// func fromF16AVX512(dst *float32, src *uint16, n int)
TEXT ·fromF16AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VCVTPH2PS (SI), Z0
	VMOVUPS   Z0, (DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET

// func fromF16AVX2(dst *float32, src *uint16, n int)
TEXT ·fromF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VCVTPH2PS (SI), Y0
	VCVTPH2PS 16(SI), Y1
	VMOVUPS   Y0, (DI)
	VMOVUPS   Y1, 32(DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET
