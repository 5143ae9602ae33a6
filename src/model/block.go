package model

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Residual is the residual stream between two parts of the model: X + Scale Delta, not yet added up. Without Delta it is
// X alone.
type Residual struct {
	X, Delta tensor.Tensor // [N, C]
	Scale    float32
}

// Block is one pre-norm transformer block:
//
//	x += Scale (attention(norm1(x)) Wo^T + bo)      x += Scale (act(norm2(x) W1^T + b1) W2^T + b2)
//
// where act is GELU, or SwiGLU over two halves; Scale is 1, or the ramp's V in a new layer.
type Block struct {
	layer            int
	d                *dims
	ramp             *ramp
	norm1, norm2     norm
	qkv, qkvBias     pair // query, key and value side by side: [(H+2K)D, C]
	dense, denseBias pair
	fc1, fc1Bias     pair // gate and fc1 side by side: [2F, C]; without SwiGLU fc1 alone: [F, C]
	fc2, fc2Bias     pair
}

// Cache is what one block keeps of one micro-batch for its backward pass. The backward pass overwrites Pre.
type Cache struct {
	X1, Y1, X2, Y2             tensor.Tensor // [N, C]: residual stream and norm output, before either branch
	Mean1, RStd1, Mean2, RStd2 tensor.Tensor // [N]
	QKV                        tensor.Tensor // [N, (H+2K)D], after the rotation
	O                          tensor.Tensor // [N, H*D]
	LSE                        tensor.Tensor // [B, H, T]
	Pre, Act                   tensor.Tensor // [N, F] ([N, 2F] with SwiGLU) before, [N, F] after the activation
}

// plan takes the memory of a cache. For inference the stream is updated in place and no pre-activation is kept.
func (c *Cache) plan(a *backend.Arena, d *dims) {
	vector := func() tensor.Tensor { return a.Tensor(tensor.F32, d.tokens) }
	matrix := func(cols int) tensor.Tensor { return a.Tensor(tensor.F32, d.tokens, cols) }
	mean := func() (t tensor.Tensor) {
		if !d.rms {
			t = vector()
		}
		return t
	}
	c.X1, c.Y1, c.Mean1, c.RStd1 = matrix(d.hidden), matrix(d.hidden), mean(), vector()
	c.X2, c.Y2, c.Mean2, c.RStd2 = c.X1, c.Y1, c.Mean1, c.RStd1
	if !d.inference {
		c.X2, c.Y2, c.Mean2, c.RStd2 = matrix(d.hidden), matrix(d.hidden), mean(), vector()
	}
	c.QKV, c.O = matrix(d.query+2*d.kv), matrix(d.query)
	c.LSE = a.Tensor(tensor.F32, d.tokens/d.seq, d.heads, d.seq)
	switch c.Act = matrix(d.ffn); {
	case d.swiglu:
		c.Pre = matrix(2 * d.ffn)
	case !d.inference:
		c.Pre = matrix(d.ffn)
	}
}

// Scratch is memory that all blocks of a rank share in the backward pass.
type Scratch struct {
	DX, DY tensor.Tensor // [N, C]: gradient of the residual stream; of a norm's output
	DO     tensor.Tensor // [N, H*D]
	DQKV   tensor.Tensor // [N, (H+2K)D]
	DAct   tensor.Tensor // [N, F], SwiGLU only
	Row    tensor.Tensor // [C]

	Accumulate bool // matrices' gradients are added to, not overwritten
}

func (c *Scratch) plan(a *backend.Arena, d *dims) {
	matrix := func(cols int) tensor.Tensor { return a.Tensor(tensor.F32, d.tokens, cols) }
	c.DX, c.DY, c.DO, c.DQKV = matrix(d.hidden), matrix(d.hidden), matrix(d.query), matrix(d.query+2*d.kv)
	c.Row = a.Tensor(tensor.F32, d.hidden)
	if d.swiglu {
		c.DAct = matrix(d.ffn)
	}
}

