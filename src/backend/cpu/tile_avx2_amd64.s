#include "textflag.h"

// Products of attention tiles in AVX2:
//
// C[m][8 nv] (+)= A B, nv = 3, 2, 1, four rows at a time. Registers as in tile_avx512_amd64.s; the accumulators are
// Y4-Y15.

#define TILEARGS \
	MOVQ c+0(FP), DI; \
	MOVQ ldc+8(FP), R8; \
	MOVQ a+16(FP), SI; \
	MOVQ rsa+24(FP), R9; \
	MOVQ csa+32(FP), R10; \
	MOVQ b+40(FP), DX; \
	MOVQ ldb+48(FP), R11; \
	MOVQ m+56(FP), R12; \
	SHLQ $2, R8; \
	SHLQ $2, R9; \
	SHLQ $2, R10; \
	SHLQ $2, R11; \
	LEAQ (R9)(R9*2), R13

#define CLEAR4(a, b, c, d) \
	VXORPS a, a, a; \
	VXORPS b, b, b; \
	VXORPS c, c, c; \
	VXORPS d, d, d

#define BEGIN \
	MOVQ SI, BX; \
	MOVQ DX, AX; \
	MOVQ k+64(FP), CX

#define NEXT(label) \
	ADDQ R10, BX; \
	ADDQ R11, AX; \
	DECQ CX; \
	JNZ  label

// Falls through to add when the result is to be added to C, with AX = C.
#define ADDS(store) \
	MOVQ DI, AX; \
	CMPQ accumulate+72(FP), $0; \
	JEQ  store

#define B3 \
	VMOVUPS (AX), Y0; \
	VMOVUPS 32(AX), Y1; \
	VMOVUPS 64(AX), Y2
#define ROW3(a, t, c0, c1, c2) \
	VBROADCASTSS a, t; \
	VFMADD231PS  Y0, t, c0; \
	VFMADD231PS  Y1, t, c1; \
	VFMADD231PS  Y2, t, c2
#define PUT3(c0, c1, c2) \
	VMOVUPS c0, (DI); \
	VMOVUPS c1, 32(DI); \
	VMOVUPS c2, 64(DI); \
	ADDQ    R8, DI
#define ADD3(c0, c1, c2) \
	VADDPS (AX), c0, c0; \
	VADDPS 32(AX), c1, c1; \
	VADDPS 64(AX), c2, c2; \
	ADDQ   R8, AX

#define B2 \
	VMOVUPS (AX), Y0; \
	VMOVUPS 32(AX), Y1
#define ROW2(a, t, c0, c1) \
	VBROADCASTSS a, t; \
	VFMADD231PS  Y0, t, c0; \
	VFMADD231PS  Y1, t, c1
#define PUT2(c0, c1) \
	VMOVUPS c0, (DI); \
	VMOVUPS c1, 32(DI); \
	ADDQ    R8, DI
#define ADD2(c0, c1) \
	VADDPS (AX), c0, c0; \
	VADDPS 32(AX), c1, c1; \
	ADDQ   R8, AX

#define B1 \
	VMOVUPS (AX), Y0
#define ROW1(a, t, c0) \
	VBROADCASTSS a, t; \
	VFMADD231PS  Y0, t, c0
#define PUT1(c0) \
	VMOVUPS c0, (DI); \
	ADDQ    R8, DI
#define ADD1(c0) \
	VADDPS (AX), c0, c0; \
	ADDQ   R8, AX

// func tile3AVX2(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate uint64)
TEXT ·tile3AVX2(SB), NOSPLIT, $0-80
	TILEARGS
	CMPQ R12, $4
	JLT  one

four:
	CLEAR4(Y4, Y5, Y6, Y7)
	CLEAR4(Y8, Y9, Y10, Y11)
	CLEAR4(Y12, Y13, Y14, Y15)
	BEGIN

