// GELU and its gradient on a tile, once for both instruction sets. With x = -2u, t = exp(x) and s = 1/(1+t):
//
//	gelu(z)  = 0.5 z (1 + tanh u) = z s
//	gelu'(z) = s (1 + z (1-s) 2u'),   1-s = t s,   2u' = 2 sqrt(2/pi) (1 + 3 0.044715 z^2)
//
// x is bounded above so that s stays a normal number.

CONST(geluhigh, 0x42a0000042a00000)   // 80
CONST(gelulinear, 0xbfcc422abfcc422a) // -2 sqrt(2/pi)
CONST(gelucubic, 0xbd922279bd922279)  // -2 sqrt(2/pi) 0.044715
CONST(gelurise, 0x3fcc422a3fcc422a)   // 2 sqrt(2/pi)
CONST(gelubend, 0x3e5b33b63e5b33b6)   // 6 sqrt(2/pi) 0.044715

// V3 = s, V1 = t, V5 = z^2 of z in V0; V2 and V4 are lost.
#define GELUSIGMOID \
	VMULPS      V0, V0, V5; \
	VMOVUPS     gelulinear<>(SB), V2; \
	VFMADD231PS gelucubic<>(SB), V5, V2; \
	VMULPS      V0, V2, V1; \
	VMOVUPS     geluhigh<>(SB), V3; \
	VMINPS      V1, V3, V1; \
	EXP(V1, V2, V3); \
	VADDPS      one<>(SB), V1, V2; \
	RECIPROCAL(V2, V3, V4)

// c(DI) = gelu(z(SI)); pre(DX) = z before, which is c itself when it is not wanted.
#define GELU(L, S, KEEP) \
	L(0, SI, V0); \
	GELUSIGMOID; \
	VMULPS V0, V3, V1; \
	S(V0, 0, DX); \
	S(V1, 0, DI)

// c(DI) = z(SI) gelu'(pre(DX))
#define GELUGRAD(L, S, KEEP) \
	L(0, DX, V0); \
	GELUSIGMOID; \
	VMULPS      V3, V1, V1; \
	VMOVUPS     gelurise<>(SB), V4; \
	VFMADD231PS gelubend<>(SB), V5, V4; \
	VMULPS      V0, V4, V4; \
	VFMADD213PS one<>(SB), V1, V4; \
	VMULPS      V3, V4, V4; \
	L(0, SI, V0); \
	VMULPS      V0, V4, V4; \
	S(V4, 0, DI)

#define ARGUMENTS \
	MOVQ c+0(FP), DI; \
	MOVQ z+8(FP), SI; \
	MOVQ pre+16(FP), DX; \
	MOVQ ldc+24(FP), R9; \
	MOVQ ldz+32(FP), R10; \
	MOVQ ldpre+40(FP), R11; \
	MOVQ rows+48(FP), BX; \
	MOVQ cols+56(FP), R12

#define ROWS(BODY, row, loop, tail, done) \
	row:  MOVQ R12, CX; \
	XORQ AX, AX; \
	LOOP(BODY, loop, tail, done) \
	ADDQ R9, DI; \
	ADDQ R10, SI; \
	ADDQ R11, DX; \
	DECQ BX; \
	JNZ  row
