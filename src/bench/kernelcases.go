package bench

import (
	"fmt"
	"strings"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// KernelShape is a transformer layer and a micro-batch as kernels see them.
type KernelShape struct {
	Name                             string
	Tokens, SeqLength                int
	Hidden, FFN, Heads, Groups, Head int // Head: channels of one; Groups: key/value heads
	Vocab                            int
	SwiGLU, RMS                      bool
}

// KernelShapes are the shapes that bench kernels knows by name: layers of GPT-2 124M and 1.5B and of a Llama of 1B, and one for
// trying it out. 16384 tokens are what a training step on a GPU has, and more than its L2 cache holds.
func KernelShapes() []KernelShape {
	return []KernelShape{
		{Name: "gpt2-124m", Tokens: 16384, SeqLength: 1024, Hidden: 768, FFN: 3072, Heads: 12, Groups: 12, Head: 64, Vocab: 50304},
		{Name: "gpt2-1.5b", Tokens: 16384, SeqLength: 1024, Hidden: 1600, FFN: 6400, Heads: 25, Groups: 25, Head: 64, Vocab: 50304},
		{Name: "llama-1b", Tokens: 16384, SeqLength: 2048, Hidden: 2048, FFN: 5632, Heads: 32, Groups: 8, Head: 64, Vocab: 32000, SwiGLU: true, RMS: true},
		{Name: "tiny", Tokens: 64, SeqLength: 32, Hidden: 64, FFN: 128, Heads: 2, Groups: 2, Head: 32, Vocab: 512},
	}
}

// KernelShapeNamed finds a shape.
func KernelShapeNamed(name string) (KernelShape, error) {
	var names []string
	for _, s := range KernelShapes() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return KernelShape{}, fmt.Errorf("bench kernels: --shape %q: want one of %s", name, strings.Join(names, ", "))
}

// WithTokens is the shape with another micro-batch, n tokens; 0 leaves it.
func (k KernelShape) WithTokens(n int) (KernelShape, error) {
	if n == 0 {
		return k, nil
	}
	if n < 0 || n%k.SeqLength != 0 {
		return k, fmt.Errorf("bench kernels: --tokens %d: want a multiple of the sequences' %d", n, k.SeqLength)
	}
	k.Tokens = n
	return k, nil
}

// kernelCase is one operation on one shape: what it needs, how to enqueue it, and what it costs at least: operations, a
// multiplication and an addition as two, and bytes that must cross the memory bus once, inputs and outputs.
type kernelCase struct {
	name  string
	flops float64
	bytes float64
	plan  func(a *backend.Arena) func(s backend.Stream)
	ids   func(a *backend.Arena) (func(s backend.Stream), tensor.Tensor) // in place of plan, of what reads tokens
}

// take plans the memory, and gives the tokens that must be put there.
func (k kernelCase) take(a *backend.Arena) (func(backend.Stream), tensor.Tensor) {
	if k.ids != nil {
		return k.ids(a)
	}
	return k.plan(a), tensor.Tensor{}
}

// cases are the operations of a layer, the classifier and the optimizer. T is the type of weights and activations.
func (k KernelShape) cases(t tensor.DType) []kernelCase {
	n, c, f := k.Tokens, k.Hidden, k.FFN
	q, kv := k.Heads*k.Head, k.Groups*k.Head
	w := t.Size()
	all := []kernelCase{
		k.gemm("gemm qkv forward", t, n, q+2*kv, c, false, true, backend.NoActivation),
		k.gemm("gemm fc1 forward", t, n, f, c, false, true, k.activation()),
		k.gemm("gemm fc2 data gradient", t, n, f, c, false, false, backend.NoActivation),
		k.gemm("gemm fc1 weight gradient", t, f, c, n, true, false, backend.NoActivation),
		k.gemm("gemm fc2 forward", t, n, c, f, false, true, backend.NoActivation),
		k.gemm("gemm projection weight gradient", t, c, q, n, true, false, backend.NoActivation),
		k.gemm("gemm logits", t, min(n, 1024), k.Vocab, c, false, true, backend.NoActivation),
		k.normForward(t), k.normBackward(t), k.rotary(t),
		k.attentionForward(t), k.attentionBackward(t),
		k.classifier(t), k.embeddingForward(t), k.embeddingBackward(t),
		{name: "column sum", flops: float64(n * f), bytes: float64(n*f*w + 4*f), plan: func(a *backend.Arena) func(backend.Stream) {
			x, out := a.Tensor(t, n, f), a.Tensor(tensor.F32, f)
			return func(s backend.Stream) { s.ColumnSum(out, x, false) }
		}},
		{name: "sum of squares", flops: float64(2 * k.Vocab * c), bytes: float64(4 * k.Vocab * c), plan: func(a *backend.Arena) func(backend.Stream) {
			x, out := a.Tensor(tensor.F32, k.Vocab, c), a.Tensor(tensor.F64, 1)
			return func(s backend.Stream) { s.SumSquares(out, x, false) }
		}},
		k.adamw(t),
	}
	if k.SwiGLU {
		all = append(all, k.swiglu(t)...)
	}
	return all
}

func (k KernelShape) activation() backend.Activation {
	if k.SwiGLU {
		return backend.NoActivation
	}
	return backend.GELU
}

// gemm is C [m, n] = op(A) op(B) over k: 2 m n k operations. Weight gradients are fp32 and added up.
func (k KernelShape) gemm(name string, t tensor.DType, m, n, depth int, transA, transB bool, act backend.Activation) kernelCase {
	out := t
	if transA {
		out = tensor.F32
	}
	bytes := float64((m*depth + n*depth) * t.Size())
	switch writes := float64(m * n * out.Size()); {
	case transA || act != backend.NoActivation: // read and written, or C and Pre
		bytes += 2 * writes
	default:
		bytes += writes
	}
	return kernelCase{name: name, flops: 2 * float64(m) * float64(n) * float64(depth), bytes: bytes, plan: func(a *backend.Arena) func(backend.Stream) {
		g := backend.Gemm{TransA: transA, TransB: transB, Act: act, Accumulate: transA}
		if g.A = a.Tensor(t, m, depth); transA {
			g.A = a.Tensor(t, depth, m)
		}
		if g.B = a.Tensor(t, depth, n); transB {
			g.B = a.Tensor(t, n, depth)
		}
		g.C = a.Tensor(out, m, n)
		if act != backend.NoActivation {
			g.Pre = a.Tensor(t, m, n)
		}
		return func(s backend.Stream) { s.Gemm(g) }
	}}
}

func (k KernelShape) normForward(t tensor.DType) kernelCase {
	n, c := k.Tokens, k.Hidden
	return kernelCase{name: "norm forward + residual", flops: float64(8 * n * c), bytes: float64(4 * n * c * t.Size()), plan: func(a *backend.Arena) func(backend.Stream) {
		op := backend.Norm{X: a.Tensor(t, n, c), Y: a.Tensor(t, n, c), Residual: a.Tensor(t, n, c), Delta: a.Tensor(t, n, c), Gain: a.Tensor(t, c),
			Mean: a.Tensor(tensor.F32, n), RStd: a.Tensor(tensor.F32, n), Eps: 1e-5, RMS: k.RMS}
		if op.Bias = a.Tensor(t, c); k.RMS {
			op.Bias, op.Mean = tensor.Tensor{}, tensor.Tensor{}
		}
		return func(s backend.Stream) { s.NormForward(op) }
	}}
}

func (k KernelShape) normBackward(t tensor.DType) kernelCase {
	n, c := k.Tokens, k.Hidden
	return kernelCase{name: "norm backward + residual", flops: float64(14 * n * c), bytes: float64(4 * n * c * t.Size()), plan: func(a *backend.Arena) func(backend.Stream) {
		op := backend.NormGrad{X: a.Tensor(t, n, c), DY: a.Tensor(t, n, c), DX: a.Tensor(t, n, c), Gain: a.Tensor(t, c), Mean: a.Tensor(tensor.F32, n),
			RStd: a.Tensor(tensor.F32, n), DGain: a.Tensor(tensor.F32, c), DBias: a.Tensor(tensor.F32, c), RMS: k.RMS}
		if op.DResidual = op.DX; k.RMS {
			op.DBias, op.Mean = tensor.Tensor{}, tensor.Tensor{}
		}
		return func(s backend.Stream) { s.NormBackward(op) }
	}}
}

func (k KernelShape) rotary(t tensor.DType) kernelCase {
	width := (k.Heads + k.Groups) * k.Head
	return kernelCase{name: "rotary", flops: float64(3 * k.Tokens * width), bytes: float64(2 * k.Tokens * width * t.Size()), plan: func(a *backend.Arena) func(backend.Stream) {
		op := backend.Rotary{X: a.Tensor(t, k.Tokens, width), Cos: a.Tensor(tensor.F32, k.SeqLength, k.Head/2), Sin: a.Tensor(tensor.F32, k.SeqLength, k.Head/2),
			HeadDim: k.Head, SeqLen: k.SeqLength}
		return func(s backend.Stream) { s.Rotary(op) }
	}}
}

// attention has 4 D operations a pair of query and key, of which causality leaves half.
func (k KernelShape) attention(a *backend.Arena, t tensor.DType) backend.Attention {
	q, kv := k.Heads*k.Head, k.Groups*k.Head
	qkv := a.Tensor(t, k.Tokens, q+2*kv)
	return backend.Attention{Q: qkv.Columns(0, q), K: qkv.Columns(q, q+kv), V: qkv.Columns(q+kv, q+2*kv), O: a.Tensor(t, k.Tokens, q),
		LSE: a.Tensor(tensor.F32, k.Tokens/k.SeqLength, k.Heads, k.SeqLength), HeadDim: k.Head, SeqLen: k.SeqLength, Scale: 0.125}
}

func (k KernelShape) pairs() float64 { return float64(k.Tokens) * float64(k.SeqLength) / 2 }

func (k KernelShape) attentionForward(t tensor.DType) kernelCase {
	q, kv := k.Heads*k.Head, k.Groups*k.Head
	return kernelCase{name: "attention forward", flops: 4 * k.pairs() * float64(q), bytes: float64(k.Tokens * (2*q + 2*kv) * t.Size()), plan: func(a *backend.Arena) func(backend.Stream) {
		op := k.attention(a, t)
		return func(s backend.Stream) { s.AttentionForward(op) }
	}}
}

func (k KernelShape) attentionBackward(t tensor.DType) kernelCase {
	q, kv := k.Heads*k.Head, k.Groups*k.Head
	return kernelCase{name: "attention backward", flops: 10 * k.pairs() * float64(q), bytes: float64(k.Tokens * (4*q + 4*kv) * t.Size()), plan: func(a *backend.Arena) func(backend.Stream) {
		d := a.Tensor(t, k.Tokens, q+2*kv)
		op := backend.AttentionGrad{Attention: k.attention(a, t), DO: a.Tensor(t, k.Tokens, q), DQ: d.Columns(0, q), DK: d.Columns(q, q+kv), DV: d.Columns(q+kv, q+2*kv)}
		return func(s backend.Stream) { s.AttentionBackward(op) }
	}}
}

func (k KernelShape) classifier(t tensor.DType) kernelCase {
	n := min(k.Tokens, 1024)
	return kernelCase{name: "classifier", flops: float64(5 * n * k.Vocab), bytes: float64(2 * n * k.Vocab * t.Size()), ids: func(a *backend.Arena) (func(backend.Stream), tensor.Tensor) {
		op := backend.CrossEntropy{Logits: a.Tensor(t, n, k.Vocab), Targets: a.Tensor(tensor.I32, n), Loss: a.Tensor(tensor.F32, n), Vocab: k.Vocab, GradScale: 1}
		return func(s backend.Stream) { s.CrossEntropy(op) }, op.Targets
	}}
}

func (k KernelShape) embedding(a *backend.Arena, t, table tensor.DType) backend.Embedding {
	return backend.Embedding{X: a.Tensor(t, k.Tokens, k.Hidden), Tokens: a.Tensor(tensor.I32, k.Tokens), Table: a.Tensor(table, k.Vocab, k.Hidden), SeqLen: k.SeqLength, Scale: 1}
}

func (k KernelShape) embeddingForward(t tensor.DType) kernelCase {
	return kernelCase{name: "embedding forward", flops: 0, bytes: float64(2 * k.Tokens * k.Hidden * t.Size()), ids: func(a *backend.Arena) (func(backend.Stream), tensor.Tensor) {
		op := k.embedding(a, t, t)
		return func(s backend.Stream) { s.EmbeddingForward(op) }, op.Tokens
	}}
}

func (k KernelShape) embeddingBackward(t tensor.DType) kernelCase {
	return kernelCase{name: "embedding backward", flops: float64(k.Tokens * k.Hidden), bytes: float64(k.Tokens * k.Hidden * (t.Size() + 8)), ids: func(a *backend.Arena) (func(backend.Stream), tensor.Tensor) {
		op := k.embedding(a, t, tensor.F32)
		return func(s backend.Stream) { s.EmbeddingBackward(op) }, op.Tokens
	}}
}

// adamw takes as many parameters as an MLP's two matrices have: one alone would half stay in a GPU's cache.
func (k KernelShape) adamw(t tensor.DType) kernelCase {
	rows := 2 * k.FFN
	n := rows * k.Hidden
	bytes := 28 * n
	if t != tensor.F32 {
		bytes += n * t.Size()
	}
	return kernelCase{name: "adamw", flops: float64(14 * n), bytes: float64(bytes), plan: func(a *backend.Arena) func(backend.Stream) {
		take := func() tensor.Tensor { return a.Tensor(tensor.F32, rows, k.Hidden) }
		op := backend.AdamW{W: take(), G: take(), M: take(), V: take(), Step: 10, LR: 1e-4, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, GradScale: 1}
		if t != tensor.F32 {
			op.Out = a.Tensor(t, rows, k.Hidden)
		}
		return func(s backend.Stream) { s.AdamW(op) }
	}}
}

func (k KernelShape) swiglu(t tensor.DType) []kernelCase {
	n, f := k.Tokens, k.FFN
	take := func(a *backend.Arena) backend.SwiGLU {
		gu := a.Tensor(t, n, 2*f)
		return backend.SwiGLU{G: gu.Columns(0, f), U: gu.Columns(f, 2*f), Y: a.Tensor(t, n, f)}
	}
	return []kernelCase{
		{name: "swiglu forward", flops: float64(6 * n * f), bytes: float64(3 * n * f * t.Size()), plan: func(a *backend.Arena) func(backend.Stream) {
			op := take(a)
			return func(s backend.Stream) { s.SwiGLUForward(op) }
		}},
		{name: "swiglu backward", flops: float64(12 * n * f), bytes: float64(5 * n * f * t.Size()), plan: func(a *backend.Arena) func(backend.Stream) {
			op := take(a)
			op.DY, op.DG, op.DU = op.Y, op.G, op.U
			return func(s backend.Stream) { s.SwiGLUBackward(op) }
		}},
	}
}
