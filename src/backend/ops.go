package backend

import (
	"cambium/src/rng"
	"cambium/src/tensor"
)

// Operations is everything that a device computes. Outputs must not overlap inputs unless the comment allows it. An
// absent (zero) Tensor leaves an optional part out.
//
// # Element types
//
// A tensor whose comment says T holds weights, activations or their gradients and is of the type that the model is stored
// in: fp32, bf16 or fp16, the same for all T of a call. Everything else is fp32 unless its comment says otherwise: gradients
// of parameters, which add up over micro-batches, statistics, losses, masks and tables.
//
// Arithmetic is in fp32, whatever T is: operands are widened, which is exact, and every result is rounded once, to nearest
// even, when it is stored. What an operation accumulates into is read as it was stored. Values beyond the largest of T
// become infinite, infinities and NaN go on as such, and subnormal numbers of T are kept: an overflow of fp16 is seen by
// SumSquares, and nothing else has to look for it.
type Operations interface {
	// Fill sets every element of X to Value. X may be of any type.
	Fill(x tensor.Tensor, value float32)
	// FillNormal draws random numbers: see Normal.
	FillNormal(Normal)
	// Copy is dst = src, element by element, with conversion between floating-point types (round to nearest even).
	Copy(dst, src tensor.Tensor)
	// Axpy is y += a x; y and x are fp32, bf16 or fp16, each its own.
	Axpy(y, x tensor.Tensor, a float32)
	// Scale is x *= a; x is T.
	Scale(x tensor.Tensor, a float32)
	// ScaleColumns is x[n,j] *= v[j]: the masks of growing FFN units. x is T, v fp32.
	ScaleColumns(x, v tensor.Tensor)
	// ColumnSum is out[j] (+)= sum_n x[n,j]: the gradient of a bias. x is T, out fp32.
	ColumnSum(out, x tensor.Tensor, accumulate bool)
	// SumSquares is out[0] (+)= sum x^2 in fp64 (out is fp64[1]); x is T. A non-finite element makes it non-finite.
	SumSquares(out, x tensor.Tensor, accumulate bool)

	Gemm(Gemm)
	EmbeddingForward(Embedding)
	EmbeddingBackward(Embedding)
	NormForward(Norm)
	NormBackward(NormGrad)
	Rotary(Rotary)
	AttentionForward(Attention)
	AttentionBackward(AttentionGrad)
	// GELUForward is y = gelu(x): see GELU. y and x are T. From the Pre that a Gemm kept it makes the bits of
	// its C.
	GELUForward(y, x tensor.Tensor)
	SwiGLUForward(SwiGLU)
	SwiGLUBackward(SwiGLU)
	CrossEntropy(CrossEntropy)
	CrossEntropyStats(CrossEntropyStats)
	CrossEntropyFinish(CrossEntropyFinish)
	// AdamW updates each of its tensors: what a device can do for many at once. The list is the caller's again when it returns.
	AdamW(...AdamW)
}

// Normal is X[i,j] = the element number First + i Stride + j of the normal numbers of Key with standard deviation Std, rounded to T: see
// rng.Key.FillNormal. So a box of a tensor gets, on every device, the bits that it would have in the whole tensor.
type Normal struct {
	X             tensor.Tensor // T [rows, cols], any row distance
	Key           rng.Key
	First, Stride uint64
	Std           float32
}

// Activation is what a Gemm does to its result.
type Activation uint8

// The activations. GELU is the tanh approximation 0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) of Hendrycks and
// Gimpel (arXiv 1606.08415).
const (
	NoActivation Activation = iota
	GELU                    // C = gelu(z), and Pre = z when present
	GELUGrad                // C = z * gelu'(Pre): the backward of GELU fused into the GEMM that makes its output gradient
)

// Gemm is z = Alpha op(A) op(B) [+ Bias], C [+]= act(z).
//
//	forward  y  = x W^T      A = x  [N,in]   B = W [out,in], TransB
//	data     dx = dy W       A = dy [N,out]  B = W [out,in]
//	weight   dW += dy^T x    A = dy [N,out], TransA, B = x [N,in], Accumulate
//
// Higher ranks are seen as Rows x Cols. Any row distance is allowed. C aliases nothing, but with GELUGrad C may be Pre
// itself. Accumulate goes with NoActivation only.
//
// A, B, Bias and Pre are T; C is T, or fp32 with NoActivation: the gradient of a weight, which adds up in fp32 what 16-bit
// factors give. GELU is taken of z as Pre stores it, whether there is a Pre or not.
type Gemm struct {
	C, A, B        tensor.Tensor
	TransA, TransB bool
	Alpha          float32 // 0 means 1
	Accumulate     bool
	Bias           tensor.Tensor // [cols of C]
	Act            Activation
	Pre            tensor.Tensor // [rows, cols of C]: out with GELU (optional), in with GELUGrad
}

