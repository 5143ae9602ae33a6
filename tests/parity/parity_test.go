package parity

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/optim"
)

// tolerance of fp32 against fp64, relative to the largest element of the tensor.
const tolerance = 1e-4

// floor is what a parameter's largest gradient counts as at least, as a share of the model's largest. The gradient of a key bias
// is zero but for rounding, since softmax cancels it, unless rotary positions follow: only there is a floor needed.
func floor(parameter string) float64 {
	if strings.HasSuffix(parameter, "attention.key.bias") {
		return 1e-2
	}
	return 0
}

var cases = []string{"gpt2", "llama", "flm", "masked-gpt2", "masked-llama", "masked-flm-msg"}

func TestLogitsLossesAndGradientsAreThoseOfPyTorch(t *testing.T) {
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			c := load(t, name)
			w := c.alone(t, false)
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
				d := difference(w.p.Grad(p.Name).F32(), c.floats["g/"+p.Name], floor(p.Name)*largest)
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
		for _, ranks := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s on %d", name, ranks), func(t *testing.T) {
				c := load(t, name)
				losses := make([]float64, len(c.floats["step_losses"])) // sums; rank 0 writes
				err := local.NewWorld(ranks).Run(func(dp comm.Communicator) error { return c.train(dp, losses) })
				if err != nil {
					t.Fatal(err)
				}
				got := make([]float32, len(losses))
				for i := range got {
					got[i] = float32(losses[i] / float64(c.MicroBatch*c.SeqLength))
				}
				report(t, "losses", difference(got, c.floats["step_losses"], 0))
			})
		}
	}
}

// train takes all recorded steps as one rank, with the optimizer that training uses.
func (c *recorded) train(dp comm.Communicator, losses []float64) error {
	w, err := c.build(dp.Rank(), dp.Size(), false)
	if err != nil {
		return err
	}
	defer w.b.Close()
	a := c.AdamW
	o, err := optim.New(w.b, dp, w.p, optim.Config{Beta1: a.Beta1, Beta2: a.Beta2, Eps: a.Eps, WeightDecay: a.WeightDecay, ClipGrad: a.ClipGrad})
	if err != nil {
		return err
	}
	for i := range losses {
		w.load(i)
		w.p.ZeroGrads(w.s)
		w.m.ForwardBackward(w.s, w.tokens, w.targets, 1/float32(c.MicroBatch*c.SeqLength))
		if _, err := o.Step(w.s, a.LR, 1); err != nil {
			return err
		}
		if err := w.s.Sync(); err != nil {
			return err
		}
		sum := []float64{0}
		for _, l := range w.m.Losses().F32() {
			sum[0] += float64(l)
		}
		if err := dp.Reduce("loss", comm.Sum, sum); err != nil {
			return err
		}
		if dp.Rank() == 0 {
			losses[i] = sum[0]
		}
	}
	return nil
}

func TestInferenceInSharedMemoryGivesTheSameLosses(t *testing.T) {
	for _, name := range cases {
		c := load(t, name)
		w := c.alone(t, true)
		w.m.Forward(w.s, w.tokens, w.targets)
		w.sync(t)
		report(t, name, difference(w.m.Losses().F32(), c.floats["losses"], 0))
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