step4:
	B3
	ROW3((BX), Y3, Y4, Y5, Y6)
	ROW3((BX)(R9*1), Y3, Y7, Y8, Y9)
	ROW3((BX)(R9*2), Y3, Y10, Y11, Y12)
	ROW3((BX)(R13*1), Y3, Y13, Y14, Y15)
	NEXT(step4)
	ADDS(put4)
	ADD3(Y4, Y5, Y6)
	ADD3(Y7, Y8, Y9)
	ADD3(Y10, Y11, Y12)
	ADD3(Y13, Y14, Y15)

put4:
	PUT3(Y4, Y5, Y6)
	PUT3(Y7, Y8, Y9)
	PUT3(Y10, Y11, Y12)
	PUT3(Y13, Y14, Y15)
	LEAQ (SI)(R9*4), SI
	SUBQ $4, R12
	CMPQ R12, $4
	JGE  four

one:
	TESTQ R12, R12
	JEQ   end
	CLEAR4(Y4, Y5, Y6, Y7)
	BEGIN

step1:
	B3
	ROW3((BX), Y3, Y4, Y5, Y6)
	NEXT(step1)
	ADDS(put1)
	ADD3(Y4, Y5, Y6)

put1:
	PUT3(Y4, Y5, Y6)
	ADDQ R9, SI
	DECQ R12
	JMP  one

end:
	VZEROUPPER
	RET

// func tile2AVX2(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate uint64)
TEXT ·tile2AVX2(SB), NOSPLIT, $0-80
	TILEARGS
	CMPQ R12, $4
	JLT  one

four:
	CLEAR4(Y4, Y5, Y6, Y7)
	CLEAR4(Y8, Y9, Y10, Y11)
	BEGIN

step4:
	B2
	ROW2((BX), Y2, Y4, Y5)
	ROW2((BX)(R9*1), Y3, Y6, Y7)
	ROW2((BX)(R9*2), Y2, Y8, Y9)
	ROW2((BX)(R13*1), Y3, Y10, Y11)
	NEXT(step4)
	ADDS(put4)
	ADD2(Y4, Y5)
	ADD2(Y6, Y7)
	ADD2(Y8, Y9)
	ADD2(Y10, Y11)

put4:
	PUT2(Y4, Y5)
	PUT2(Y6, Y7)
	PUT2(Y8, Y9)
	PUT2(Y10, Y11)
	LEAQ (SI)(R9*4), SI
	SUBQ $4, R12
	CMPQ R12, $4
	JGE  four

one:
	TESTQ R12, R12
	JEQ   end
	CLEAR4(Y4, Y5, Y6, Y7)
	BEGIN

step1:
	B2
	ROW2((BX), Y3, Y4, Y5)
	NEXT(step1)
	ADDS(put1)
	ADD2(Y4, Y5)

put1:
	PUT2(Y4, Y5)
	ADDQ R9, SI
	DECQ R12
	JMP  one

end:
	VZEROUPPER
	RET

// func tile1AVX2(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate uint64)
TEXT ·tile1AVX2(SB), NOSPLIT, $0-80
	TILEARGS
	CMPQ R12, $4
	JLT  one

four:
	CLEAR4(Y4, Y5, Y6, Y7)
	BEGIN

step4:
	B1
	ROW1((BX), Y2, Y4)
	ROW1((BX)(R9*1), Y3, Y5)
	ROW1((BX)(R9*2), Y2, Y6)
	ROW1((BX)(R13*1), Y3, Y7)
	NEXT(step4)
	ADDS(put4)
	ADD1(Y4)
	ADD1(Y5)
	ADD1(Y6)
	ADD1(Y7)

put4:
	PUT1(Y4)
	PUT1(Y5)
	PUT1(Y6)
	PUT1(Y7)
	LEAQ (SI)(R9*4), SI
	SUBQ $4, R12
	CMPQ R12, $4
	JGE  four

one:
	TESTQ R12, R12
	JEQ   end
	CLEAR4(Y4, Y5, Y6, Y7)
	BEGIN

step1:
	B1
	ROW1((BX), Y3, Y4)
	NEXT(step1)
	ADDS(put1)
	ADD1(Y4)

put1:
	PUT1(Y4)
	ADDQ R9, SI
	DECQ R12
	JMP  one

end:
	VZEROUPPER
	RET
