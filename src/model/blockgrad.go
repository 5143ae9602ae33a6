package model

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Backward takes the gradient of the block's output in f.out and leaves that of its input in f.in; the three tensors of the
// stream may be one. With weights, gradients of all parameters are added up; without, those of the norms only, and
// WeightGrads adds the others from c and f.
func (b *Block) Backward(s backend.Stream, c *Cache, f flow, w *Scratch, weights bool) {
	add, addNorms := weights && b.params.accumulates(1+b.layer), b.params.accumulatesNorms(1+b.layer)
	if b.d.recompute == RecomputeFull {
		b.attend(s, Residual{X: c.X1}, c)
		b.feed(s, c)
	}
	b.mlpBackward(s, c, f, w, weights, add)
	b.norm2.backward(s, c.X2, w.DY, f.mid, f.out, c.Mean2, c.RStd2, addNorms)
	b.attentionBackward(s, c, f, w, weights, add)
	b.norm1.backward(s, c.X1, w.DY, f.in, f.mid, c.Mean1, c.RStd1, addNorms)
}

// mlpBackward leaves the gradient of what the MLP read in w.DY; so does attentionBackward.
func (b *Block) mlpBackward(s backend.Stream, c *Cache, f flow, w *Scratch, weights, add bool) {
	tp, scale := b.d.tp, b.ramp.branch(b.layer)
	if b.d.recompute == RecomputeSelective {
		b.norm2.forward(s, Residual{X: c.X2}, c.X2, c.Y2, c.Mean2, c.RStd2)
		b.activateAgain(s, c)
	}
	out := tp.gather(s, b.mlp.outGrad, f.out)
	if weights {
		b.writerGrad(s, b.fc2, b.fc2Bias, w, out, c.Act, scale, add)
	}
	b.activateBackward(s, c, w, out, scale)
	if weights {
		readerGrad(s, b.fc1, b.fc1Bias, c.Pre, tp.gather(s, b.mlp.kept, c.Y2), add)
	}
	b.readerInput(s, b.fc1, c.Pre, w, b.mlp.inGrad)
}

func (b *Block) attentionBackward(s backend.Stream, c *Cache, f flow, w *Scratch, weights, add bool) {
	tp, scale := b.d.tp, b.ramp.branch(b.layer)
	mid := tp.gather(s, b.attn.outGrad, f.mid)
	if weights {
		b.writerGrad(s, b.dense, b.denseBias, w, mid, c.O, scale, add)
	}
	s.Gemm(backend.Gemm{C: w.DO, A: mid, B: b.dense.w, Alpha: scale})
	s.AttentionBackward(backend.AttentionGrad{Attention: b.attention(c), DO: w.DO, DQ: b.queries(f.qkv),
		DK: b.keys(f.qkv), DV: b.values(f.qkv)})
	b.rotate(s, f.qkv, true)
	if weights {
		if b.d.recompute == RecomputeSelective {
			b.norm1.forward(s, Residual{X: c.X1}, c.X1, c.Y1, c.Mean1, c.RStd1)
		}
		readerGrad(s, b.qkv, b.qkvBias, f.qkv, tp.gather(s, b.attn.kept, c.Y1), add)
	}
	b.readerInput(s, b.qkv, f.qkv, w, b.attn.inGrad)
}

// WeightGrads adds the gradients that Backward left out.
func (b *Block) WeightGrads(s backend.Stream, c *Cache, f flow, w *Scratch) {
	tp, scale, add := b.d.tp, b.ramp.branch(b.layer), b.params.accumulates(1+b.layer)
	b.writerGrad(s, b.fc2, b.fc2Bias, w, tp.gather(s, b.mlp.outGrad, f.out), c.Act, scale, add)
	readerGrad(s, b.fc1, b.fc1Bias, c.Pre, tp.gather(s, b.mlp.kept, c.Y2), add)
	b.writerGrad(s, b.dense, b.denseBias, w, tp.gather(s, b.attn.outGrad, f.mid), c.O, scale, add)
	readerGrad(s, b.qkv, b.qkvBias, f.qkv, tp.gather(s, b.attn.kept, c.Y1), add)
}

// activateBackward leaves the gradient of the pre-activation in c.Pre, given that of the branch's output.
func (b *Block) activateBackward(s backend.Stream, c *Cache, w *Scratch, out tensor.Tensor, scale float32) {
	if b.d.swiglu {
		g, u := c.Pre.Columns(0, b.d.ffn), c.Pre.Columns(b.d.ffn, 2*b.d.ffn)
		s.Gemm(backend.Gemm{C: w.DAct, A: out, B: b.fc2.w, Alpha: scale})
		b.maskUnits(s, w.DAct)
		s.SwiGLUBackward(backend.SwiGLU{G: g, U: u, DY: w.DAct, DG: g, DU: u})
		return
	}
	s.Gemm(backend.Gemm{C: c.Pre, A: out, B: b.fc2.w, Alpha: scale, Act: backend.GELUGrad, Pre: c.Pre})
	b.maskUnits(s, c.Pre)
}

// activateAgain computes Act from the pre-activation that was kept.
func (b *Block) activateAgain(s backend.Stream, c *Cache) {
	if b.d.swiglu {
		s.SwiGLUForward(backend.SwiGLU{G: c.Pre.Columns(0, b.d.ffn), U: c.Pre.Columns(b.d.ffn, 2*b.d.ffn), Y: c.Act})
	} else {
		s.GELUForward(c.Act, c.Pre)
	}
	b.maskUnits(s, c.Act)
}

// readerInput is w.DY = dy W, summed over the ranks: the gradient of what a reader y = x W^T + b read.
func (b *Block) readerInput(s backend.Stream, weight pair, dy tensor.Tensor, w *Scratch, name string) {
	s.Gemm(backend.Gemm{C: b.d.tp.partial(w.DY), A: dy, B: weight.w})
	b.d.tp.add(s, name, w.DY)
}

// writerGrad writes, or adds, the gradients of a writer y = x W^T + b whose output gradient is scale dy, dy [N, C]. The bias, which
// every rank holds, has the whole gradient on every rank.
func (b *Block) writerGrad(s backend.Stream, weight, bias pair, w *Scratch, dy, x tensor.Tensor, scale float32, add bool) {
	s.Gemm(backend.Gemm{C: weight.g, A: dy, TransA: true, B: x, Alpha: scale, Accumulate: add})
	switch {
	case !bias.g.Present():
	case scale == 1:
		s.ColumnSum(bias.g, dy, add)
	case !add:
		s.ColumnSum(bias.g, dy, false)
		s.Scale(bias.g, scale)
	default:
		s.ColumnSum(w.Row, dy, false)
		s.Axpy(bias.g, w.Row, scale)
	}
}

// readerGrad writes, or adds, the gradients of a reader y = x W^T + b.
func readerGrad(s backend.Stream, weight, bias pair, dy, x tensor.Tensor, add bool) {
	s.Gemm(backend.Gemm{C: weight.g, A: dy, TransA: true, B: x, Accumulate: add})
	if bias.g.Present() {
		s.ColumnSum(bias.g, dy, add)
	}
}
