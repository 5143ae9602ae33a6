#include "textflag.h"

// Products of attention tiles in AVX-512:
//
// C[m][16 nv] (+)= A B, nv = 4, 3 (four rows at a time) or 2, 1 (eight); K1 masks the last vector.
// DI = c, R8 = its row distance; SI = a, R9 and R10 its distances of rows and of columns; DX = b, R11 its row distance;
// R12 = rows left. BX (and R15, four rows on) and AX walk through a and b; R13 = 3 R9. Accumulators are Z8-Z23.
// All distances are in bytes.

#define TILEARGS \
	MOVQ  c+0(FP), DI; \
	MOVQ  ldc+8(FP), R8; \
	MOVQ  a+16(FP), SI; \
	MOVQ  rsa+24(FP), R9; \
	MOVQ  csa+32(FP), R10; \
	MOVQ  b+40(FP), DX; \
	MOVQ  ldb+48(FP), R11; \
	MOVQ  m+56(FP), R12; \
	MOVQ  mask+80(FP), AX; \
	KMOVW AX, K1; \
	SHLQ  $2, R8; \
	SHLQ  $2, R9; \
	SHLQ  $2, R10; \
	SHLQ  $2, R11; \
	LEAQ  (R9)(R9*2), R13

#define CLEAR4(a, b, c, d) \
	VPXORQ a, a, a; \
	VPXORQ b, b, b; \
	VPXORQ c, c, c; \
	VPXORQ d, d, d

#define BEGIN \
	MOVQ SI, BX; \
	MOVQ DX, AX; \
	MOVQ k+64(FP), CX

#define NEXT(label) \
	ADDQ R10, BX; \
	ADDQ R11, AX; \
	DECQ CX; \
	JNZ  label

#define B4 \
	VMOVUPS   (AX), Z0; \
	VMOVUPS   64(AX), Z1; \
	VMOVUPS   128(AX), Z2; \
	VMOVUPS.Z 192(AX), K1, Z3
#define B3 \
	VMOVUPS   (AX), Z0; \
	VMOVUPS   64(AX), Z1; \
	VMOVUPS.Z 128(AX), K1, Z2
#define B2 \
	VMOVUPS   (AX), Z0; \
	VMOVUPS.Z 64(AX), K1, Z1
#define B1 \
	VMOVUPS.Z (AX), K1, Z0

#define ROW4(a, t, c0, c1, c2, c3) \
	VBROADCASTSS a, t; \
	VFMADD231PS  Z0, t, c0; \
	VFMADD231PS  Z1, t, c1; \
	VFMADD231PS  Z2, t, c2; \
	VFMADD231PS  Z3, t, c3
#define ROW3(a, t, c0, c1, c2) \
	VBROADCASTSS a, t; \
	VFMADD231PS  Z0, t, c0; \
	VFMADD231PS  Z1, t, c1; \
	VFMADD231PS  Z2, t, c2
#define ROW2(a, t, c0, c1) \
	VBROADCASTSS a, t; \
	VFMADD231PS  Z0, t, c0; \
	VFMADD231PS  Z1, t, c1
#define ROW1(a, c0) \
	VFMADD231PS.BCST a, Z0, c0

#define PUT4(c0, c1, c2, c3) \
	VMOVUPS c0, (DI); \
	VMOVUPS c1, 64(DI); \
	VMOVUPS c2, 128(DI); \
	VMOVUPS c3, K1, 192(DI); \
	ADDQ    R8, DI
#define PUT3(c0, c1, c2) \
	VMOVUPS c0, (DI); \
	VMOVUPS c1, 64(DI); \
	VMOVUPS c2, K1, 128(DI); \
	ADDQ    R8, DI
#define PUT2(c0, c1) \
	VMOVUPS c0, (DI); \
	VMOVUPS c1, K1, 64(DI); \
	ADDQ    R8, DI
#define PUT1(c0) \
	VMOVUPS c0, K1, (DI); \
	ADDQ    R8, DI

#define ADD4(c0, c1, c2, c3) \
	VADDPS (AX), c0, c0; \
	VADDPS 64(AX), c1, c1; \
	VADDPS 128(AX), c2, c2; \
	VADDPS 192(AX), c3, K1, c3; \
	ADDQ   R8, AX
