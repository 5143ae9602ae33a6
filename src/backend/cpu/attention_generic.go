package cpu

import "math"

// tileGeneric is C[m x n] (+)= A B, row by row: an outer product at a time, so that the inner loop runs along B and C.
func tileGeneric(c []float32, ldc int, a []float32, rsa, csa int, b []float32, ldb int, m, n, k int, accumulate bool) {
	for i := range m {
		row := c[i*ldc:][:n]
		if !accumulate {
			clear(row)
		}
		p := 0
		for ; p+4 <= k; p += 4 {
			a0, a1, a2, a3 := a[i*rsa+p*csa], a[i*rsa+(p+1)*csa], a[i*rsa+(p+2)*csa], a[i*rsa+(p+3)*csa]
			b0, b1, b2, b3 := b[p*ldb:][:n], b[(p+1)*ldb:][:n], b[(p+2)*ldb:][:n], b[(p+3)*ldb:][:n]
			for j := range row {
				row[j] += (a0*b0[j] + a1*b1[j]) + (a2*b2[j] + a3*b3[j])
			}
		}
		for ; p < k; p++ {
			axpyGeneric(row, b[p*ldb:][:n], a[i*rsa+p*csa])
		}
	}
}

func transposeScaledGeneric(dst []float32, ldd int, src []float32, lds, rows, cols int, s float32) {
	for i := range rows {
		for j, v := range src[i*lds:][:cols] {
			dst[j*ldd+i] = s * v
		}
	}
}

func scaleRowsGeneric(dst []float32, ldd int, src []float32, lds int, v []float32, rows, cols int) {
	for i := range rows {
		to := dst[i*ldd:][:cols]
		for j, x := range src[i*lds:][:cols] {
			to[j] = v[i] * x
		}
	}
}

func rowDotsGeneric(out, x []float32, ldx int, y []float32, ldy, rows, cols int) {
	for i := range rows {
		s, other := 0.0, y[i*ldy:][:cols]
		for j, v := range x[i*ldx:][:cols] {
			s += float64(v) * float64(other[j])
		}
		out[i] = float32(s)
	}
}

// softmaxTileGeneric is one step of the online softmax (FlashAttention, arXiv 2205.14135, algorithm 1) on a tile of
// scores s[r lds + q], row r = key, column q = query. Key r is visible to query q when r <= q + diagonal.
//
//	new = max(max[q], max_r s)   rescale[q] = exp(max[q] - new)   s = exp(s - new), 0 where not visible
//	sum[q] = sum[q] rescale[q] + sum_r s                          max[q] = new
//
// It reads no score that is not visible. Every query has seen a key by the end of its first tile.
func softmaxTileGeneric(s []float32, lds, keys, queries, diagonal int, max, sum, rescale []float32) {
	for q := range queries {
		seen := min(keys, q+diagonal+1)
		m := max[q]
		for r := range seen {
			if v := s[r*lds+q]; v > m {
				m = v
			}
		}
		rescale[q] = exp32(max[q] - m)
		max[q] = m
	}
	for q := range queries {
		sum[q] *= rescale[q]
	}
	for r := range keys {
		row := s[r*lds:][:queries]
		first := min(max0(r-diagonal), queries)
		clear(row[:first])
		for q := first; q < queries; q++ {
			e := exp32(row[q] - max[q])
			row[q] = e
			sum[q] += e
		}
	}
}

func logSumGeneric(lse, max, sum, factor []float32, scale float32) {
	for i := range lse {
		lse[i] = max[i] + float32(math.Log(float64(sum[i])))
		factor[i] = scale / sum[i]
	}
}

// softmaxGradTileGeneric turns, for a tile of scores s and of dP in ds (layout as in softmaxTileGeneric),
//
//	s = P = exp(s - lse[q])     ds = scale P (dP - delta[q])
//
// both 0 where the key is not visible. It reads nothing there.
func softmaxGradTileGeneric(s, ds []float32, lds, keys, queries, diagonal int, lse, delta []float32, scale float32) {
	for r := range keys {
		row, drow := s[r*lds:][:queries], ds[r*lds:][:queries]
		first := min(max0(r-diagonal), queries)
		clear(row[:first])
		clear(drow[:first])
		for q := first; q < queries; q++ {
			p := exp32(row[q] - lse[q])
			row[q] = p
			drow[q] = scale * p * (drow[q] - delta[q])
		}
	}
}

func max0(i int) int { return max(i, 0) }

func negativeInfinity() float32 { return float32(math.Inf(-1)) }
