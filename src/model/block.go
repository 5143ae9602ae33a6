package model

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Residual is the residual stream between two parts of the model: X + Scale Delta, not yet added up. Without Delta it is
// X alone.
type Residual struct {
	X, Delta tensor.Tensor // [R, C]
	Scale    float32
}

// Block is one pre-norm transformer block:
//
//	x += Scale (attention(norm1(x)) Wo^T + bo)      x += Scale (act(norm2(x) W1^T + b1) W2^T + b2)
//
// where act is GELU, or SwiGLU over two halves; Scale is 1, or the ramp's V in a new layer. A rank computes its own heads
// and FFN units; both writers' outputs are sums over the tensor-parallel ranks.
type Block struct {
	layer            int
	d                *dims
	ramp             *ramp
	norm1, norm2     norm
	qkv, qkvBias     pair // query, key and value side by side: [(H+2K)D, C]
	dense, denseBias pair
	fc1, fc1Bias     pair // gate and fc1 side by side: [2F, C]; without SwiGLU fc1 alone: [F, C]
	fc2, fc2Bias     pair
	attn, mlp        names
	params           *Params
}

// names are what the communication of one branch is called, forward and backward.
type names struct {
	in, out       string // gather the norm's output, add up the branch's
	outGrad, kept string // gather the gradient of the branch's output, and again what it read
	inGrad        string // add up the gradient of what it read
}

func newNames(layer int, branch string) names {
	n := fmt.Sprintf("tp layer %d %s", layer, branch)
	return names{in: n + " input", out: n, outGrad: n + " gradient", kept: n + " kept input", inGrad: n + " input gradient"}
}

func newBlock(d *dims, r *ramp, p *Params, layer int) *Block {
	name := func(s string) string { return arch.LayerTensor(layer, s) }
	qkv, reader := d.query+2*d.kv, name("mlp.fc1.weight")
	readerBias, ffn := name("mlp.fc1.bias"), d.ffn
	if d.swiglu {
		reader, readerBias, ffn = name("mlp.gate.weight"), name("mlp.gate.bias"), 2*d.ffn
	}
	return &Block{
		layer: layer, d: d, ramp: r, params: p, attn: newNames(layer, "attention"), mlp: newNames(layer, "mlp"),
		norm1: newNorm(d, r, p, name("input_norm.weight"), name("input_norm.bias")),
		norm2: newNorm(d, r, p, name("post_attention_norm.weight"), name("post_attention_norm.bias")),
		qkv:   p.pair(name("attention.query.weight"), qkv, d.hidden), qkvBias: p.pair(name("attention.query.bias"), qkv),
		dense: p.named(name("attention.dense.weight")), denseBias: p.named(name("attention.dense.bias")),
		fc1: p.pair(reader, ffn, d.hidden), fc1Bias: p.pair(readerBias, ffn),
		fc2: p.named(name("mlp.fc2.weight")), fc2Bias: p.named(name("mlp.fc2.bias")),
	}
}

// Forward keeps in c what Backward needs and leaves the second branch in out, which must not be a tensor of c other than Y1.
func (b *Block) Forward(s backend.Stream, in Residual, c *Cache, out tensor.Tensor) Residual {
	b.attend(s, in, c)
	b.feed(s, c)
	b.write(s, b.fc2, b.fc2Bias, c.Act, out, b.mlp.out)
	return Residual{X: c.X2, Delta: out, Scale: b.ramp.branch(b.layer)}
}

// attend is the first branch and the norm behind it.
func (b *Block) attend(s backend.Stream, in Residual, c *Cache) {
	b.norm1.forward(s, in, c.X1, c.Y1, c.Mean1, c.RStd1)
	y := b.d.tp.gather(s, b.attn.in, c.Y1)
	s.Gemm(backend.Gemm{C: c.QKV, A: y, B: b.qkv.w, TransB: true, Bias: b.qkvBias.w})
	b.rotate(s, c.QKV, false)
	s.AttentionForward(b.attention(c))
	b.write(s, b.dense, b.denseBias, c.O, c.Y2, b.attn.out)
	b.norm2.forward(s, Residual{X: c.X1, Delta: c.Y2, Scale: b.ramp.branch(b.layer)}, c.X2, c.Y2, c.Mean2, c.RStd2)
}

// feed is Act = m act(Y2 W1^T + b1).
func (b *Block) feed(s backend.Stream, c *Cache) {
	y := b.d.tp.gather(s, b.mlp.in, c.Y2)
	if b.d.swiglu {
		s.Gemm(backend.Gemm{C: c.Pre, A: y, B: b.fc1.w, TransB: true, Bias: b.fc1Bias.w})
		s.SwiGLUForward(backend.SwiGLU{G: c.Pre.Columns(0, b.d.ffn), U: c.Pre.Columns(b.d.ffn, 2*b.d.ffn), Y: c.Act})
	} else {
		s.Gemm(backend.Gemm{C: c.Act, A: y, B: b.fc1.w, TransB: true, Bias: b.fc1Bias.w, Act: backend.GELU, Pre: c.Pre})
	}
	b.maskUnits(s, c.Act)
}

// write is y = x W^T + b, summed over the ranks: one of them adds the bias.
func (b *Block) write(s backend.Stream, w, bias pair, x, y tensor.Tensor, name string) {
	tp := b.d.tp
	s.Gemm(backend.Gemm{C: tp.partial(y), A: x, B: w.w, TransB: true, Bias: tp.first(bias.w)})
	tp.add(s, name, y)
}

// maskUnits scales the FFN units (or their gradients) in a ramp.
func (b *Block) maskUnits(s backend.Stream, x tensor.Tensor) {
	if mask := b.ramp.ffnMask(b.layer); mask.Present() {
		s.ScaleColumns(x, mask)
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
