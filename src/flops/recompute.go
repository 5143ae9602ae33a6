package flops

import (
	"fmt"

	"cambium/src/arch"
)

// Recompute is how much of the activations is computed again in the backward pass instead of being kept.
type Recompute uint8

// The kinds of recomputation, by Megatron's names.
const (
	RecomputeNone      Recompute = iota
	RecomputeSelective           // in published formulas the attention matrix; in Cambium, which never has it, all that costs no GEMM
	RecomputeFull                // everything but a layer's input
)

var recomputes = [...]string{"none", "selective", "full"}

// String is none, selective or full.
func (r Recompute) String() string { return recomputes[r] }

// ParseRecompute is the inverse of String.
func ParseRecompute(name string) (Recompute, error) {
	for r, n := range recomputes {
		if n == name {
			return Recompute(r), nil
		}
	}
	return 0, fmt.Errorf("recompute_granularity is %q: want none, selective or full", name)
}

// KeptBytes is what one layer of Cambium's model keeps of one micro-batch of N tokens for its backward pass, on each of tp
// ranks. With e bytes an element, R = N rows of the residual stream (N/tp with sequence parallelism), width C, and for each
// rank q and k columns of queries and keys, f FFN units and a heads:
//
//	none        e (4 R C + N (2 q + 2 k + 2 f)) + 4 (4 R + N a)     swiglu: 3 f for 2 f; RMSNorm: 2 R for the second 4 R
//	selective   less e (2 R C + N f): norms' outputs, activations
//	full        e R C: the layer's input
//
// These are the residual stream and the norm's output before each branch, queries, keys, values, the attention's output, the
// FFN before and after its activation, and in fp32 the norms' statistics and the softmax's. (The head keeps 2 R C more.)
func KeptBytes(m arch.Model, tokens, tp int, sequenceParallel bool, r Recompute, element int) int {
	rows, stats := tokens, 4
	if sequenceParallel {
		rows /= tp
	}
	if m.RMS() {
		stats = 2
	}
	q, k, f := m.QuerySize()/tp, m.KVSize()/tp, m.FFNHiddenSize/tp
	pre := f
	if m.SwiGLU {
		pre = 2 * f
	}
	cheap := element * (2*rows*m.HiddenSize + tokens*f)
	all := element*(4*rows*m.HiddenSize+tokens*(2*q+2*k+pre+f)) + 4*(stats*rows+tokens*m.NumAttentionHeads/tp)
	switch r {
	case RecomputeFull:
		return element * rows * m.HiddenSize
	case RecomputeSelective:
		return all - cheap
	}
	return all
}
