// Vectors of 8 floats for the loops in simd_loops_amd64.h. AX is the byte index into all arrays, CX the number of
// elements left; Y15 masks the lanes of the last, incomplete vector. R13 is scratch.

#define VB 32
#define VN 8
#define V0 Y0
#define V1 Y1
#define V2 Y2
#define V3 Y3
#define V4 Y4
#define V5 Y5
#define V6 Y6
#define V7 Y7
#define V8 Y8
#define V9 Y9
#define V10 Y10
#define V11 Y11
#define V12 Y12
#define V13 Y13
#define V14 Y14

// Eight lanes of ones, eight of zeros, eight of ones: a window into it is a mask.
DATA lanes<>+0(SB)/8, $-1
DATA lanes<>+8(SB)/8, $-1
DATA lanes<>+16(SB)/8, $-1
DATA lanes<>+24(SB)/8, $-1
DATA lanes<>+32(SB)/8, $0
DATA lanes<>+40(SB)/8, $0
DATA lanes<>+48(SB)/8, $0
DATA lanes<>+56(SB)/8, $0
DATA lanes<>+64(SB)/8, $-1
DATA lanes<>+72(SB)/8, $-1
DATA lanes<>+80(SB)/8, $-1
DATA lanes<>+88(SB)/8, $-1
GLOBL lanes<>(SB), RODATA|NOPTR, $96

#define ZERO(r) VXORPS r, r, r

// Whole vectors, and the lanes of the tail: loads leave 0 in the others.
#define LD(o, b, r) VMOVUPS (o)(b)(AX*1), r
#define ST(r, o, b) VMOVUPS r, (o)(b)(AX*1)
#define LDT(o, b, r) VMASKMOVPS (o)(b)(AX*1), Y15, r
#define STT(r, o, b) VMASKMOVPS r, Y15, (o)(b)(AX*1)
#define TAILMASK \
	LEAQ    lanes<>+32(SB), R13; \
	SHLQ    $2, CX; \
	SUBQ    CX, R13; \
	VMOVUPS (R13), Y15
// The lanes that hold elements stay, the others become 0 or f.
#define ALL(r)
#define SOME(r) VANDPS Y15, r, r
#define ALLOR(r, f)
#define SOMEOR(r, f) VBLENDVPS Y15, r, f, r

// R8 = number of lanes to hide at the front: the others stay.
#define ROWMASK \
	LEAQ    lanes<>+64(SB), R13; \
	SHLQ    $2, R8; \
	SUBQ    R8, R13; \
	SHRQ    $2, R8; \
	VMOVUPS (R13), Y15

// Sums and the largest lane into X0; r1 is lost.
#define FOLD(op, y0, x0, x1) \
	VEXTRACTF128 $1, y0, x1; \
	op           x1, x0, x0; \
	VPERMILPS    $0x4e, x0, x1; \
	op           x1, x0, x0; \
	VPERMILPS    $0xb1, x0, x1; \
	op           x1, x0, x0
#define FOLD0(op) FOLD(op, Y0, X0, X1)
#define FOLD2(op) FOLD(op, Y2, X2, X1)
#define FOLD64 \
	VEXTRACTF128 $1, Y0, X1; \
	VADDPD       X1, X0, X0; \
	VPERMILPD    $1, X0, X1; \
	VADDSD       X1, X0, X0

// V1 and V2 = the two halves of V0 as fp64.
#define WIDEN \
	VEXTRACTF128 $1, Y0, X2; \
	VCVTPS2PD    X0, Y1; \
	VCVTPS2PD    X2, Y2

#define ROUND(x, r) VROUNDPS $8, x, r
// x = p 2^n; n whole. In two factors, so that neither leaves the range of normal numbers.
#define LDEXP(x, n, p) \
	VCVTPS2DQ n, n; \
	VPSRAD    $1, n, x; \
	VPSUBD    x, n, n; \
	VPADDD    bias<>(SB), x, x; \
	VPSLLD    $23, x, x; \
	VMULPS    x, p, p; \
	VPADDD    bias<>(SB), n, n; \
	VPSLLD    $23, n, n; \
	VMULPS    n, p, x
