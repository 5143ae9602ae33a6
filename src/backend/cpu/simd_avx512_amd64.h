// Vectors of 16 floats for the loops in simd_loops_amd64.h. AX is the byte index into all arrays, CX the number of
// elements left; K1 masks the lanes of the last, incomplete vector. R13 is scratch.

#define VB 64
#define VN 16
#define V0 Z0
#define V1 Z1
#define V2 Z2
#define V3 Z3
#define V4 Z4
#define V5 Z5
#define V6 Z6
#define V7 Z7
#define V8 Z8
#define V9 Z9
#define V10 Z10
#define V11 Z11
#define V12 Z12
#define V13 Z13
#define V14 Z14

#define ZERO(r) VPXORQ r, r, r

// Whole vectors, and the lanes of the tail: loads leave 0 in the others.
#define LD(o, b, r) VMOVUPS (o)(b)(AX*1), r
#define ST(r, o, b) VMOVUPS r, (o)(b)(AX*1)
#define LDT(o, b, r) VMOVUPS.Z (o)(b)(AX*1), K1, r
#define STT(r, o, b) VMOVUPS r, K1, (o)(b)(AX*1)
#define TAILMASK \
	MOVL  $-1, R13; \
	SHLL  CX, R13; \
	NOTL  R13; \
	KMOVW R13, K1
// The lanes that hold elements stay, the others become 0 or f.
#define ALL(r)
#define SOME(r) VMOVAPS.Z r, K1, r
#define ALLOR(r, f)
#define SOMEOR(r, f) VBLENDMPS r, f, K1, r

// R8 = number of lanes to hide at the front: the others stay.
#define ROWMASK \
	MOVL  R8, CX; \
	MOVL  $-1, R13; \
	SHLL  CX, R13; \
	KMOVW R13, K1

// Sums and the largest lane into X0; r1 is lost.
#define FOLD(op, r0, y0, x0, r1, y1, x1) \
	VEXTRACTF64X4 $1, r0, y1; \
	op            y1, y0, y0; \
	VEXTRACTF128  $1, y0, x1; \
	op            x1, x0, x0; \
	VPERMILPS     $0x4e, x0, x1; \
	op            x1, x0, x0; \
	VPERMILPS     $0xb1, x0, x1; \
	op            x1, x0, x0
#define FOLD0(op) FOLD(op, Z0, Y0, X0, Z1, Y1, X1)
#define FOLD2(op) FOLD(op, Z2, Y2, X2, Z1, Y1, X1)
#define FOLD64 \
	VEXTRACTF64X4 $1, Z0, Y1; \
	VADDPD        Y1, Y0, Y0; \
	VEXTRACTF128  $1, Y0, X1; \
	VADDPD        X1, X0, X0; \
	VPERMILPD     $1, X0, X1; \
	VADDSD        X1, X0, X0

// V1 and V2 = the two halves of V0 as fp64.
#define WIDEN \
	VEXTRACTF64X4 $1, Z0, Y2; \
	VCVTPS2PD     Y0, Z1; \
	VCVTPS2PD     Y2, Z2

#define ROUND(x, r) VRNDSCALEPS $8, x, r
// x = p 2^n; n whole.
#define LDEXP(x, n, p) VSCALEFPS n, p, x