// Embedding is X[n] = Scale * (Table[Tokens[n]] + Positions[n mod SeqLen]); backward adds the transpose:
// DTable[Tokens[n]] += Scale * X[n] (X then holds dX), DPositions[n mod SeqLen] += Scale * X[n].
// With a table that holds the rows [VocabStart, VocabStart+rows) only, other tokens read zero and get no gradient.
type Embedding struct {
	X          tensor.Tensor // T [N, C]; forward: out, backward: the gradient, in
	Tokens     tensor.Tensor // int32 [N]
	Table      tensor.Tensor // T [V, C]; backward: the gradient, fp32, accumulated
	Positions  tensor.Tensor // T [SeqLen or more, C], optional; backward: the gradient, fp32, accumulated
	SeqLen     int
	Scale      float32
	VocabStart int
}

// NormMask is the growing part of a norm (MSG, arXiv 2305.02869, mended for pre-norm blocks). With m[j] = 1 for
// j < Old and V beyond, S = sum(m) = Old + V (C-Old):
//
//	mu = sum(m x)/S (LayerNorm; RMSNorm: 0)   q = sum(m (x-mu)^2)/Divisor   r = 1/sqrt(q+eps)   xh = (x-mu) r
//	y  = m (g xh + b)
//
// Divisor is C for the form with folded gains, S for MSG's own. The zero NormMask means "no mask": S = Divisor = C.
type NormMask struct {
	Old     int
	V       float32
	Divisor float32
}

// Norm is LayerNorm or RMSNorm with the residual addition before it:
//
//	X = Residual + DeltaScale * Delta   (when Delta is present; otherwise X is input)
//	Y = m * (Gain * (X - mu) r + Bias)
//
// Delta may alias Y (it is read before Y is written), Residual may alias X. Mean, RStd and Y are those of X as it is stored:
// with 16 bits of the rounded sum, so that a norm that is computed again from X gives the same bits.
type Norm struct {
	X, Y            tensor.Tensor // T [N, C]
	Residual, Delta tensor.Tensor // T [N, C], optional together
	DeltaScale      float32       // 0 means 1. Exactly 0 is not needed: growth starts at 1/K
	Gain            tensor.Tensor // T [C]
	Bias            tensor.Tensor // T [C], optional; LayerNorm only
	Mean, RStd      tensor.Tensor // [N]: out, for the backward pass; Mean absent for RMSNorm
	Eps             float32
	RMS             bool
	Mask            NormMask
}

// NormGrad is the backward of Norm, with respect to X; h = Gain dY, A = sum(m h)/S (RMSNorm: 0), B = sum(m h xh)/Divisor:
//
//	DX = DResidual + m r (h - A - xh B)     DGain += sum_n m dY xh     DBias += sum_n m dY
//
// DResidual (optional) may alias DX; DY may alias DX.
type NormGrad struct {
	X, DY, DX    tensor.Tensor // T [N, C]
	DResidual    tensor.Tensor // T [N, C], optional
	Gain         tensor.Tensor // T [C]
	Mean, RStd   tensor.Tensor // [N]
	DGain, DBias tensor.Tensor // [C], accumulated; DBias optional
	Overwrite    bool          // DGain and DBias, instead: what they hold is not read
	RMS          bool
	Mask         NormMask
}

// Rotary turns the pairs (x[i], x[i+D/2]) of every head in place by the angle of the token's position
// (RoPE, arXiv 2104.09864, half-split pairs; xPos, arXiv 2212.10554, when the tables carry its scales):
//
//	x1' = x1 Cos[t,i] - x2 Sin[t,i]     x2' = x2 Cos[t,i] + x1 Sin[t,i]      t = n mod SeqLen
//
// Inverse applies the transposed map, which is the backward pass: Sin with the other sign.
type Rotary struct {
	X        tensor.Tensor // T [N, heads*D], any row distance
	Cos, Sin tensor.Tensor // [SeqLen or more, D/2]
	HeadDim  int
	SeqLen   int
	Inverse  bool
}

// Attention is causal attention over sequences of SeqLen tokens:
//
//	S = Scale Q K^T,  P = softmax(S masked to s <= t),  O = HeadScale[h] * P V,  LSE = log sum exp S
//
// Query head h uses key/value head h / (H/K). Never more than a tile of S exists (FlashAttention, arXiv 2205.14135). When T has
// 16 bits, P and dS may be rounded to T where they meet the other factor of a product, as tensor cores take them.
type Attention struct {
	Q, O      tensor.Tensor // T [N, H*D], any row distance
	K, V      tensor.Tensor // T [N, K*D], any row distance
	LSE       tensor.Tensor // [N/SeqLen, H, SeqLen], out
	HeadDim   int
	SeqLen    int
	Scale     float32
	HeadScale tensor.Tensor // [H], optional: the mask of growing heads
}