func newBlock(d *dims, r *ramp, p *Params, layer int) *Block {
	name := func(s string) string { return arch.LayerTensor(layer, s) }
	b := &Block{layer: layer, d: d, ramp: r,
		norm1:     newNorm(d, r, p, name("input_norm.weight"), name("input_norm.bias")),
		norm2:     newNorm(d, r, p, name("post_attention_norm.weight"), name("post_attention_norm.bias")),
		qkv:       p.pair(name("attention.query.weight"), d.query+2*d.kv, d.hidden),
		qkvBias:   p.pair(name("attention.query.bias"), d.query+2*d.kv),
		dense:     p.named(name("attention.dense.weight")),
		denseBias: p.named(name("attention.dense.bias")),
		fc1:       p.named(name("mlp.fc1.weight")),
		fc1Bias:   p.named(name("mlp.fc1.bias")),
		fc2:       p.named(name("mlp.fc2.weight")),
		fc2Bias:   p.named(name("mlp.fc2.bias")),
	}
	if d.swiglu {
		b.fc1 = p.pair(name("mlp.gate.weight"), 2*d.ffn, d.hidden)
		b.fc1Bias = p.pair(name("mlp.gate.bias"), 2*d.ffn)
	}
	return b
}

// Forward runs the block. The result's Delta is written to out [N, C], which may be the memory in which the next norm puts
// its output.
func (b *Block) Forward(s backend.Stream, in Residual, c *Cache, out tensor.Tensor) Residual {
	scale := b.ramp.branch(b.layer)
	b.norm1.forward(s, in, c.X1, c.Y1, c.Mean1, c.RStd1)
	s.Gemm(backend.Gemm{C: c.QKV, A: c.Y1, B: b.qkv.w, TransB: true, Bias: b.qkvBias.w})
	b.rotate(s, c.QKV, false)
	s.AttentionForward(b.attention(c))
	s.Gemm(backend.Gemm{C: c.Y2, A: c.O, B: b.dense.w, TransB: true, Bias: b.denseBias.w})
	b.norm2.forward(s, Residual{X: c.X1, Delta: c.Y2, Scale: scale}, c.X2, c.Y2, c.Mean2, c.RStd2)
	b.activate(s, c)
	s.Gemm(backend.Gemm{C: out, A: c.Act, B: b.fc2.w, TransB: true, Bias: b.fc2Bias.w})
	return Residual{X: c.X2, Delta: out, Scale: scale}
}

// activate is Act = m act(Y2 W1^T + b1).
func (b *Block) activate(s backend.Stream, c *Cache) {
	if b.d.swiglu {
		s.Gemm(backend.Gemm{C: c.Pre, A: c.Y2, B: b.fc1.w, TransB: true, Bias: b.fc1Bias.w})
		s.SwiGLUForward(backend.SwiGLU{G: c.Pre.Columns(0, b.d.ffn), U: c.Pre.Columns(b.d.ffn, 2*b.d.ffn), Y: c.Act})
	} else {
		s.Gemm(backend.Gemm{C: c.Act, A: c.Y2, B: b.fc1.w, TransB: true, Bias: b.fc1Bias.w, Act: backend.GELU, Pre: c.Pre})
	}
	if mask := b.ramp.ffnMask(b.layer); mask.Present() {
		s.ScaleColumns(c.Act, mask)
	}
}

// Backward takes the gradient of the block's output in w.DX and leaves that of its input there; gradients of
// parameters are added up.
func (b *Block) Backward(s backend.Stream, c *Cache, w *Scratch) {
	scale := b.ramp.branch(b.layer)
	b.writerGrad(s, b.fc2, b.fc2Bias, w, c.Act, scale)
	b.activateBackward(s, c, w, scale)
	readerGrad(s, b.fc1, b.fc1Bias, c.Pre, c.Y2, w.Accumulate)
	s.Gemm(backend.Gemm{C: w.DY, A: c.Pre, B: b.fc1.w})
	b.norm2.backward(s, c.X2, w.DY, w.DX, w.DX, c.Mean2, c.RStd2)

	b.writerGrad(s, b.dense, b.denseBias, w, c.O, scale)
	s.Gemm(backend.Gemm{C: w.DO, A: w.DX, B: b.dense.w, Alpha: scale})
	s.AttentionBackward(backend.AttentionGrad{Attention: b.attention(c), DO: w.DO, DQ: b.queries(w.DQKV),
		DK: b.keys(w.DQKV), DV: b.values(w.DQKV)})
	b.rotate(s, w.DQKV, true)
	readerGrad(s, b.qkv, b.qkvBias, w.DQKV, c.Y1, w.Accumulate)
	s.Gemm(backend.Gemm{C: w.DY, A: w.DQKV, B: b.qkv.w})
	b.norm1.backward(s, c.X1, w.DY, w.DX, w.DX, c.Mean1, c.RStd1)
}

