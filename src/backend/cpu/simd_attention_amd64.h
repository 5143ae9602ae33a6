// The softmax of attention tiles, and work on their rows, for both vector widths; see simd_loops_amd64.h.

CONST(halfroot, 0x3f3504f33f3504f3) // sqrt(1/2)
CONST(ln2, 0x3f3172183f317218)
CONST(two, 0x4000000040000000)
CONST(third, 0x3eaaaaab3eaaaaab)    // 1/3
CONST(fifth, 0x3e4ccccd3e4ccccd)    // 1/5
CONST(seventh, 0x3e1249253e124925)  // 1/7
CONST(ninth, 0x3de38e393de38e39)    // 1/9

// lse(DI) = max(SI) + log(sum(DX)), factor(BX) = V8 / sum. log(2^e (1+f)) = e ln 2 + 2 atanh(f / (2+f)), with 1+f between
// sqrt(1/2) and sqrt(2); sums are at least 1 (or NaN, which factor keeps).
#define LOGSUM(L, S, KEEP) \
	L(0, DX, V0); \
	VDIVPS      V0, V8, V1; \
	S(V1, 0, BX); \
	VPSUBD      halfroot<>(SB), V0, V1; \
	VPSRAD      $23, V1, V1; \
	VPSLLD      $23, V1, V2; \
	VPSUBD      V2, V0, V0; \
	VCVTDQ2PS   V1, V1; \
	VSUBPS      one<>(SB), V0, V0; \
	VADDPS      two<>(SB), V0, V2; \
	VDIVPS      V2, V0, V0; \
	VMULPS      V0, V0, V2; \
	VMOVUPS     ninth<>(SB), V3; \
	VFMADD213PS seventh<>(SB), V2, V3; \
	VFMADD213PS fifth<>(SB), V2, V3; \
	VFMADD213PS third<>(SB), V2, V3; \
	VFMADD213PS one<>(SB), V2, V3; \
	VADDPS      V0, V0, V0; \
	VMULPS      V3, V0, V0; \
	VFMADD231PS ln2<>(SB), V1, V0; \
	L(0, SI, V1); \
	VADDPS      V1, V0, V0; \
	S(V0, 0, DI)

#define TIMES(L, S, KEEP) \
	L(0, SI, V0); \
	VMULPS V8, V0, V0; \
	S(V0, 0, DI)

#define DOTROW(L, S, KEEP) \
	L(0, SI, V0); \
	L(0, DX, V1); \
	VFMADD231PS V1, V0, V5

// dst(DI)[i] = v(DX)[i] src(SI)[i] for R11 rows of R12 elements, R9 and R10 elements apart.
#define SCALEROWS \
	SHLQ $2, R9; \
	SHLQ $2, R10; \
	row: VBROADCASTSS (DX), V8; \
	MOVQ R12, CX; \
	XORQ AX, AX; \
	LOOP(TIMES, loop, tail, done) \
	ADDQ R9, DI; \
	ADDQ R10, SI; \
	ADDQ $4, DX; \
	DECQ R11; \
	JNZ  row

// out(DI)[i] = sum x(SI)[i] y(DX)[i] for R11 rows of R12 elements, R9 and R10 elements apart.
#define ROWDOTS \
	SHLQ $2, R9; \
	SHLQ $2, R10; \
	row: ZERO(V5); \
	MOVQ   R12, CX; \
	XORQ   AX, AX; \
	LOOP(DOTROW, loop, tail, done) \
	VMOVAPS V5, V0; \
	FOLD0(VADDPS); \
	VMOVSS X0, (DI); \
	ADDQ   R9, SI; \
	ADDQ   R10, DX; \
	ADDQ   $4, DI; \
	DECQ   R11; \
	JNZ    row

// R8 = lanes that do not see key BX: the first hidden key of lane 0 is R10.
#define HIDDEN \
	MOVQ BX, R8; \
	SUBQ R10, R8; \
	INCQ R8; \
	ROWMASK