// AttentionGrad is the backward of Attention. O and LSE are the forward's results (O with HeadScale applied). DQ, DK and
// DV are overwritten. With s = HeadScale[h]: D_t = sum(dO o O), dP = s dO V^T, dS = P (dP - D), dQ = Scale dS K,
// dK = Scale dS^T Q, dV = s P^T dO.
type AttentionGrad struct {
	Attention
	DO, DQ tensor.Tensor // T [N, H*D], any row distance
	DK, DV tensor.Tensor // T [N, K*D], any row distance
}

// SwiGLU is Y = silu(G) * U with silu(z) = z/(1+exp(-z)) (arXiv 2002.05202); the backward overwrites
// DG = DY U silu'(G), DU = DY silu(G).
type SwiGLU struct {
	G, U, Y    tensor.Tensor // T [N, F], any row distance; the backward does not read Y
	DY, DG, DU tensor.Tensor // T [N, F], any row distance; DG, DU may alias G, U
}

// CrossEntropy is the fused classifier: Loss[n] = log sum_j<Vocab exp(z[n,j]) - z[n,Targets[n]], and, when GradScale is
// not 0, Logits is overwritten by GradScale * (softmax(z) - onehot), with zeros from Vocab on.
// A row whose target is negative has loss 0 and gradient 0; a target of Vocab or more fails the stream.
type CrossEntropy struct {
	Logits    tensor.Tensor // T [n, >= Vocab]
	Targets   tensor.Tensor // int32 [n]
	Loss      tensor.Tensor // [n], out
	Vocab     int
	GradScale float32
}

// CrossEntropyStats is the first half of the fused classifier when the vocabulary is split over ranks (Megatron-LM,
// arXiv 1909.08053, section 3): column j of Logits is token VocabStart + j, and columns from token Vocab on are padding,
// which is not read. A shard may be padding altogether. Over the real columns of this shard
//
//	Stats[n] = (m, s, t)     m = max_j z[n,j]     s = sum_j exp(z[n,j] - m)     t = z[n, Targets[n] - VocabStart]
//
// with t = 0 when the target is in another shard, and m = -Inf, s = 0 without real columns. A row whose target is negative
// has the stats (0, 0, 0). A target of Vocab or more fails the stream, on every rank.
//
// The ranks then gather their Stats, and CrossEntropyFinish does the rest.
type CrossEntropyStats struct {
	Logits     tensor.Tensor // T [n, columns of this shard]
	Targets    tensor.Tensor // int32 [n], tokens of the whole vocabulary
	Stats      tensor.Tensor // [n, 3], contiguous, out
	VocabStart int           // the token of column 0
	Vocab      int           // real tokens of the whole vocabulary
}

// CrossEntropyFinish is the second half: from the stats (m_q, s_q, t_q) of all ranks q, added in the order of the ranks,
//
//	M = max_q m_q     S = sum_q s_q exp(m_q - M)     Loss[n] = log S + M - sum_q t_q
//
// and, when GradScale is not 0, Logits is overwritten by GradScale * (exp(z - M)/S - onehot), with zeros in the padding.
// A row whose target is negative has loss 0 and gradient 0. Every rank gets the same Loss, bit by bit. With one rank the
// results are those of CrossEntropy.
type CrossEntropyFinish struct {
	Logits     tensor.Tensor // T [n, columns of this shard]
	Targets    tensor.Tensor // int32 [n], tokens of the whole vocabulary
	Stats      tensor.Tensor // [ranks, n, 3], contiguous
	Loss       tensor.Tensor // [n], out
	VocabStart int           // the token of column 0
	Vocab      int           // real tokens of the whole vocabulary
	GradScale  float32
}

// AdamW is decoupled weight decay Adam (arXiv 1711.05101) on one tensor seen as a matrix:
//
//	g = GradScale * G     M = b1 M + (1-b1) g     V = b2 V + (1-b2) g^2
//	W = W (1 - LR WD) - LR (M/(1-b1^t)) / (sqrt(V/(1-b2^t)) + Eps)
//
// t = Step - max(BirthRow[i], BirthCol[j]): entries that growth added count their own steps. Without births t = Step.
// Out (optional; fp32, bf16 or fp16) gets the new W, rounded: the weights that the model computes with. It may be absent
// when W itself is used. W, G, M and V are fp32.
type AdamW struct {
	W, G, M, V         tensor.Tensor // [rows, cols], contiguous
	Out                tensor.Tensor
	BirthRow, BirthCol tensor.Tensor // int32 [rows], [cols]; both or none
	Step               int           // counts from 1
	LR, Beta1, Beta2   float32
	Eps, WeightDecay   float32
	GradScale          float32 // clip factor / loss scale
}
