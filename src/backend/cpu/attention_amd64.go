package cpu

// The kernels of attn_*_amd64.s and tile_*_amd64.s.

//go:noescape
func softmaxColumnAVX512(s *float32, lds, full, seen, keys int, max, sum, rescale *float32)

//go:noescape
func softmaxGradColumnAVX512(s, ds *float32, lds, full, seen, keys int, lse, delta *float32, scale float32)

//go:noescape
func logSumAVX512(lse, max, sum, factor []float32, scale float32)

//go:noescape
func scaleRowsAVX512(dst []float32, ldd int, src []float32, lds int, v []float32, rows, cols int)

//go:noescape
func rowDotsAVX512(out, x []float32, ldx int, y []float32, ldy, rows, cols int)

//go:noescape
func transposeAVX512(dst *float32, ldd int, src *float32, lds, rows, cols int, s float32)

//go:noescape
func tile4AVX512(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate, mask uint64)

//go:noescape
func tile3AVX512(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate, mask uint64)

//go:noescape
func tile2AVX512(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate, mask uint64)

//go:noescape
func tile1AVX512(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate, mask uint64)

//go:noescape
func softmaxColumnAVX2(s *float32, lds, full, seen, keys int, max, sum, rescale *float32)

//go:noescape
func softmaxGradColumnAVX2(s, ds *float32, lds, full, seen, keys int, lse, delta *float32, scale float32)

//go:noescape
func logSumAVX2(lse, max, sum, factor []float32, scale float32)

//go:noescape
func scaleRowsAVX2(dst []float32, ldd int, src []float32, lds int, v []float32, rows, cols int)

//go:noescape
func rowDotsAVX2(out, x []float32, ldx int, y []float32, ldy, rows, cols int)

//go:noescape
func transposeAVX2(dst *float32, ldd int, src *float32, lds, rows, cols int, s float32)

//go:noescape
func tile3AVX2(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate uint64)

//go:noescape
func tile2AVX2(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate uint64)

//go:noescape
func tile1AVX2(c *float32, ldc int, a *float32, rsa, csa int, b *float32, ldb, m, k int, accumulate uint64)

// tileAVX512 cuts a tile into strips of at most 64 columns; the last vector of a strip may be incomplete.
func tileAVX512(c []float32, ldc int, a []float32, rsa, csa int, b []float32, ldb int, m, n, k int, accumulate bool) {
	for at := 0; at < n; at += 64 {
		width := min(64, n-at)
		mask := uint64(1)<<((width-1)%16+1) - 1
		dst, src := &c[at], &b[at]
		switch (width + 15) / 16 {
		case 4:
			tile4AVX512(dst, ldc, &a[0], rsa, csa, src, ldb, m, k, bit(accumulate), mask)
		case 3:
			tile3AVX512(dst, ldc, &a[0], rsa, csa, src, ldb, m, k, bit(accumulate), mask)
		case 2:
			tile2AVX512(dst, ldc, &a[0], rsa, csa, src, ldb, m, k, bit(accumulate), mask)
		default:
			tile1AVX512(dst, ldc, &a[0], rsa, csa, src, ldb, m, k, bit(accumulate), mask)
		}
	}
}

// tileAVX2 cuts a tile into strips of 24, 16 and 8 columns; what remains is done by the portable loop.
func tileAVX2(c []float32, ldc int, a []float32, rsa, csa int, b []float32, ldb int, m, n, k int, accumulate bool) {
	at := 0
	for at+8 <= n {
		dst, src := &c[at], &b[at]
		switch left := n - at; {
		case left >= 24 && left != 32: // 32 is better cut into 16 and 16
			tile3AVX2(dst, ldc, &a[0], rsa, csa, src, ldb, m, k, bit(accumulate))
			at += 24
		case left >= 16:
			tile2AVX2(dst, ldc, &a[0], rsa, csa, src, ldb, m, k, bit(accumulate))
			at += 16
		default:
			tile1AVX2(dst, ldc, &a[0], rsa, csa, src, ldb, m, k, bit(accumulate))
			at += 8
		}
	}
	if at < n {
		tileGeneric(c[at:], ldc, a, rsa, csa, b[at:], ldb, m, n-at, k, accumulate)
	}
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func transposeScaledAVX512(dst []float32, ldd int, src []float32, lds, rows, cols int, s float32) {
	r, c := rows&^15, cols&^3
	if r > 0 && c > 0 {
		transposeAVX512(&dst[0], ldd, &src[0], lds, r, c, s)
	}
	transposeRest(dst, ldd, src, lds, rows, cols, r, c, s)
}

func transposeScaledAVX2(dst []float32, ldd int, src []float32, lds, rows, cols int, s float32) {
	r, c := rows&^7, cols&^3
	if r > 0 && c > 0 {
		transposeAVX2(&dst[0], ldd, &src[0], lds, r, c, s)
	}
	transposeRest(dst, ldd, src, lds, rows, cols, r, c, s)
}

// transposeRest does what is outside the first r rows and c columns.
func transposeRest(dst []float32, ldd int, src []float32, lds, rows, cols, r, c int, s float32) {
	if c < cols && r > 0 {
		transposeScaledGeneric(dst[c*ldd:], ldd, src[c:], lds, r, cols-c, s)
	}
	if r < rows {
		transposeScaledGeneric(dst[r:], ldd, src[r*lds:], lds, rows-r, cols, s)
	}
}

func softmaxTileAVX512(s []float32, lds, keys, queries, diagonal int, max, sum, rescale []float32) {
	for q := 0; q < queries; q += 16 {
		full, seen := min(keys, q+diagonal+1), min(keys, q+diagonal+16)
		softmaxColumnAVX512(&s[q], lds, full, seen, keys, &max[q], &sum[q], &rescale[q])
	}
}

func softmaxTileAVX2(s []float32, lds, keys, queries, diagonal int, max, sum, rescale []float32) {
	for q := 0; q < queries; q += 8 {
		full, seen := min(keys, q+diagonal+1), min(keys, q+diagonal+8)
		softmaxColumnAVX2(&s[q], lds, full, seen, keys, &max[q], &sum[q], &rescale[q])
	}
}

func softmaxGradTileAVX512(s, ds []float32, lds, keys, queries, diagonal int, lse, delta []float32, scale float32) {
	for q := 0; q < queries; q += 16 {
		full, seen := min(keys, q+diagonal+1), min(keys, q+diagonal+16)
		softmaxGradColumnAVX512(&s[q], &ds[q], lds, full, seen, keys, &lse[q], &delta[q], scale)
	}
}

func softmaxGradTileAVX2(s, ds []float32, lds, keys, queries, diagonal int, lse, delta []float32, scale float32) {
	for q := 0; q < queries; q += 8 {
		full, seen := min(keys, q+diagonal+1), min(keys, q+diagonal+8)
		softmaxGradColumnAVX2(&s[q], &ds[q], lds, full, seen, keys, &lse[q], &delta[q], scale)
	}
}
