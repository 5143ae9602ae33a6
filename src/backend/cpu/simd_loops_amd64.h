// The inner loops of the fused operations, once for AVX-512 and AVX2: a file that includes simd_avx512_amd64.h or
// simd_avx2_amd64.h before this one gets them in vectors of VN floats. Every array is addressed as base + AX, so that one
// index serves all; the TEXT that uses a loop loads the bases (DI, SI, DX, BX, R8-R12), CX = number of elements and the
// scalars, sets AX to 0 and ends with VZEROUPPER.
//
// BODY(L, S, KEEP) is one vector: L loads, S stores, KEEP(r) zeroes the lanes of r beyond the end; in the tail these are
// the masked forms.

#define CONST(name, v) \
	DATA name<>+0(SB)/8, $v; \
	DATA name<>+8(SB)/8, $v; \
	DATA name<>+16(SB)/8, $v; \
	DATA name<>+24(SB)/8, $v; \
	DATA name<>+32(SB)/8, $v; \
	DATA name<>+40(SB)/8, $v; \
	DATA name<>+48(SB)/8, $v; \
	DATA name<>+56(SB)/8, $v; \
	GLOBL name<>(SB), RODATA|NOPTR, $64

CONST(one, 0x3f8000003f800000)
CONST(neginf, 0xff800000ff800000)
CONST(signbit, 0x8000000080000000)
CONST(bias, 0x0000007f0000007f)

// exp(x) as in exp32: x = n ln 2 + r, ln 2 in two parts, and a polynomial in r.
CONST(explow, 0xc2d20000c2d20000)  // -105: 0 below
CONST(exphigh, 0x42b2000042b20000) // 89: infinite above
CONST(log2e, 0x3fb8aa3b3fb8aa3b)
CONST(ln2hi, 0x3f3172183f317218)
CONST(ln2lo, 0xb102e308b102e308)
CONST(exp2, 0x3efffffe3efffffe)
CONST(exp3, 0x3e2aaa493e2aaa49)
CONST(exp4, 0x3d2aac793d2aac79)
CONST(exp5, 0x3c091cf23c091cf2)
CONST(exp6, 0x3ab512163ab51216)

// x = exp(x); n and p are lost. The bounds are taken so that NaN stays.
#define EXP(x, n, p) \
	VMOVUPS      explow<>(SB), p; \
	VMAXPS       x, p, x; \
	VMOVUPS      exphigh<>(SB), p; \
	VMINPS       x, p, x; \
	VMULPS       log2e<>(SB), x, n; \
	ROUND(n, n); \
	VFNMADD231PS ln2hi<>(SB), n, x; \
	VFNMADD231PS ln2lo<>(SB), n, x; \
	VMOVUPS      exp6<>(SB), p; \
	VFMADD213PS  exp5<>(SB), x, p; \
	VFMADD213PS  exp4<>(SB), x, p; \
	VFMADD213PS  exp3<>(SB), x, p; \
	VFMADD213PS  exp2<>(SB), x, p; \
	VFMADD213PS  one<>(SB), x, p; \
	VFMADD213PS  one<>(SB), x, p; \
	LDEXP(x, n, p)

#define LOOP(BODY, loop, tail, done) \
	loop: CMPQ CX, $VN; \
	JLT   tail; \
	BODY(LD, ST, ALL); \
	ADDQ  $VB, AX; \
	SUBQ  $VN, CX; \
	JMP   loop; \
	tail: TESTQ CX, CX; \
	JEQ   done; \
	TAILMASK; \
	BODY(LDT, STT, SOME); \
	done:

// REDUCE keeps four vectors of partial sums, V4-V7, so that additions do not wait for each other, and leaves their sum in
// V0. BODY(L, KEEP, o, acc) adds the vector at byte offset o.
#define REDUCE(BODY) \
	ZERO(V4); \
	ZERO(V5); \
	ZERO(V6); \
	ZERO(V7); \
	four: CMPQ CX, $(4*VN); \
	JLT    single; \
	BODY(LD, ALL, 0, V4); \
	BODY(LD, ALL, VB, V5); \
	BODY(LD, ALL, 2*VB, V6); \
	BODY(LD, ALL, 3*VB, V7); \
	ADDQ   $(4*VB), AX; \
	SUBQ   $(4*VN), CX; \
	JMP    four; \
	single: CMPQ CX, $VN; \
	JLT    tail; \
	BODY(LD, ALL, 0, V4); \
	ADDQ   $VB, AX; \
	SUBQ   $VN, CX; \
	JMP    single; \
	tail: TESTQ CX, CX; \
	JEQ    done; \
	TAILMASK; \
	BODY(LDT, SOME, 0, V4); \
	done: VADDPS V5, V4, V4; \
	VADDPS V7, V6, V6; \
	VADDPS V6, V4, V0

