package parity

import (
	"math"
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
)

// Tolerances of fp32 against fp64: relative to the largest element of the tensor. A gradient that is zero but for rounding
// (key biases, which softmax cancels) is measured against gradFloor times the largest gradient of the model.
const (
	tolerance = 1e-4
	gradFloor = 1e-3
)

var cases = []string{"gpt2", "llama", "flm", "masked-gpt2", "masked-llama", "masked-flm-msg"}

func TestLogitsLossesAndGradientsAreThoseOfPyTorch(t *testing.T) {
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			c := load(t, name)
			w := c.build(t, cpu.Options{Workers: 2}, false)
			n, vocab := w.m.Tokens(), c.Model.VocabSize
			w.m.Forward(w.s, w.tokens, w.targets)
			var z []float32
			rows := w.m.Logits(w.s, 0, n)
			w.sync(t)
			for i := range n {
				z = append(z, rows.Slice(i, i+1).Columns(0, vocab).F32()...)
			}
			report(t, "logits", difference(z, c.floats["logits"], 0))
			report(t, "losses", difference(w.m.Losses().F32(), c.floats["losses"], 0))

			w.p.ZeroGrads(w.s)
			w.m.ForwardBackward(w.s, w.tokens, w.targets, 1/float32(n))
			w.sync(t)
			report(t, "losses", difference(w.m.Losses().F32(), c.floats["losses"], 0))
			largest := 0.0
			for _, p := range w.p.Tensors() {
				for _, g := range c.floats["g/"+p.Name] {
					largest = max(largest, math.Abs(float64(g)))
				}
			}
			worst := 0.0
			for _, p := range w.p.Tensors() {
				d := difference(w.p.Grad(p.Name).F32(), c.floats["g/"+p.Name], gradFloor*largest)
				worst = max(worst, d)
				if d > tolerance {
					t.Errorf("gradient of %s: relative difference %.2g", p.Name, d)
				}
			}
			report(t, "gradients", worst)
		})
	}
}

func TestTenAdamWStepsFollowPyTorch(t *testing.T) {
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			c := load(t, name)
			w := c.build(t, cpu.Options{Workers: 2}, false)
			step := w.adamw(t)
			var losses []float32
			for i := range c.floats["step_losses"] {
				w.batch(i)
				w.p.ZeroGrads(w.s)
				w.m.ForwardBackward(w.s, w.tokens, w.targets, 1/float32(w.m.Tokens()))
				step(i + 1)
				w.sync(t)
				sum := 0.0
				for _, l := range w.m.Losses().F32() {
					sum += float64(l)
				}
				losses = append(losses, float32(sum/float64(w.m.Tokens())))
			}
			report(t, "losses of ten steps", difference(losses, c.floats["step_losses"], 0))
		})
	}
}

func TestInferenceInSharedMemoryGivesTheSameLosses(t *testing.T) {
	for _, name := range cases {
		c := load(t, name)
		w := c.build(t, cpu.Options{Workers: 1}, true)
		w.m.Forward(w.s, w.tokens, w.targets)
		w.sync(t)
		report(t, name, difference(w.m.Losses().F32(), c.floats["losses"], 0))
	}
}

// adamw is one step over all parameters with muP's factors.
func (w *world) adamw(t *testing.T) func(step int) {
	o := w.c.AdamW
	moments := make(map[string]backend.AdamW)
	for _, p := range w.p.Tensors() {
		rows, cols := 1, p.Len()
		if len(p.Shape) == 2 {
			rows, cols = p.Shape[0], p.Shape[1]
		}
		op := backend.AdamW{W: w.p.Weight(p.Name).Reshape(rows, cols), G: w.p.Grad(p.Name).Reshape(rows, cols),
			LR: o.LR * float32(p.LRMult), WeightDecay: o.WeightDecay * float32(p.DecayMult),
			Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, GradScale: 1}
		op.M, op.V = w.zeros(t, rows, cols), w.zeros(t, rows, cols)
		moments[p.Name] = op
	}
	return func(step int) {
		for _, p := range w.p.Tensors() {
			op := moments[p.Name]
			op.Step = step
			w.s.AdamW(op)
		}
	}
}

func report(t *testing.T, what string, difference float64) {
	t.Helper()
	if difference > tolerance {
		t.Errorf("%s: relative difference %.2g: want at most %.0e", what, difference, tolerance)
	} else {
		t.Logf("%s: relative difference %.1e", what, difference)
	}
}