// activateBackward leaves the gradient of the pre-activation in c.Pre.
func (b *Block) activateBackward(s backend.Stream, c *Cache, w *Scratch, scale float32) {
	mask := b.ramp.ffnMask(b.layer)
	if b.d.swiglu {
		g, u := c.Pre.Columns(0, b.d.ffn), c.Pre.Columns(b.d.ffn, 2*b.d.ffn)
		s.Gemm(backend.Gemm{C: w.DAct, A: w.DX, B: b.fc2.w, Alpha: scale})
		if mask.Present() {
			s.ScaleColumns(w.DAct, mask)
		}
		s.SwiGLUBackward(backend.SwiGLU{G: g, U: u, DY: w.DAct, DG: g, DU: u})
		return
	}
	s.Gemm(backend.Gemm{C: c.Pre, A: w.DX, B: b.fc2.w, Alpha: scale, Act: backend.GELUGrad, Pre: c.Pre})
	if mask.Present() {
		s.ScaleColumns(c.Pre, mask)
	}
}

// writerGrad adds the gradients of a writer y = x W^T + b whose output gradient is scale DX.
func (b *Block) writerGrad(s backend.Stream, weight, bias pair, w *Scratch, x tensor.Tensor, scale float32) {
	s.Gemm(backend.Gemm{C: weight.g, A: w.DX, TransA: true, B: x, Alpha: scale, Accumulate: w.Accumulate})
	switch {
	case !bias.g.Present():
	case scale == 1:
		s.ColumnSum(bias.g, w.DX, true)
	default:
		s.ColumnSum(w.Row, w.DX, false)
		s.Axpy(bias.g, w.Row, scale)
	}
}

// readerGrad adds the gradients of a reader y = x W^T + b.
func readerGrad(s backend.Stream, weight, bias pair, dy, x tensor.Tensor, accumulate bool) {
	s.Gemm(backend.Gemm{C: weight.g, A: dy, TransA: true, B: x, Accumulate: accumulate})
	if bias.g.Present() {
		s.ColumnSum(bias.g, dy, true)
	}
}

func (b *Block) queries(qkv tensor.Tensor) tensor.Tensor { return qkv.Columns(0, b.d.query) }
func (b *Block) keys(qkv tensor.Tensor) tensor.Tensor {
	return qkv.Columns(b.d.query, b.d.query+b.d.kv)
}
func (b *Block) values(qkv tensor.Tensor) tensor.Tensor {
	return qkv.Columns(b.d.query+b.d.kv, b.d.query+2*b.d.kv)
}

func (b *Block) attention(c *Cache) backend.Attention {
	return backend.Attention{Q: b.queries(c.QKV), K: b.keys(c.QKV), V: b.values(c.QKV), O: c.O, LSE: c.LSE,
		HeadDim: b.d.headDim, SeqLen: b.d.seq, Scale: b.d.attentionScale, HeadScale: b.ramp.headMask(b.layer)}
}

// rotate applies the positions to queries and keys in place; inverse is the transposed map of the backward pass.
func (b *Block) rotate(s backend.Stream, qkv tensor.Tensor, inverse bool) {
	d := b.d
	r := backend.Rotary{HeadDim: d.headDim, SeqLen: d.seq, Inverse: inverse}
	switch d.position {
	case arch.PositionRope: // one table: queries and keys are heads side by side
		r.X, r.Cos, r.Sin = qkv.Columns(0, d.query+d.kv), d.queryTables.cos, d.queryTables.sin
		s.Rotary(r)
	case arch.PositionXPos:
		r.X, r.Cos, r.Sin = b.queries(qkv), d.queryTables.cos, d.queryTables.sin
		s.Rotary(r)
		r.X, r.Cos, r.Sin = b.keys(qkv), d.keyTables.cos, d.keyTables.sin
		s.Rotary(r)
	}
}
