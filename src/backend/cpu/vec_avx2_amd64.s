#include "textflag.h"
#include "simd_avx2_amd64.h"
#include "simd_loops_amd64.h"

// The vector loops for AVX2: this file loads the arguments, simd_loops_amd64.h has the loops. vec_avx512_amd64.s is the same
// for the other instruction set.

// func axpyAVX2(y, x []float32, a float32)
TEXT ·axpyAVX2(SB), NOSPLIT, $0-52
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	VBROADCASTSS a+48(FP), V8
	XORQ AX, AX
	LOOP(AXPY, loop, tail, done)
	VZEROUPPER
	RET

// func addRowsAVX2(out, x []float32, ld, rows int)
TEXT ·addRowsAVX2(SB), NOSPLIT, $0-64
	MOVQ out_base+0(FP), DI
	MOVQ x_base+24(FP), SI
	MOVQ ld+48(FP), R9
	SHLQ $2, R9
	MOVQ rows+56(FP), R10

row:
	MOVQ out_len+8(FP), CX
	XORQ AX, AX
	LOOP(ADD, loop, tail, done)
	ADDQ R9, SI
	DECQ R10
	JNZ  row
	VZEROUPPER
	RET

// func scaleAVX2(x []float32, a float32)
TEXT ·scaleAVX2(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), DI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS a+24(FP), V8
	XORQ AX, AX
	LOOP(SCALE, loop, tail, done)
	VZEROUPPER
	RET

// func mulAVX2(x, v []float32)
TEXT ·mulAVX2(SB), NOSPLIT, $0-48
	MOVQ x_base+0(FP), DI
	MOVQ x_len+8(FP), CX
	MOVQ v_base+24(FP), SI
	XORQ AX, AX
	LOOP(MUL, loop, tail, done)
	VZEROUPPER
	RET

// func addScaledAVX2(y, x, d []float32, a float32)
TEXT ·addScaledAVX2(SB), NOSPLIT, $0-76
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	MOVQ d_base+48(FP), DX
	VBROADCASTSS a+72(FP), V8
	XORQ AX, AX
	LOOP(ADDSCALED, loop, tail, done)
	VZEROUPPER
	RET