#define ADD3(c0, c1, c2) \
	VADDPS (AX), c0, c0; \
	VADDPS 64(AX), c1, c1; \
	VADDPS 128(AX), c2, K1, c2; \
	ADDQ   R8, AX
#define ADD2(c0, c1) \
	VADDPS (AX), c0, c0; \
	VADDPS 64(AX), c1, K1, c1; \
	ADDQ   R8, AX
#define ADD1(c0) \
	VADDPS (AX), c0, K1, c0; \
	ADDQ   R8, AX

// Falls through to add when the result is to be added to C, with AX = C.
#define ADDS(store) \
	MOVQ  DI, AX; \
	CMPQ  accumulate+72(FP), $0; \
	JEQ   store

// func tile4AVX512(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate, mask uint64)
TEXT ·tile4AVX512(SB), NOSPLIT, $0-88
	TILEARGS
	CMPQ R12, $4
	JLT  one

four:
	CLEAR4(Z8, Z9, Z10, Z11)
	CLEAR4(Z12, Z13, Z14, Z15)
	CLEAR4(Z16, Z17, Z18, Z19)
	CLEAR4(Z20, Z21, Z22, Z23)
	BEGIN

step4:
	B4
	ROW4((BX), Z4, Z8, Z9, Z10, Z11)
	ROW4((BX)(R9*1), Z5, Z12, Z13, Z14, Z15)
	ROW4((BX)(R9*2), Z6, Z16, Z17, Z18, Z19)
	ROW4((BX)(R13*1), Z7, Z20, Z21, Z22, Z23)
	NEXT(step4)
	ADDS(put4)
	ADD4(Z8, Z9, Z10, Z11)
	ADD4(Z12, Z13, Z14, Z15)
	ADD4(Z16, Z17, Z18, Z19)
	ADD4(Z20, Z21, Z22, Z23)

put4:
	PUT4(Z8, Z9, Z10, Z11)
	PUT4(Z12, Z13, Z14, Z15)
	PUT4(Z16, Z17, Z18, Z19)
	PUT4(Z20, Z21, Z22, Z23)
	LEAQ (SI)(R9*4), SI
	SUBQ $4, R12
	CMPQ R12, $4
	JGE  four

one:
	TESTQ R12, R12
	JEQ   end
	CLEAR4(Z8, Z9, Z10, Z11)
	BEGIN

step1:
	B4
	ROW4((BX), Z4, Z8, Z9, Z10, Z11)
	NEXT(step1)
	ADDS(put1)
	ADD4(Z8, Z9, Z10, Z11)

put1:
	PUT4(Z8, Z9, Z10, Z11)
	ADDQ R9, SI
	DECQ R12
	JMP  one

end:
	VZEROUPPER
	RET

// func tile3AVX512(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate, mask uint64)
TEXT ·tile3AVX512(SB), NOSPLIT, $0-88
	TILEARGS
	CMPQ R12, $4
	JLT  one

four:
	CLEAR4(Z8, Z9, Z10, Z11)
	CLEAR4(Z12, Z13, Z14, Z15)
	CLEAR4(Z16, Z17, Z18, Z19)
	BEGIN

step4:
	B3
	ROW3((BX), Z4, Z8, Z9, Z10)
	ROW3((BX)(R9*1), Z5, Z11, Z12, Z13)
	ROW3((BX)(R9*2), Z6, Z14, Z15, Z16)
	ROW3((BX)(R13*1), Z7, Z17, Z18, Z19)
	NEXT(step4)
	ADDS(put4)
	ADD3(Z8, Z9, Z10)
	ADD3(Z11, Z12, Z13)
	ADD3(Z14, Z15, Z16)
	ADD3(Z17, Z18, Z19)

put4:
	PUT3(Z8, Z9, Z10)
	PUT3(Z11, Z12, Z13)
	PUT3(Z14, Z15, Z16)
	PUT3(Z17, Z18, Z19)
	LEAQ (SI)(R9*4), SI
	SUBQ $4, R12
	CMPQ R12, $4
	JGE  four

one:
	TESTQ R12, R12
	JEQ   end
	CLEAR4(Z8, Z9, Z10, Z11)
	BEGIN

step1:
	B3
	ROW3((BX), Z4, Z8, Z9, Z10)
	NEXT(step1)
	ADDS(put1)
	ADD3(Z8, Z9, Z10)

