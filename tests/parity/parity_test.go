package parity

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"cambium/src/comm"
	"cambium/src/layout"
	"cambium/src/optim"
	"cambium/src/tensor"
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

// tensorParallel is the most ranks that can share the layers of a case: one key/value group each.
func (c *recorded) tensorParallel() int { return c.Model.NumQueryGroups }

func TestLogitsLossesAndGradientsAreThoseOfPyTorch(t *testing.T) {
	for _, name := range cases {
		c := load(t, name)
		tp := c.tensorParallel()
		for _, how := range []spread{{1, 1, false}, {tp, 1, false}, {tp, 1, true}} {
			t.Run(fmt.Sprintf("%s, %v", name, how), func(t *testing.T) {
				grads := map[string][]float32{}
				var mu sync.Mutex
				err := c.run(how, false, func(w *world) error {
					w.p.ZeroGrads(w.s)
					w.m.ForwardBackward(w.s, w.tokens, w.targets, 1/float32(w.m.Tokens()))
					if how.sequence {
						for _, n := range w.p.SequencePartial() {
							w.tp.AllReduce(w.s, n, comm.Sum, w.p.Grad(n))
						}
					}
					if err := w.s.Sync(); err != nil {
						return err
					}
					mu.Lock()
					defer mu.Unlock()
					report(t, "losses", difference(w.m.Losses().F32(), c.floats["losses"], 0))
					w.gather(grads)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				c.compare(t, grads)
			})
		}
	}
}

// gather puts the rank's gradients where they belong in whole ones.
func (w *world) gather(grads map[string][]float32) {
	for _, h := range w.p.Shards() {
		if grads[h.Name] == nil {
			grads[h.Name] = make([]float32, h.Len())
		}
		layout.Copy(tensor.HostBytes(grads[h.Name]), layout.Whole(h.Shape), h.Box, tensor.HostBytes(w.p.Grad(h.Name).F32()), h.Box, h.Box, 4)
	}
}

// compare compares gradients with the recorded ones; rows that pad the vocabulary further have none.
func (c *recorded) compare(t *testing.T, grads map[string][]float32) {
	largest := 0.0
	for name := range grads {
		for _, g := range c.floats["g/"+name] {
			largest = max(largest, math.Abs(float64(g)))
		}
	}
	worst := 0.0
	for name, g := range grads {
		want := c.floats["g/"+name]
		d := difference(g[:len(want)], want, floor(name)*largest)
		for _, x := range g[len(want):] {
			if x != 0 {
				d = math.Inf(1)
			}
		}
		worst = max(worst, d)
		if d > tolerance {
			t.Errorf("gradient of %s: relative difference %.2g", name, d)
		}
	}
	report(t, "gradients", worst)
}

func TestTenAdamWStepsFollowPyTorch(t *testing.T) {
	for _, name := range cases {
		c := load(t, name)
		tp := c.tensorParallel()
		for _, how := range []spread{{1, 1, false}, {1, 2, false}, {tp, 1, false}, {tp, 2, true}} {
			t.Run(fmt.Sprintf("%s, %v", name, how), func(t *testing.T) {
				losses := make([]float64, len(c.floats["step_losses"])) // sums; rank 0 writes
				if err := c.run(how, false, func(w *world) error { return w.train(how, losses) }); err != nil {
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
func (w *world) train(how spread, losses []float64) error {
	c := w.c
	boxes, err := layout.Optimizer(c.Model, w.p.Layout().Grid)
	if err != nil {
		return err
	}
	a := c.AdamW
	o, err := optim.New(w.b, optim.Parallel{World: w.comm, DP: w.dp, TP: w.tp, GridLayout: boxes, SequenceParallel: how.sequence}, w.p,
		optim.Config{Beta1: a.Beta1, Beta2: a.Beta2, Eps: a.Eps, WeightDecay: a.WeightDecay, ClipGrad: a.ClipGrad})
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
		if err := w.dp.Reduce("loss", comm.Sum, sum); err != nil {
			return err
		}
		if w.comm.Rank() == 0 {
			losses[i] = sum[0]
		}
	}
	return nil
}

func TestInferenceInSharedMemoryGivesTheSameLossesAndLogits(t *testing.T) {
	for _, name := range cases {
		c := load(t, name)
		tp := c.tensorParallel()
		for _, how := range []spread{{1, 1, false}, {tp, 1, false}, {tp, 1, true}} {
			err := c.run(how, true, func(w *world) error {
				w.m.Forward(w.s, w.tokens, w.targets)
				n := w.m.Tokens()
				rows := w.m.GatherLogits(w.s, 0, n)
				if err := w.s.Sync(); err != nil {
					return err
				}
				var z []float32
				for i := range n {
					z = append(z, rows.Slice(i, i+1).Columns(0, c.Model.VocabSize).F32()...)
				}
				report(t, fmt.Sprintf("%s, %v, losses", name, how), difference(w.m.Losses().F32(), c.floats["losses"], 0))
				report(t, fmt.Sprintf("%s, %v, logits", name, how), difference(z, c.floats["logits"], 0))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
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