// func sumAVX2(x []float32) float32
TEXT ·sumAVX2(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	XORQ AX, AX
	REDUCE(SUM)
	FOLD0(VADDPS)
	VMOVSS X0, ret+24(FP)
	VZEROUPPER
	RET

// func sumSquaredDeviationsAVX2(x []float32, mu float32) float32
TEXT ·sumSquaredDeviationsAVX2(SB), NOSPLIT, $0-36
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS mu+24(FP), V8
	XORQ AX, AX
	REDUCE(SQUAREDDEVIATIONS)
	FOLD0(VADDPS)
	VMOVSS X0, ret+32(FP)
	VZEROUPPER
	RET

// func sumSquaresAVX2(x []float32) float64
TEXT ·sumSquaresAVX2(SB), NOSPLIT, $0-32
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	ZERO(V4)
	ZERO(V5)
	XORQ AX, AX
	LOOP(SQUARES, loop, tail, done)
	VADDPD V5, V4, V0
	FOLD64
	VMOVSD X0, ret+24(FP)
	VZEROUPPER
	RET

// func normApplyAVX2(y, x, g, b []float32, mu, a, m float32)
TEXT ·normApplyAVX2(SB), NOSPLIT, $0-108
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	MOVQ g_base+48(FP), DX
	MOVQ b_base+72(FP), BX
	MOVQ b_len+80(FP), R9
	VBROADCASTSS mu+96(FP), V8
	VBROADCASTSS a+100(FP), V9
	VBROADCASTSS m+104(FP), V10
	XORQ AX, AX
	TESTQ R9, R9
	JNE  loop
	LOOP(NORM, plain, plaintail, plaindone)
	VZEROUPPER
	RET
	LOOP(NORMBIAS, loop, tail, done)
	VZEROUPPER
	RET

// func normSumsAVX2(x, dy, g []float32, mu float32) (h, hx float32)
TEXT ·normSumsAVX2(SB), NOSPLIT, $0-88
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	MOVQ dy_base+24(FP), DX
	MOVQ g_base+48(FP), BX
	VBROADCASTSS mu+72(FP), V8
	ZERO(V4)
	ZERO(V5)
	XORQ AX, AX
	LOOP(NORMSUMS, loop, tail, done)
	VMOVAPS V4, V0
	VMOVAPS V5, V2
	FOLD0(VADDPS)
	FOLD2(VADDPS)
	VMOVSS X0, h+80(FP)
	VMOVSS X2, hx+84(FP)
	VZEROUPPER
	RET

// func normGradAVX2(dx, res, x, dy, g, dg, db []float32, c normConstants)
TEXT ·normGradAVX2(SB), NOSPLIT, $0-188
	MOVQ dx_base+0(FP), DI
	MOVQ dx_len+8(FP), CX
	MOVQ res_base+24(FP), R8
	MOVQ res_len+32(FP), R11
	MOVQ x_base+48(FP), SI
	MOVQ dy_base+72(FP), DX
	MOVQ g_base+96(FP), BX
	MOVQ dg_base+120(FP), R9
	MOVQ db_base+144(FP), R10
	VBROADCASTSS c_mu+168(FP), V8
	VBROADCASTSS c_r+172(FP), V9
	VBROADCASTSS c_m+176(FP), V10
	VBROADCASTSS c_a+180(FP), V11
	VBROADCASTSS c_b+184(FP), V12
	VMULPS V10, V9, V13
	XORQ AX, AX
	TESTQ R11, R11
	JNE  loop
	LOOP(NORMGRAD, plain, plaintail, plaindone)
	VZEROUPPER
	RET
	LOOP(NORMGRADADD, loop, tail, done)
	VZEROUPPER
	RET

// func rotaryAVX2(x, cos, sin []float32, heads int, sign float32)
TEXT ·rotaryAVX2(SB), NOSPLIT, $0-84
	MOVQ x_base+0(FP), DI
	MOVQ cos_base+24(FP), SI
	MOVQ cos_len+32(FP), R9
	MOVQ sin_base+48(FP), DX
	MOVQ heads+72(FP), R10
	VBROADCASTSS sign+80(FP), V8

head:
	LEAQ (DI)(R9*4), BX
	MOVQ R9, CX
	XORQ AX, AX
	LOOP(ROTATE, loop, tail, done)
	LEAQ (BX)(R9*4), DI
	DECQ R10
	JNZ  head
	VZEROUPPER
	RET

// func swigluAVX2(y, g, u []float32)
TEXT ·swigluAVX2(SB), NOSPLIT, $0-72
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ g_base+24(FP), SI
	MOVQ u_base+48(FP), DX
	XORQ AX, AX
	LOOP(SWIGLU, loop, tail, done)
	VZEROUPPER
	RET

// func swigluGradAVX2(dg, du, dy, g, u []float32)
TEXT ·swigluGradAVX2(SB), NOSPLIT, $0-120
	MOVQ dg_base+0(FP), DI
	MOVQ dg_len+8(FP), CX
	MOVQ du_base+24(FP), R9
	MOVQ dy_base+48(FP), BX
	MOVQ g_base+72(FP), SI
	MOVQ u_base+96(FP), DX
	XORQ AX, AX
	LOOP(SWIGLUGRAD, loop, tail, done)
	VZEROUPPER
	RET

// func maxAVX2(x []float32) float32
TEXT ·maxAVX2(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VMOVUPS neginf<>(SB), V8
	VMOVAPS V8, V2
	VMOVAPS V8, V3
	VMOVAPS V8, V4
	VMOVAPS V8, V5
	XORQ AX, AX
	REDUCEMAX
	FOLD2(VMAXPS)
	VMOVSS X2, ret+24(FP)
	VZEROUPPER
	RET

// func sumExpAVX2(x []float32, shift float32) float32
TEXT ·sumExpAVX2(SB), NOSPLIT, $0-36
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS shift+24(FP), V8
	ZERO(V5)
	XORQ AX, AX
	LOOP(SUMEXP, loop, tail, done)
	VMOVAPS V5, V0
	FOLD0(VADDPS)
	VMOVSS X0, ret+32(FP)
	VZEROUPPER
	RET

// func expSumAVX2(x []float32, shift float32) float32
TEXT ·expSumAVX2(SB), NOSPLIT, $0-36
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS shift+24(FP), V8
	ZERO(V5)
	XORQ AX, AX
	LOOP(EXPSUM, loop, tail, done)
	VMOVAPS V5, V0
	FOLD0(VADDPS)
	VMOVSS X0, ret+32(FP)
	VZEROUPPER
	RET

// func adamwAVX2(w, g, m, v []float32, c adamConstants)
TEXT ·adamwAVX2(SB), NOSPLIT, $0-132
	MOVQ w_base+0(FP), DI
	MOVQ w_len+8(FP), CX
	MOVQ g_base+24(FP), SI
	MOVQ m_base+48(FP), DX
	MOVQ v_base+72(FP), BX
	VBROADCASTSS c_gradScale+96(FP), V8
	VBROADCASTSS c_beta1+100(FP), V9
	VBROADCASTSS c_beta2+104(FP), V10
	VBROADCASTSS c_oneMinusBeta1+108(FP), V11
	VBROADCASTSS c_oneMinusBeta2+112(FP), V12
	VBROADCASTSS c_decay+116(FP), V13
	VBROADCASTSS c_step+120(FP), V14
	VBROADCASTSS c_rootCorrection+124(FP), V5
	VBROADCASTSS c_eps+128(FP), V6
	XORQ AX, AX
	LOOP(ADAMW, loop, tail, done)
	VZEROUPPER
	RET
