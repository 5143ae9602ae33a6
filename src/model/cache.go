package model

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Cache is what one block keeps of one micro-batch for its backward pass. Tensors of the residual stream and the norms have
// the rank's rows of it, R = N or N/tp; the others all tokens N and the rank's share of heads H, K and FFN units F.
// The backward pass overwrites Pre.
type Cache struct {
	X1, Y1, X2, Y2             tensor.Tensor // [R, C]: residual stream and norm output, before either branch
	Mean1, RStd1, Mean2, RStd2 tensor.Tensor // fp32 [R]
	QKV                        tensor.Tensor // [N, (H+2K)D], after the rotation
	O                          tensor.Tensor // [N, H*D]
	LSE                        tensor.Tensor // fp32 [B, H, T]
	Pre, Act                   tensor.Tensor // [N, F] ([N, 2F] with SwiGLU) before, [N, F] after the activation
}

// kind says which tensors of a Cache go together.
type kind uint8

const (
	input kind = iota // X1: what no layer can do without
	cheap             // what can be computed again without a GEMM
	rest
)

// kept tells whether every layer has its own tensors of a kind, or all of a rank share one set.
func (d *dims) kept(k kind) bool {
	switch {
	case d.inference:
		return false
	case d.recompute == RecomputeFull:
		return k == input
	case d.recompute == RecomputeSelective:
		return k != cheap
	}
	return true
}

// plan takes memory for those tensors whose kind is kept, or for those whose kind is not.
func (c *Cache) plan(a *backend.Arena, d *dims, kept bool) {
	take := func(dst *tensor.Tensor, k kind, t tensor.DType, dims ...int) {
		if d.kept(k) == kept {
			*dst = a.Tensor(t, dims...)
		}
	}
	row := func(mean, rstd *tensor.Tensor) {
		if !d.rms {
			take(mean, rest, tensor.F32, d.rows)
		}
		take(rstd, rest, tensor.F32, d.rows)
	}
	take(&c.X1, input, d.dtype, d.rows, d.hidden)
	take(&c.Y1, cheap, d.dtype, d.rows, d.hidden)
	row(&c.Mean1, &c.RStd1)
	take(&c.QKV, rest, d.dtype, d.tokens, d.query+2*d.kv)
	take(&c.O, rest, d.dtype, d.tokens, d.query)
	take(&c.LSE, rest, tensor.F32, d.tokens/d.seq, d.heads, d.seq)
	if !d.inference { // else the stream is updated in place, and no pre-activation is kept
		take(&c.X2, rest, d.dtype, d.rows, d.hidden)
	}
	take(&c.Y2, cheap, d.dtype, d.rows, d.hidden)
	row(&c.Mean2, &c.RStd2)
	switch {
	case d.swiglu:
		take(&c.Pre, rest, d.dtype, d.tokens, 2*d.ffn)
	case !d.inference:
		take(&c.Pre, rest, d.dtype, d.tokens, d.ffn)
	}
	take(&c.Act, cheap, d.dtype, d.tokens, d.ffn)
}

// slot is the memory of one pass through one of the rank's runs of layers.
type slot struct {
	caches []Cache
	flows  []flow // with SplitBackward, by layer
	head   HeadCache
}

// plan takes the memory of a pass through n layers. common is what all layers of the rank share.
func (c *slot) plan(a *backend.Arena, d *dims, common Cache, n int, last bool) {
	c.caches = make([]Cache, n)
	for l := range c.caches {
		one := &c.caches[l]
		*one = common
		one.plan(a, d, true)
		if d.inference {
			if l == 0 {
				one.X1 = a.Tensor(d.dtype, d.rows, d.hidden)
			} else {
				one.X1 = c.caches[0].X1
			}
			one.X2 = one.X1
		}
	}
	if last {
		c.head.plan(a, d)
	}
	if d.split {
		c.planFlows(a, d)
	}
}

// flow is where a block's backward pass finds and leaves gradients: of the residual stream behind the block, between its
// branches and before it, all [R, C], and of queries, keys and values.
type flow struct{ out, mid, in, qkv tensor.Tensor }

// planFlows finds memory for what BackwardWeight needs of BackwardInput. One set is new: the last layer's. Every other layer
// writes over activations of the layer behind it, of which the input part has no further use and which the weight part
// does not read: X2, X1 and QKV. The first layer's in is the caller's.
func (c *slot) planFlows(a *backend.Arena, d *dims) {
	n := len(c.caches)
	c.flows = make([]flow, n)
	for l := range c.flows {
		f := &c.flows[l]
		if l < n-1 {
			behind := &c.caches[l+1]
			f.out, f.mid, f.qkv = behind.X2, behind.X1, behind.QKV
		} else {
			f.out, f.mid = a.Tensor(d.dtype, d.rows, d.hidden), a.Tensor(d.dtype, d.rows, d.hidden)
			f.qkv = a.Tensor(d.dtype, d.tokens, d.query+2*d.kv)
		}
		if l > 0 {
			f.in = c.caches[l].X2
		}
	}
}

// Scratch is memory that all blocks of a rank share in the backward pass.
type Scratch struct {
	DX   tensor.Tensor // [R, C]: gradient of the residual stream; of models that have all layers on one stage
	DY   tensor.Tensor // [R, C]: gradient of a norm's output
	DO   tensor.Tensor // [N, H*D]
	DQKV tensor.Tensor // [N, (H+2K)D]; without SplitBackward
	DAct tensor.Tensor // [N, F], SwiGLU only
	Row  tensor.Tensor // fp32 [C]
}

func (c *Scratch) plan(a *backend.Arena, d *dims, whole bool) {
	stream := func() tensor.Tensor { return a.Tensor(d.dtype, d.rows, d.hidden) }
	if whole {
		c.DX = stream()
	}
	c.DY = stream()
	c.DO = a.Tensor(d.dtype, d.tokens, d.query)
	if !d.split {
		c.DQKV = a.Tensor(d.dtype, d.tokens, d.query+2*d.kv)
	}
	c.Row = a.Tensor(tensor.F32, d.hidden)
	if d.swiglu {
		c.DAct = a.Tensor(d.dtype, d.tokens, d.ffn)
	}
}
