package cpu

// kernels is the table of inner loops of one instruction set: every operation except the GEMM is written once over rows
// and tiles, and calls these on slices that lie in the caches. All slices of a call have the length of the first one
// unless said otherwise; none overlap unless they are the same slice. Sums are taken in an order that depends on the
// length only.
type kernels struct {
	// axpy is y += a x.
	axpy func(y, x []float32, a float32)
	// addRows is out[j] += sum_r x[r ld + j], rows in order.
	addRows func(out, x []float32, ld, rows int)
	// scale is x *= a.
	scale func(x []float32, a float32)
	// mul is x *= v.
	mul func(x, v []float32)
	// addScaled is y = x + a d; y may be x or d.
	addScaled func(y, x, d []float32, a float32)
	// sum is sum(x).
	sum func(x []float32) float32
	// sumSquaredDeviations is sum((x-mu)^2).
	sumSquaredDeviations func(x []float32, mu float32) float32
	// sumSquares is sum(x^2) in fp64.
	sumSquares func(x []float32) float64

	// normApply is y = a (x-mu) g + m b; b may be empty. a = m r.
	normApply func(y, x, g, b []float32, mu, a, m float32)
	// normSums is sum(g dy) and sum(g dy (x-mu)).
	normSums func(x, dy, g []float32, mu float32) (h, hx float32)
	// normGrad is, with xh = (x-mu) r: dg += m dy xh, db += m dy, dx = res + m r (g dy - a - xh b), res
	// taken as 0 when empty. dx may be dy or res.
	normGrad func(dx, res, x, dy, g, dg, db []float32, c normConstants)

	// rotary turns every pair (x[h 2n + i], x[h 2n + n + i]), h < heads, i < n = len(cos), by the angle i; sign is +1 or
	// -1 (inverse).
	rotary func(x, cos, sin []float32, heads int, sign float32)

	// swiglu is y = silu(g) u.
	swiglu func(y, g, u []float32)
	// swigluGrad is dg = dy u silu'(g), du = dy silu(g); dg may be g and du may be u.
	swigluGrad func(dg, du, dy, g, u []float32)

	// max is the largest element; -Inf when x is empty.
	max func(x []float32) float32
	// sumExp is sum(exp(x-shift)).
	sumExp func(x []float32, shift float32) float32
	// expSum is x = exp(x-shift); it returns sum(x).
	expSum func(x []float32, shift float32) float32

	// adamw updates w, m and v from g.
	adamw func(w, g, m, v []float32, c adamConstants)

	// Conversions, rounding to nearest even.
	toBF16   func(dst []uint16, src []float32)
	fromBF16 func(dst []float32, src []uint16)
	toF16    func(dst []uint16, src []float32)
	fromF16  func(dst []float32, src []uint16)

	// Tiles of attention.

	// tile is C[m x n] (+)= A B with element (i,p) of A at a[i rsa + p csa], rows of B and C ldb and ldc apart.
	tile func(c []float32, ldc int, a []float32, rsa, csa int, b []float32, ldb int, m, n, k int, accumulate bool)
	// transposeScaled is dst[j ldd + i] = s src[i lds + j] for i < rows, j < cols.
	transposeScaled func(dst []float32, ldd int, src []float32, lds, rows, cols int, s float32)
	// scaleRows is dst[i] = v[i] src[i], row by row; dst may be src.
	scaleRows func(dst []float32, ldd int, src []float32, lds int, v []float32, rows, cols int)
	// rowDots is out[i] = sum_j x[i,j] y[i,j].
	rowDots func(out, x []float32, ldx int, y []float32, ldy, rows, cols int)
	// softmaxTile folds a tile of scores (row = key, column = query) into the running softmax of the queries, which are
	// the lanes: see softmaxTileGeneric. The number of queries is a multiple of 16 in both.
	softmaxTile func(s []float32, lds, keys, queries, diagonal int, max, sum, rescale []float32)
	// logSum is lse = max + log(sum), factor = scale / sum.
	logSum func(lse, max, sum, factor []float32, scale float32)
	// softmaxGradTile turns scores into probabilities and their gradients in place: see softmaxGradTileGeneric.
	softmaxGradTile func(s, ds []float32, lds, keys, queries, diagonal int, lse, delta []float32, scale float32)
}

// normConstants are the scalars of one row of a norm's backward pass.
type normConstants struct{ mu, r, m, a, b float32 }

// adamConstants are the scalars of an AdamW step; see adamwGeneric.
type adamConstants struct {
	gradScale, beta1, beta2 float32
	oneMinusBeta1           float32
	oneMinusBeta2           float32
	decay                   float32 // 1 - LR WD
	step                    float32 // LR / (1-b1^t)
	rootCorrection          float32 // 1 / sqrt(1-b2^t)
	eps                     float32
}

// genericKernels are the portable loops.
func genericKernels() *kernels {
	return &kernels{
		axpy: axpyGeneric, addRows: addRowsGeneric, scale: scaleGeneric, mul: mulGeneric, addScaled: addScaledGeneric,
		sum: sumGeneric, sumSquaredDeviations: sumSquaredDeviationsGeneric, sumSquares: sumSquaresGeneric,
		normApply: normApplyGeneric, normSums: normSumsGeneric, normGrad: normGradGeneric,
		rotary: rotaryGeneric, swiglu: swigluGeneric, swigluGrad: swigluGradGeneric,
		max: maxGeneric, sumExp: sumExpGeneric, expSum: expSumGeneric, adamw: adamwGeneric,
		toBF16: toBF16Generic, fromBF16: fromBF16Generic, toF16: toF16Generic, fromF16: fromF16Generic,
		tile: tileGeneric, transposeScaled: transposeScaledGeneric,
		scaleRows: scaleRowsGeneric, rowDots: rowDotsGeneric, softmaxTile: softmaxTileGeneric, logSum: logSumGeneric, softmaxGradTile: softmaxGradTileGeneric,
	}
}
