#include "textflag.h"

// The FMA loops of MeasurePeak: ten independent sums, which covers the latency of the two units. The values are zeros: they stay
// clear of denormals.

#define STEP(x, y, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9) \
	VFMADD231PS x, y, s0 \
	VFMADD231PS x, y, s1 \
	VFMADD231PS x, y, s2 \
	VFMADD231PS x, y, s3 \
	VFMADD231PS x, y, s4 \
	VFMADD231PS x, y, s5 \
	VFMADD231PS x, y, s6 \
	VFMADD231PS x, y, s7 \
	VFMADD231PS x, y, s8 \
	VFMADD231PS x, y, s9

#define ZERO(x) VXORPS x, x, x

// func fmaLoop512(steps int)
TEXT ·fmaLoop512(SB), NOSPLIT, $0-8
	MOVQ steps+0(FP), CX
	ZERO(Y0)
	ZERO(Y1)
	ZERO(Y2)
	ZERO(Y3)
	ZERO(Y4)
	ZERO(Y5)
	ZERO(Y6)
	ZERO(Y7)
	ZERO(Y8)
	ZERO(Y9)
	ZERO(Y10)
	ZERO(Y11)

loop:
	STEP(Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11)
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func fmaLoop256(steps int)
TEXT ·fmaLoop256(SB), NOSPLIT, $0-8
	MOVQ steps+0(FP), CX
	ZERO(Y0)
	ZERO(Y1)
	ZERO(Y2)
	ZERO(Y3)
	ZERO(Y4)
	ZERO(Y5)
	ZERO(Y6)
	ZERO(Y7)
	ZERO(Y8)
	ZERO(Y9)
	ZERO(Y10)
	ZERO(Y11)

loop:
	STEP(Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11)
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
