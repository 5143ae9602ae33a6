package cpu

func (l level) kernels() *kernels {
	switch l {
	case avx512:
		return avx512Kernels
	case avx2:
		return avx2Kernels
	}
	return portableKernels
}

// avx512Kernels and avx2Kernels are constant tables; what they do not name is portable.
var (
	avx512Kernels = makeAVX512Kernels()
	avx2Kernels   = makeAVX2Kernels()
)

func makeAVX512Kernels() *kernels {
	k := genericKernels()
	k.axpy, k.addRows, k.scale, k.mul, k.addScaled = axpyAVX512, addRowsAVX512, scaleAVX512, mulAVX512, addScaledAVX512
	k.sum, k.sumSquaredDeviations, k.sumSquares = sumAVX512, sumSquaredDeviationsAVX512, sumSquaresAVX512
	k.normApply, k.normSums, k.normGrad = normApplyAVX512, normSumsAVX512, normGradAVX512
	k.rotary, k.swiglu, k.swigluGrad = rotaryAVX512, swigluAVX512, swigluGradAVX512
	k.max, k.sumExp, k.expSum, k.adamw = maxAVX512, sumExpAVX512, expSumAVX512, adamwAVX512
	k.toBF16, k.fromBF16 = inGroups(toBF16AVX512, toBF16Generic), inGroups(fromBF16AVX512, fromBF16Generic)
	k.toF16, k.fromF16 = inGroups(toF16AVX512, toF16Generic), inGroups(fromF16AVX512, fromF16Generic)
	k.tile, k.transposeScaled, k.scaleRows, k.rowDots = tileAVX512, transposeScaledAVX512, scaleRowsAVX512, rowDotsAVX512
	k.softmaxTile, k.logSum, k.softmaxGradTile = softmaxTileAVX512, logSumAVX512, softmaxGradTileAVX512
	return k
}

func makeAVX2Kernels() *kernels {
	k := genericKernels()
	k.axpy, k.addRows, k.scale, k.mul, k.addScaled = axpyAVX2, addRowsAVX2, scaleAVX2, mulAVX2, addScaledAVX2
	k.sum, k.sumSquaredDeviations, k.sumSquares = sumAVX2, sumSquaredDeviationsAVX2, sumSquaresAVX2
	k.normApply, k.normSums, k.normGrad = normApplyAVX2, normSumsAVX2, normGradAVX2
	k.rotary, k.swiglu, k.swigluGrad = rotaryAVX2, swigluAVX2, swigluGradAVX2
	k.max, k.sumExp, k.expSum, k.adamw = maxAVX2, sumExpAVX2, expSumAVX2, adamwAVX2
	k.toBF16, k.fromBF16 = inGroups(toBF16AVX2, toBF16Generic), inGroups(fromBF16AVX2, fromBF16Generic)
	k.toF16, k.fromF16 = inGroups(toF16AVX2, toF16Generic), inGroups(fromF16AVX2, fromF16Generic)
	k.tile, k.transposeScaled, k.scaleRows, k.rowDots = tileAVX2, transposeScaledAVX2, scaleRowsAVX2, rowDotsAVX2
	k.softmaxTile, k.logSum, k.softmaxGradTile = softmaxTileAVX2, logSumAVX2, softmaxGradTileAVX2
	return k
}