put1:
	PUT3(Z8, Z9, Z10)
	ADDQ R9, SI
	DECQ R12
	JMP  one

end:
	VZEROUPPER
	RET

// func tile2AVX512(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate, mask uint64)
TEXT ·tile2AVX512(SB), NOSPLIT, $0-88
	TILEARGS
	CMPQ R12, $8
	JLT  one

eight:
	CLEAR4(Z8, Z9, Z10, Z11)
	CLEAR4(Z12, Z13, Z14, Z15)
	CLEAR4(Z16, Z17, Z18, Z19)
	CLEAR4(Z20, Z21, Z22, Z23)
	BEGIN
	LEAQ (BX)(R9*4), R15

step8:
	B2
	ROW2((BX), Z2, Z8, Z9)
	ROW2((BX)(R9*1), Z3, Z10, Z11)
	ROW2((BX)(R9*2), Z4, Z12, Z13)
	ROW2((BX)(R13*1), Z5, Z14, Z15)
	ROW2((R15), Z2, Z16, Z17)
	ROW2((R15)(R9*1), Z3, Z18, Z19)
	ROW2((R15)(R9*2), Z4, Z20, Z21)
	ROW2((R15)(R13*1), Z5, Z22, Z23)
	ADDQ R10, R15
	NEXT(step8)
	ADDS(put8)
	ADD2(Z8, Z9)
	ADD2(Z10, Z11)
	ADD2(Z12, Z13)
	ADD2(Z14, Z15)
	ADD2(Z16, Z17)
	ADD2(Z18, Z19)
	ADD2(Z20, Z21)
	ADD2(Z22, Z23)

put8:
	PUT2(Z8, Z9)
	PUT2(Z10, Z11)
	PUT2(Z12, Z13)
	PUT2(Z14, Z15)
	PUT2(Z16, Z17)
	PUT2(Z18, Z19)
	PUT2(Z20, Z21)
	PUT2(Z22, Z23)
	LEAQ (SI)(R9*8), SI
	SUBQ $8, R12
	CMPQ R12, $8
	JGE  eight

one:
	TESTQ R12, R12
	JEQ   end
	CLEAR4(Z8, Z9, Z10, Z11)
	BEGIN

step1:
	B2
	ROW2((BX), Z4, Z8, Z9)
	NEXT(step1)
	ADDS(put1)
	ADD2(Z8, Z9)

put1:
	PUT2(Z8, Z9)
	ADDQ R9, SI
	DECQ R12
	JMP  one

end:
	VZEROUPPER
	RET

// func tile1AVX512(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate, mask uint64)
TEXT ·tile1AVX512(SB), NOSPLIT, $0-88
	TILEARGS
	CMPQ R12, $8
	JLT  one

eight:
	CLEAR4(Z8, Z9, Z10, Z11)
	CLEAR4(Z12, Z13, Z14, Z15)
	BEGIN
	LEAQ (BX)(R9*4), R15

step8:
	B1
	ROW1((BX), Z8)
	ROW1((BX)(R9*1), Z9)
	ROW1((BX)(R9*2), Z10)
	ROW1((BX)(R13*1), Z11)
	ROW1((R15), Z12)
	ROW1((R15)(R9*1), Z13)
	ROW1((R15)(R9*2), Z14)
	ROW1((R15)(R13*1), Z15)
	ADDQ R10, R15
	NEXT(step8)
	ADDS(put8)
	ADD1(Z8)
	ADD1(Z9)
	ADD1(Z10)
	ADD1(Z11)
	ADD1(Z12)
	ADD1(Z13)
	ADD1(Z14)
	ADD1(Z15)

put8:
	PUT1(Z8)
	PUT1(Z9)
	PUT1(Z10)
	PUT1(Z11)
	PUT1(Z12)
	PUT1(Z13)
	PUT1(Z14)
	PUT1(Z15)
	LEAQ (SI)(R9*8), SI
	SUBQ $8, R12
	CMPQ R12, $8
	JGE  eight

one:
	TESTQ R12, R12
	JEQ   end
	VPXORQ Z8, Z8, Z8
	BEGIN

step1:
	B1
	ROW1((BX), Z8)
	NEXT(step1)
	ADDS(put1)
	ADD1(Z8)

put1:
	PUT1(Z8)
	ADDQ R9, SI
	DECQ R12
	JMP  one

end:
	VZEROUPPER
	RET
