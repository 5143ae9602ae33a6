package cpu

import "unsafe"

// tile is what a micro-kernel computes: with z[r][j] = sum over p < k of a[r][p] b[p][j],
//
//	out[r][j] = alpha z[r][j] + c[r][j] (where add) + bias[j]
//
// All distances are in bytes. Element (r, p) of A lies at a + r rsa + p csa; B is a panel: its row p holds the tile's columns
// side by side. The AVX-512 kernels write rows x mask; the others write whole tiles and ignore rows and the masks, but add
// c and bias only where the pointers are not nil. The assembler knows this layout.
type tile struct {
	a, b, c, out, bias    unsafe.Pointer
	k, rsa, csa, ldc, ldo int
	rows                  int
	mask, add, biasMask   uint64
	alpha                 float32
	// fetch, fetch + fetchStep, ... are addresses to bring into the second-level cache meanwhile, fetches at most. (Not
	// pointers for the garbage collector: they may lie outside everything.)
	fetch              uintptr
	fetchStep, fetches int

	// A kernel that can computes tiles tiles, one under the other: nextA is the distance of their rows of A. It fetches each
	// lines in a tile, down to fetchLeft of them, and then goes on fetchWrap further with fetchRows.
	tiles, nextA, each              int
	fetchRows, fetchLeft, fetchWrap int
}

// shape is how an instruction set cuts a product up.
type shape struct {
	rows, cols int  // the tile of its micro-kernel
	group      int  // rows of one packed group of A
	inPlace    bool // rows of A are read where they are, instead of being packed
	below      bool // the micro-kernel goes on with the tiles below

	depth int // steps of a K block, at most
	block int // rows of A that are multiplied with one panel of B after the other
	piece int // columns of B that are packed at a time
	item  int // rows of C that are claimed at a time, at most

	shared int // floats of A that are packed for all workers at a time; every item reads all of them
}

// shape: with AVX-512 a row of tiles runs along packed panels in the second-level cache, and its rows of A, in place, stay
// in the first. With AVX2 a panel of B stays in the first-level cache (16 KiB of 32) while a column of tiles runs down a block of packed A in the
// second (132 KiB of 512 on Zen 3).
func (l level) shape() shape {
	switch l {
	case avx512:
		return shape{rows: 8, cols: 48, group: 16, inPlace: true, depth: 384, block: 8, piece: 192, item: 64, shared: 1 << 21}
	case avx2:
		return shape{rows: 6, cols: 16, group: 6, below: true, depth: 256, block: 132, piece: 48, item: 96, shared: 1 << 19}
	}
	return shape{rows: 4, cols: 4, group: 4, inPlace: true, depth: 384, block: 4, piece: 192, item: 64, shared: 1 << 21}
}

// maxTile is the number of elements of the largest tile.
const maxTile = 8 * 48

// tileGo is the portable micro-kernel: 4 x 4.
func tileGo(t *tile) {
	k := t.k
	b := unsafe.Slice((*float32)(t.b), 4*k)
	at := func(r int) unsafe.Pointer { return unsafe.Add(t.a, r*t.rsa) }
	a0, a1, a2, a3 := at(0), at(1), at(2), at(3)
	var s [4][4]float32
	var s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33 float32
	for p := 0; p < 4*k; p += 4 {
		row := b[p : p+4 : p+4]
		b0, b1, b2, b3 := row[0], row[1], row[2], row[3]
		step := p / 4 * t.csa
		x := *(*float32)(unsafe.Add(a0, step))
		s00 += x * b0
		s01 += x * b1
		s02 += x * b2
		s03 += x * b3
		x = *(*float32)(unsafe.Add(a1, step))
		s10 += x * b0
		s11 += x * b1
		s12 += x * b2
		s13 += x * b3
		x = *(*float32)(unsafe.Add(a2, step))
		s20 += x * b0
		s21 += x * b1
		s22 += x * b2
		s23 += x * b3
		x = *(*float32)(unsafe.Add(a3, step))
		s30 += x * b0
		s31 += x * b1
		s32 += x * b2
		s33 += x * b3
	}
	s = [4][4]float32{{s00, s01, s02, s03}, {s10, s11, s12, s13}, {s20, s21, s22, s23}, {s30, s31, s32, s33}}
	for r := range 4 {
		out := (*[4]float32)(unsafe.Add(t.out, r*t.ldo))
		for j := range 4 {
			v := t.alpha * s[r][j]
			if t.c != nil {
				v += (*[4]float32)(unsafe.Add(t.c, r*t.ldc))[j]
			}
			if t.bias != nil {
				v += (*[4]float32)(t.bias)[j]
			}
			out[j] = v
		}
	}
}

// edge finishes a tile that reaches over the end of C: z is the product of the whole tile, zcols to a row; t says what is
// to be done with it. The operations are those of the kernels, in their order.
func edge(t *tile, z []float32, zcols, rows, cols int) {
	for r := range rows {
		out := unsafe.Slice((*float32)(unsafe.Add(t.out, r*t.ldo)), cols)
		for j := range out {
			v := z[r*zcols+j]
			if t.c != nil {
				v += unsafe.Slice((*float32)(unsafe.Add(t.c, r*t.ldc)), cols)[j]
			}
			if t.bias != nil {
				v += unsafe.Slice((*float32)(t.bias), cols)[j]
			}
			out[j] = v
		}
	}
}

// tilesBelow is the number of tiles from row i on, before row end, that one call of the micro-kernel computes.
func (p *product) tilesBelow(i, end, cols int) int {
	if !p.shape.below || p.halves.c || cols < p.shape.cols {
		return 1
	}
	if i < p.packedFrom {
		end = min(end, p.packedFrom)
	}
	return max(1, (end-i)/p.shape.rows)
}

// multiplyWhole runs a micro-kernel that can only do whole tiles.
func (p *product) multiplyWhole(kernel func(*tile), rows, cols int) {
	t, s := &p.tile, p.shape
	if rows%s.rows == 0 && cols == s.cols {
		t.tiles = rows / s.rows
		kernel(t)
		return
	}
	whole := p.w.edge[:s.rows*s.cols]
	c, out, bias, ldo := t.c, t.out, t.bias, t.ldo
	t.c, t.out, t.bias, t.ldo, t.tiles = nil, unsafe.Pointer(&whole[0]), nil, 4*s.cols, 1
	kernel(t)
	t.c, t.out, t.bias, t.ldo = c, out, bias, ldo
	edge(t, whole, s.cols, rows, cols)
}
