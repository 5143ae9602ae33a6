package growth

import (
	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/optim"
	"cambium/src/tensor"
)

// moveMoments brings the moments of old entries to the ranks that own them now: what stays on a rank is copied in place, the
// rest goes through staging in messages that all ranks cut at the same transfers.
func (e *engine) moveMoments() error {
	for _, kind := range []string{optim.ExpAvg, optim.ExpAvgSq} {
		var batch []layout.Transfer
		e.clearCounts()
		for _, t := range e.momentMoves {
			if t.Local() {
				if t.SrcRank == e.DP.Rank() {
					e.Stream.Copy(e.newMoment(kind, t), e.oldMoment(kind, t))
				}
				continue
			}
			n := t.Src.Volume()
			if e.exchangedOut[t.SrcRank]+n > e.half || e.exchangedIn[t.DstRank]+n > e.half {
				e.exchange(kind, batch)
				batch = batch[:0]
				e.clearCounts()
			}
			e.exchangedOut[t.SrcRank] += n
			e.exchangedIn[t.DstRank] += n
			batch = append(batch, t)
		}
		if len(batch) > 0 {
			e.exchange(kind, batch)
		}
		e.rescale(kind)
	}
	return e.Stream.Sync()
}

func (e *engine) clearCounts() {
	n := e.DP.Size()
	e.exchangedOut, e.exchangedIn = make([]int, n), make([]int, n)
}

func (e *engine) oldMoment(kind string, t layout.Transfer) tensor.Tensor {
	p := e.oldPieces[pieceKey{e.oldO.Tensors[t.SrcTensor].Name, kind}]
	return view(p.Data, p.Box, t.Src)
}

func (e *engine) newMoment(kind string, t layout.Transfer) tensor.Tensor {
	p := e.newPieces[pieceKey{e.newO.Tensors[t.DstTensor].Name, kind}]
	return view(p.Data, p.Box, t.Dst)
}

// exchange sends one batch: pack by receiver, one all-to-all, unpack by sender. Both sides meet the transfers of a pair in
// the order of the plan.
func (e *engine) exchange(kind string, batch []layout.Transfer) {
	me, ranks := e.DP.Rank(), e.DP.Size()
	out, in := make([]int, ranks+1), make([]int, ranks+1) // where each peer's piece begins
	for _, t := range batch {
		if t.SrcRank == me {
			out[t.DstRank+1] += t.Src.Volume()
		}
		if t.DstRank == me {
			in[t.SrcRank+1] += t.Src.Volume()
		}
	}
	send, recv := make([]tensor.Tensor, ranks), make([]tensor.Tensor, ranks)
	for r := range ranks {
		send[r], recv[r] = e.stage(0, out[r], out[r+1]), e.stage(e.half, in[r], in[r+1])
		out[r+1] += out[r]
		in[r+1] += in[r]
	}
	e.eachOf(batch, out, func(t layout.Transfer) (bool, int) { return t.SrcRank == me, t.DstRank }, func(t layout.Transfer, at int) {
		from := e.oldMoment(kind, t)
		e.Stream.Copy(e.stage(0, at, t.Src.Volume()).Reshape(from.Dims()...), from)
	})
	e.DP.AllToAll(e.Stream, "growth "+kind, send, recv)
	e.eachOf(batch, in, func(t layout.Transfer) (bool, int) { return t.DstRank == me, t.SrcRank }, func(t layout.Transfer, at int) {
		to := e.newMoment(kind, t)
		e.Stream.Copy(to, e.stage(e.half, at, t.Src.Volume()).Reshape(to.Dims()...))
	})
}

// eachOf calls f for the transfers that concern this rank with their place in staging.
func (e *engine) eachOf(batch []layout.Transfer, begin []int, peer func(layout.Transfer) (mine bool, peer int), f func(t layout.Transfer, at int)) {
	at := append([]int(nil), begin...)
	for _, t := range batch {
		if mine, r := peer(t); mine {
			f(t, at[r])
			at[r] += t.Src.Volume()
		}
	}
}

// stage is n elements of a half of staging, absent when n is 0.
func (e *engine) stage(half, at, n int) tensor.Tensor {
	if n == 0 {
		return tensor.Tensor{}
	}
	return tensor.New(e.staging, (half+at)*tensor.F32.Size(), tensor.F32, n)
}

// rescale divides moments by the factor of their weights, once or twice: the gradient with respect to c w is 1/c of that
// with respect to w. New entries are zero, so whole pieces can be scaled.
func (e *engine) rescale(kind string) {
	for _, p := range e.new.Optimizer.State() {
		c := e.Plan.Factor(p.Tensor)
		if p.Kind != kind || c == 1 {
			continue
		}
		if kind == optim.ExpAvgSq {
			c *= c
		}
		e.Stream.Scale(p.Data, float32(1/c))
	}
}

// silent tells whether a parameter of a copied layer must start at zero all the same: under zero nothing leaves a new layer.
func (p *Plan) silent(t arch.Tensor) bool {
	return p.Options.Operator == Zero && p.isNewLayer(t) && writes(t)
}
