package flops

// Precision is the number of bytes that training keeps for each parameter.
type Precision struct {
	Weights   int // what the model computes with
	Gradients int // what micro-batches accumulate into
	Optimizer int // fp32 master weights (where Weights are not fp32 themselves) and the two Adam moments
}

// FP32 computes in single precision: 4 + 4 + 8 bytes.
func FP32() Precision { return Precision{Weights: 4, Gradients: 4, Optimizer: 8} }

// Mixed computes in a 16-bit type and accumulates gradients in fp32: 2 + 4 + 12 bytes.
func Mixed() Precision { return Precision{Weights: 2, Gradients: 4, Optimizer: 12} }

// State is the memory of one rank in bytes, activations left out.
type State struct{ Weights, Gradients, Optimizer float64 }

// Total is the sum.
func (s State) Total() float64 { return s.Weights + s.Gradients + s.Optimizer }

// StateBytes is the memory for parameters that dp ranks hold together: weights and gradients on each, the optimizer's
// state split among them (Megatron-LM, distributed optimizer: 8 + 8/dp bytes a parameter in fp32, 6 + 12/dp mixed;
// ZeRO stage 1, arXiv 1910.02054).
func StateBytes(parameters int, p Precision, dp int) State {
	n := float64(parameters)
	return State{n * float64(p.Weights), n * float64(p.Gradients), n * float64(p.Optimizer) / float64(dp)}
}

// LayerShape is what the activations of one transformer layer depend on.
type LayerShape struct {
	SeqLength, MicroBatch, HiddenSize, Heads int
	TensorParallel                           int // 0 means 1
	SequenceParallel                         bool
}

// LayerActivationBytes is what one GPT layer with 16-bit activations and dropout keeps for its backward pass
// (Korthikanti et al., arXiv 2205.05198, table 2), with s, b, h, a, t as in LayerShape:
//
//	none        s b h (34 + 5 a s/h)         t: s b h (10 + 24/t + 5 a s/(h t))     and sequence parallel: all of it / t
//	selective   s b h 34                     t: s b h (10 + 24/t)                   and sequence parallel: all of it / t
//	full        s b h 2                      on every rank; sequence parallel splits it
//
// It is the figure that published tables compare by. What Cambium's own model keeps is KeptBytes.
func LayerActivationBytes(l LayerShape, r Recompute) float64 {
	s, h, t := float64(l.SeqLength), float64(l.HiddenSize), float64(max(l.TensorParallel, 1))
	sbh := s * float64(l.MicroBatch) * h
	whole := 10.0 // norms and dropout: split by sequence parallelism only
	if l.SequenceParallel {
		whole /= t
	}
	switch r {
	case RecomputeFull:
		return sbh * 2 * whole / 10
	case RecomputeSelective:
		return sbh * (whole + 24/t)
	}
	return sbh * (whole + 24/t + 5*float64(l.Heads)*s/(h*t))
}