// One column of VN queries of a tile of scores: SI, rows R9 elements apart. Rows below R10 are visible to all lanes, rows
// below R11 to some, rows below R12 to none. DX, R15, AX = max, sum, rescale of the queries.
#define SOFTMAXCOLUMN \
	SHLQ    $2, R9; \
	VMOVUPS neginf<>(SB), V8; \
	VMOVUPS (DX), V10; \
	VMOVAPS V10, V9; \
	VMOVAPS V8, V11; \
	VMOVAPS V8, V12; \
	VMOVAPS V8, V13; \
	MOVQ    SI, DI; \
	LEAQ    (R9)(R9*2), R13; \
	XORQ    BX, BX; \
	max4: LEAQ 4(BX), CX; \
	CMPQ    CX, R10; \
	JGT     max1; \
	VMAXPS  (DI), V9, V9; \
	VMAXPS  (DI)(R9*1), V11, V11; \
	VMAXPS  (DI)(R9*2), V12, V12; \
	VMAXPS  (DI)(R13*1), V13, V13; \
	LEAQ    (DI)(R9*4), DI; \
	MOVQ    CX, BX; \
	JMP     max4; \
	max1: CMPQ BX, R10; \
	JGE     maxsome; \
	VMAXPS  (DI), V9, V9; \
	ADDQ    R9, DI; \
	INCQ    BX; \
	JMP     max1; \
	maxsome: CMPQ BX, R11; \
	JGE     maxdone; \
	HIDDEN; \
	VMOVUPS (DI), V0; \
	SOMEOR(V0, V8); \
	VMAXPS  V0, V11, V11; \
	ADDQ    R9, DI; \
	INCQ    BX; \
	JMP     maxsome; \
	maxdone: VMAXPS V11, V9, V9; \
	VMAXPS  V13, V12, V12; \
	VMAXPS  V12, V9, V9; \
	VMOVUPS V9, (DX); \
	VSUBPS  V9, V10, V0; \
	EXP(V0, V1, V2); \
	VMOVUPS V0, (AX); \
	VMULPS  (R15), V0, V5; \
	MOVQ    SI, DI; \
	XORQ    BX, BX; \
	exps: CMPQ BX, R10; \
	JGE     expsome; \
	VMOVUPS (DI), V0; \
	VSUBPS  V9, V0, V0; \
	EXP(V0, V1, V2); \
	VMOVUPS V0, (DI); \
	VADDPS  V0, V5, V5; \
	ADDQ    R9, DI; \
	INCQ    BX; \
	JMP     exps; \
	expsome: CMPQ BX, R11; \
	JGE     zeros; \
	HIDDEN; \
	VMOVUPS (DI), V0; \
	VSUBPS  V9, V0, V0; \
	EXP(V0, V1, V2); \
	SOME(V0); \
	VMOVUPS V0, (DI); \
	VADDPS  V0, V5, V5; \
	ADDQ    R9, DI; \
	INCQ    BX; \
	JMP     expsome; \
	zeros: ZERO(V0); \
	zero: CMPQ BX, R12; \
	JGE     end; \
	VMOVUPS V0, (DI); \
	ADDQ    R9, DI; \
	INCQ    BX; \
	JMP     zero; \
	end: VMOVUPS V5, (R15)

// The same for the gradient: scores SI and dP DI, DX = lse, AX = delta, V10 = scale.
#define SOFTMAXGRADCOLUMN \
	SHLQ    $2, R9; \
	VMOVUPS (DX), V8; \
	VMOVUPS (AX), V9; \
	XORQ    BX, BX; \
	rows: CMPQ BX, R10; \
	JGE     some; \
	SOFTMAXGRADROW; \
	VMOVUPS V0, (SI); \
	VMOVUPS V3, (DI); \
	ADDQ    R9, SI; \
	ADDQ    R9, DI; \
	INCQ    BX; \
	JMP     rows; \
	some: CMPQ BX, R11; \
	JGE     zeros; \
	HIDDEN; \
	SOFTMAXGRADROW; \
	SOME(V0); \
	SOME(V3); \
	VMOVUPS V0, (SI); \
	VMOVUPS V3, (DI); \
	ADDQ    R9, SI; \
	ADDQ    R9, DI; \
	INCQ    BX; \
	JMP     some; \
	zeros: ZERO(V0); \
	zero: CMPQ BX, R12; \
	JGE     end; \
	VMOVUPS V0, (SI); \
	VMOVUPS V0, (DI); \
	ADDQ    R9, SI; \
	ADDQ    R9, DI; \
	INCQ    BX; \
	JMP     zero; \
	end:

// V0 = exp(s - lse), V3 = scale V0 (dP - delta)
#define SOFTMAXGRADROW \
	VMOVUPS (SI), V0; \
	VSUBPS  V8, V0, V0; \
	EXP(V0, V1, V2); \
	VMOVUPS (DI), V3; \
	VSUBPS  V9, V3, V3; \
	VMULPS  V0, V3, V3; \
	VMULPS  V10, V3, V3
