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

// bounds are the most that results may differ from fp64, relative to the largest element of the tensor.
type bounds struct{ losses, logits, gradients float64 }

// tolerance is 1e-4 in fp32. In 16 bits, where weights, activations and what flows back are rounded to 8 or 11 bits in every operation, it is
// three times what torch's own run in that type is off, whose roundings are others.
func (c *recorded) tolerance(d tensor.DType) bounds {
	r, ok := c.Rounding[d.String()]
	if !ok {
		return bounds{1e-4, 1e-4, 1e-4}
	}
	return bounds{3 * r.Losses, 3 * r.Logits, 3 * r.Gradients}
}

// lossScale keeps gradients of activations away from where fp16 has few bits.
func lossScale(d tensor.DType) float64 {
	if d == tensor.F16 {
		return 1024
	}
	return 1
}

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
		for _, how := range []spread{{tp: 1, dp: 1}, {tp: tp, dp: 1}, {tp: tp, dp: 1, sequence: true}} {
			t.Run(fmt.Sprintf("%s, %v", name, how), func(t *testing.T) { c.gradients(t, how) })
		}
	}
}

func TestTenAdamWStepsFollowPyTorch(t *testing.T) {
	for _, name := range cases {
		c := load(t, name)
		tp := c.tensorParallel()
		for _, how := range []spread{{tp: 1, dp: 1}, {tp: 1, dp: 2}, {tp: tp, dp: 1}, {tp: tp, dp: 2, sequence: true}} {
			t.Run(fmt.Sprintf("%s, %v", name, how), func(t *testing.T) { c.steps(t, how) })
		}
	}
}

func TestInferenceInSharedMemoryGivesTheSameLossesAndLogits(t *testing.T) {
	for _, name := range cases {
		c := load(t, name)
		tp := c.tensorParallel()
		for _, how := range []spread{{tp: 1, dp: 1}, {tp: tp, dp: 1}, {tp: tp, dp: 1, sequence: true}} {
			t.Run(fmt.Sprintf("%s, %v", name, how), func(t *testing.T) { c.inference(t, how) })
		}
	}
}

func TestIn16BitsResultsAreNearThoseOfPyTorch(t *testing.T) {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
		alone(t, spread{dtype: d})
		shared(t, spread{dtype: d})
	}
}

// alone compares what one rank computes in all cases.
func alone(t *testing.T, how spread) {
	how.tp, how.dp = 1, 1
	for _, name := range cases {
		c := load(t, name)
		t.Run(fmt.Sprintf("%s, %v", name, how), func(t *testing.T) {
			c.inference(t, how)
			c.gradients(t, how)
		})
	}
}

// shared compares the steps of cases that are shared out in all ways at once.
func shared(t *testing.T, how spread) {
	for _, name := range cases {
		c := load(t, name)
		how.tp, how.dp, how.sequence = c.tensorParallel(), 2, true
		t.Run(fmt.Sprintf("%s, %v", name, how), func(t *testing.T) { c.steps(t, how) })
	}
}

// gradients compares losses and gradients of one batch.
func (c *recorded) gradients(t *testing.T, how spread) {
	grads := map[string][]float32{}
	scale := lossScale(how.dtype)
	var mu sync.Mutex
	err := c.run(how, false, func(w *world) error {
		w.p.ZeroGrads(w.s)
		w.m.ForwardBackward(w.s, w.tokens, w.targets, float32(scale)/float32(w.m.Tokens()))
		if how.sequence {
			for _, n := range w.p.SequencePartial() {
				w.tp.AllReduce(w.s, n, comm.Sum, w.p.Grad(n))
			}
		}
		losses, err := w.read(w.m.Losses())
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		report(t, "losses", difference(losses, c.floats["losses"], 0), c.tolerance(how.dtype).losses)
		return w.gather(grads, scale)
	})
	if err != nil {
		t.Fatal(err)
	}
	c.compare(t, grads, c.tolerance(how.dtype).gradients)
}

// gather puts the rank's gradients, which are scaled, where they belong in whole ones.
func (w *world) gather(grads map[string][]float32, scale float64) error {
	for _, h := range w.p.Shards() {
		part, err := w.read(w.p.Grad(h.Name))
		if err != nil {
			return err
		}
		for i := range part {
			part[i] /= float32(scale)
		}
		if grads[h.Name] == nil {
			grads[h.Name] = make([]float32, h.Len())
		}
		layout.Copy(tensor.HostBytes(grads[h.Name]), layout.Whole(h.Shape), h.Box, tensor.HostBytes(part), h.Box, h.Box, 4)
	}
	return nil
}

// compare compares gradients with the recorded ones; rows that pad the vocabulary further have none.
func (c *recorded) compare(t *testing.T, grads map[string][]float32, tolerance float64) {
	t.Helper()
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
	report(t, "gradients", worst, tolerance)
}

// steps compares the losses of ten steps of AdamW.
func (c *recorded) steps(t *testing.T, how spread) {
	losses := make([]float64, len(c.floats["step_losses"])) // sums; rank 0 writes
	if err := c.run(how, false, func(w *world) error { return w.train(how, losses) }); err != nil {
		t.Fatal(err)
	}
	got := make([]float32, len(losses))
	for i := range got {
		got[i] = float32(losses[i] / float64(c.MicroBatch*c.SeqLength))
	}
	report(t, "losses of ten steps", difference(got, c.floats["step_losses"], 0), c.tolerance(how.dtype).losses)
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
	if o.Masters() {
		o.AdoptWeights(w.s)
	}
	scale := lossScale(how.dtype)
	for i := range losses {
		if err := w.load(i); err != nil {
			return err
		}
		w.p.ZeroGrads(w.s)
		w.m.ForwardBackward(w.s, w.tokens, w.targets, float32(scale)/float32(c.MicroBatch*c.SeqLength))
		if _, err := o.Step(w.s, a.LR, 1/scale); err != nil {
			return err
		}
		each, err := w.read(w.m.Losses())
		if err != nil {
			return err
		}
		sum := []float64{0}
		for _, l := range each {
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

// inference compares what a model gives whose activations share memory.
func (c *recorded) inference(t *testing.T, how spread) {
	err := c.run(how, true, func(w *world) error {
		w.m.Forward(w.s, w.tokens, w.targets)
		n := w.m.Tokens()
		z, err := w.read(w.m.GatherLogits(w.s, 0, n).Columns(0, c.Model.VocabSize))
		if err != nil {
			return err
		}
		losses, err := w.read(w.m.Losses())
		if err != nil {
			return err
		}
		report(t, "losses", difference(losses, c.floats["losses"], 0), c.tolerance(how.dtype).losses)
		report(t, "logits", difference(z, c.floats["logits"], 0), c.tolerance(how.dtype).logits)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func report(t *testing.T, what string, difference, tolerance float64) {
	t.Helper()
	if !(difference <= tolerance) {
		t.Errorf("%s: relative difference %.2g: want at most %.0e", what, difference, tolerance)
	} else {
		t.Logf("%s: relative difference %.1e", what, difference)
	}
}