// y(DI) += V8 x(SI)
#define AXPY(L, S, KEEP) \
	L(0, SI, V1); \
	L(0, DI, V0); \
	VFMADD231PS V1, V8, V0; \
	S(V0, 0, DI)

// y(DI) += x(SI)
#define ADD(L, S, KEEP) \
	L(0, SI, V1); \
	L(0, DI, V0); \
	VADDPS V1, V0, V0; \
	S(V0, 0, DI)

// x(DI) *= V8
#define SCALE(L, S, KEEP) \
	L(0, DI, V0); \
	VMULPS V8, V0, V0; \
	S(V0, 0, DI)

// x(DI) *= v(SI)
#define MUL(L, S, KEEP) \
	L(0, SI, V1); \
	L(0, DI, V0); \
	VMULPS V1, V0, V0; \
	S(V0, 0, DI)

// y(DI) = x(SI) + V8 d(DX)
#define ADDSCALED(L, S, KEEP) \
	L(0, SI, V0); \
	L(0, DX, V1); \
	VFMADD231PS V1, V8, V0; \
	S(V0, 0, DI)

#define SUM(L, KEEP, o, acc) \
	L(o, SI, V0); \
	VADDPS V0, acc, acc

// sum (x(SI) - V8)^2
#define SQUAREDDEVIATIONS(L, KEEP, o, acc) \
	L(o, SI, V0); \
	VSUBPS V8, V0, V0; \
	KEEP(V0); \
	VFMADD231PS V0, V0, acc

// V4, V5 += x(SI)^2 in fp64
#define SQUARES(L, S, KEEP) \
	L(0, SI, V0); \
	WIDEN; \
	VFMADD231PD V1, V1, V4; \
	VFMADD231PD V2, V2, V5

// y(DI) = V9 (x(SI) - V8) g(DX)
#define NORM(L, S, KEEP) \
	L(0, SI, V0); \
	VSUBPS V8, V0, V0; \
	VMULPS V9, V0, V0; \
	L(0, DX, V1); \
	VMULPS V1, V0, V0; \
	S(V0, 0, DI)

// and + V10 b(BX)
#define NORMBIAS(L, S, KEEP) \
	L(0, SI, V0); \
	VSUBPS V8, V0, V0; \
	VMULPS V9, V0, V0; \
	L(0, DX, V1); \
	VMULPS V1, V0, V0; \
	L(0, BX, V1); \
	VFMADD231PS V10, V1, V0; \
	S(V0, 0, DI)

// V4 += g(BX) dy(DX), V5 += g dy (x(SI) - V8)
#define NORMSUMS(L, S, KEEP) \
	L(0, SI, V0); \
	VSUBPS V8, V0, V0; \
	L(0, DX, V1); \
	L(0, BX, V2); \
	VMULPS V2, V1, V1; \
	VADDPS V1, V4, V4; \
	VFMADD231PS V0, V1, V5

// The gradient of a norm: V8 = mu, V9 = r, V10 = m, V11 = a, V12 = b, V13 = m r.
// dg(R9) += m dy(DX) xh, db(R10) += m dy, V3 = m r (g(BX) dy - a - xh b) with xh = (x(SI) - mu) r
#define NORMGRADPART(L, S) \
	L(0, SI, V0); \
	VSUBPS V8, V0, V0; \
	VMULPS V9, V0, V0; \
	L(0, DX, V1); \
	VMULPS V10, V1, V2; \
	L(0, R9, V3); \
	VFMADD231PS V0, V2, V3; \
	S(V3, 0, R9); \
	L(0, R10, V3); \
	VADDPS V2, V3, V3; \
	S(V3, 0, R10); \
	L(0, BX, V3); \
	VMULPS V1, V3, V3; \
	VSUBPS V11, V3, V3; \
	VFNMADD231PS V0, V12, V3; \
	VMULPS V13, V3, V3

#define NORMGRAD(L, S, KEEP) \
	NORMGRADPART(L, S); \
	S(V3, 0, DI)

// and + res(R8)
#define NORMGRADADD(L, S, KEEP) \
	NORMGRADPART(L, S); \
	L(0, R8, V1); \
	VADDPS V1, V3, V3; \
	S(V3, 0, DI)

