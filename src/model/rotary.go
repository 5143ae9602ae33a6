package model

import (
	"math"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// tables are the cosines and sines of backend.Rotary, [SeqLength, D/2], in fp32.
type tables struct{ cos, sin tensor.Tensor }

// planTables takes memory for the rotary tables. RoPE turns queries and keys alike.
func (d *dims) planTables(a *backend.Arena) {
	take := func() tables {
		return tables{cos: a.Tensor(tensor.F32, d.seq, d.headDim/2), sin: a.Tensor(tensor.F32, d.seq, d.headDim/2)}
	}
	switch d.position {
	case arch.PositionRope:
		d.queryTables = take()
		d.keyTables = d.queryTables
	case arch.PositionXPos:
		d.queryTables, d.keyTables = take(), take()
	}
}

// fillTables computes the rotary tables before the first pass. With w_i = base^(-2i/D), i < D/2:
//
//	RoPE (arXiv 2104.09864): cos(n w_i), sin(n w_i)
//	xPos (arXiv 2212.10554): the same times zeta_i^p for queries and zeta_i^-p for keys,
//	  zeta_i = (2i + 0.4 D)/(1.4 D),  p = (n - floor(SeqLength/2))/scale base
//
// Scores depend on differences of positions only; counting from the middle keeps the powers small.
func (d *dims) fillTables(s backend.Stream) {
	if d.tablesFilled || !d.queryTables.cos.Present() {
		return
	}
	d.tablesFilled = true
	d.fillTable(s, d.queryTables, +1)
	if d.position == arch.PositionXPos {
		d.fillTable(s, d.keyTables, -1)
	}
}

func (d *dims) fillTable(s backend.Stream, t tables, sign float64) {
	half, size := d.headDim/2, float64(d.headDim)
	cos, sin := make([]float32, d.seq*half), make([]float32, d.seq*half)
	for n := range d.seq {
		for i := range half {
			angle, scale := float64(n)*math.Pow(d.rotaryBase, -2*float64(i)/size), 1.0
			if d.position == arch.PositionXPos {
				zeta := (2*float64(i) + 0.4*size) / (1.4 * size)
				scale = math.Pow(zeta, sign*float64(n-d.seq/2)/d.rotaryScales)
			}
			cos[n*half+i], sin[n*half+i] = float32(scale*math.Cos(angle)), float32(scale*math.Sin(angle))
		}
	}
	s.Upload(t.cos, tensor.HostBytes(cos))
	s.Upload(t.sin, tensor.HostBytes(sin))
}