// x1(DI), x2(BX), cos(SI), sin(DX), V8 = sign
#define ROTATE(L, S, KEEP) \
	L(0, DI, V0); \
	L(0, BX, V1); \
	L(0, SI, V2); \
	L(0, DX, V3); \
	VMULPS V8, V3, V3; \
	VMULPS V2, V0, V4; \
	VFNMADD231PS V3, V1, V4; \
	VMULPS V2, V1, V5; \
	VFMADD231PS V3, V0, V5; \
	S(V4, 0, DI); \
	S(V5, 0, BX)

// V1 = z(SI), V0 = 1 / (1 + exp(-z))
#define SIGMOID(L) \
	L(0, SI, V1); \
	VXORPS signbit<>(SB), V1, V0; \
	EXP(V0, V2, V3); \
	VMOVUPS one<>(SB), V4; \
	VADDPS V4, V0, V0; \
	VDIVPS V0, V4, V0

// y(DI) = z(SI) sigmoid(z) u(DX)
#define SWIGLU(L, S, KEEP) \
	SIGMOID(L); \
	VMULPS V1, V0, V0; \
	L(0, DX, V2); \
	VMULPS V2, V0, V0; \
	S(V0, 0, DI)

// du(R9) = dy(BX) z s, dg(DI) = dy u(DX) s (1 + z (1 - s)), s = sigmoid(z)
#define SWIGLUGRAD(L, S, KEEP) \
	SIGMOID(L); \
	L(0, BX, V2); \
	L(0, DX, V3); \
	VMULPS V0, V2, V2; \
	VMULPS V1, V2, V5; \
	VMULPS V3, V2, V2; \
	VSUBPS V0, V4, V6; \
	VFMADD213PS V4, V1, V6; \
	VMULPS V6, V2, V2; \
	S(V2, 0, DI); \
	S(V5, 0, R9)

// V2 = max(V2..V5, x(SI)); a NaN in x is passed over. V8 = -Inf.
#define MAX(L, KEEPOR, o, acc) \
	L(o, SI, V0); \
	KEEPOR(V0, V8); \
	VMAXPS acc, V0, acc

#define REDUCEMAX \
	four: CMPQ CX, $(4*VN); \
	JLT    single; \
	MAX(LD, ALLOR, 0, V2); \
	MAX(LD, ALLOR, VB, V3); \
	MAX(LD, ALLOR, 2*VB, V4); \
	MAX(LD, ALLOR, 3*VB, V5); \
	ADDQ   $(4*VB), AX; \
	SUBQ   $(4*VN), CX; \
	JMP    four; \
	single: CMPQ CX, $VN; \
	JLT    tail; \
	MAX(LD, ALLOR, 0, V2); \
	ADDQ   $VB, AX; \
	SUBQ   $VN, CX; \
	JMP    single; \
	tail: TESTQ CX, CX; \
	JEQ    done; \
	TAILMASK; \
	MAX(LDT, SOMEOR, 0, V2); \
	done: VMAXPS V3, V2, V2; \
	VMAXPS V5, V4, V4; \
	VMAXPS V4, V2, V2

// V5 += exp(x(SI) - V8)
#define SUMEXP(L, S, KEEP) \
	L(0, SI, V0); \
	VSUBPS V8, V0, V0; \
	EXP(V0, V1, V2); \
	KEEP(V0); \
	VADDPS V0, V5, V5

// x(SI) = exp(x - V8), V5 += x
#define EXPSUM(L, S, KEEP) \
	L(0, SI, V0); \
	VSUBPS V8, V0, V0; \
	EXP(V0, V1, V2); \
	S(V0, 0, SI); \
	KEEP(V0); \
	VADDPS V0, V5, V5

// AdamW: w(DI), g(SI), m(DX), v(BX); V5 = root correction, V6 = eps, V8 = gradient scale, V9 = b1, V10 = b2, V11 = 1-b1,
// V12 = 1-b2, V13 = decay, V14 = step.
#define ADAMW(L, S, KEEP) \
	L(0, SI, V0); \
	VMULPS V8, V0, V0; \
	L(0, DX, V1); \
	VMULPS V9, V1, V1; \
	VFMADD231PS V0, V11, V1; \
	S(V1, 0, DX); \
	VMULPS V0, V0, V4; \
	L(0, BX, V2); \
	VMULPS V10, V2, V2; \
	VFMADD231PS V4, V12, V2; \
	S(V2, 0, BX); \
	VSQRTPS V2, V4; \
	VFMADD213PS V6, V5, V4; \
	VMULPS V14, V1, V0; \
	VDIVPS V4, V0, V0; \
	L(0, DI, V3); \
	VMULPS V13, V3, V3; \
	VSUBPS V0, V3, V3; \
	S(V3, 0, DI)
