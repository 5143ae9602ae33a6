package execute

import (
	"fmt"
	"time"

	"cambium/src/backend"
	"cambium/src/model"
	"cambium/src/pipeline"
	"cambium/src/tensor"
)

const (
	fakeTokens = 3
	fakeHidden = 2
)

// fake is a model of one number a token: virtual stage v adds v+1. Its gradients carry the token with them, so that every
// backward pass can tell whether its slot still holds what its forward pass left there.
type fake struct {
	stage, stages, chunks int
	inputs                [][]tensor.Tensor // [chunk][slot]
	losses                tensor.Tensor
	cost                  map[pipeline.Op]time.Duration
	hooks                 model.Hooks
	grads                 []float64 // [chunk] the sum of all weight gradients
}

func newFake(b backend.Backend, stage, stages, chunks int, slots []int) (*fake, error) {
	f := &fake{stage: stage, stages: stages, chunks: chunks, grads: make([]float64, chunks)}
	_, err := backend.Plan(b, "fake", func(a *backend.Arena) {
		f.inputs = nil
		for c := range chunks {
			f.inputs = append(f.inputs, nil)
			for range slots[c] {
				f.inputs[c] = append(f.inputs[c], a.Tensor(tensor.F32, fakeTokens, fakeHidden))
			}
		}
		f.losses = a.Tensor(tensor.F32, fakeTokens)
	})
	return f, err
}

func (f *fake) virtual(chunk int) int              { return chunk*f.stages + f.stage }
func (f *fake) First(chunk int) bool               { return f.virtual(chunk) == 0 }
func (f *fake) Last(chunk int) bool                { return f.virtual(chunk) == f.stages*f.chunks-1 }
func (f *fake) Input(p model.Pass) tensor.Tensor   { return f.inputs[p.Chunk][p.Slot] }
func (f *fake) Losses() tensor.Tensor              { return f.losses }
func (f *fake) SetHooks(h model.Hooks)             { f.hooks = h }
func (f *fake) offset(virtual int) float32         { return float32(virtual * (virtual + 1) / 2) }
func (f *fake) fail(format string, a ...any) error { return fmt.Errorf(format, a...) }

func (f *fake) ForwardPass(s backend.Stream, p model.Pass, tokens, out tensor.Tensor) {
	if f.hooks.WeightsNeeded != nil {
		f.hooks.WeightsNeeded(s, p.Chunk)
	}
	v, in := f.virtual(p.Chunk), f.Input(p)
	s.Do("forward", func() error {
		time.Sleep(f.cost[pipeline.Forward])
		x := in.F32()
		if v == 0 {
			for i := range x {
				x[i] = float32(tokens.I32()[i/fakeHidden])
			}
		}
		if out.Present() {
			for i := range x {
				out.F32()[i] = x[i] + float32(v+1)
			}
		}
		return nil
	})
}

// token is what the forward pass in a slot read.
func (f *fake) token(p model.Pass, i int) float32 {
	return f.Input(p).F32()[i] - f.offset(f.virtual(p.Chunk))
}

func (f *fake) LossPass(s backend.Stream, p model.Pass, targets tensor.Tensor) {
	s.Do("loss", func() error { return f.loss(p, targets) })
}

func (f *fake) loss(p model.Pass, targets tensor.Tensor) error {
	for i := range fakeTokens {
		f.losses.F32()[i] = f.token(p, i*fakeHidden) + 1000*float32(targets.I32()[i])
	}
	return nil
}

func (f *fake) BackwardPass(s backend.Stream, p model.Pass, b model.Back) {
	f.backward(s, "backward", f.cost[pipeline.Backward], p, b, true, true)
}

func (f *fake) BackwardInput(s backend.Stream, p model.Pass, b model.Back) {
	f.backward(s, "backward input", f.cost[pipeline.BackwardInput], p, b, true, false)
}

func (f *fake) BackwardWeight(s backend.Stream, p model.Pass) {
	f.backward(s, "backward weight", f.cost[pipeline.BackwardWeight], p, model.Back{}, false, true)
}

func (f *fake) backward(s backend.Stream, name string, cost time.Duration, p model.Pass, b model.Back, input, weight bool) {
	s.Do(name, func() error {
		time.Sleep(cost)
		if input && f.Last(p.Chunk) {
			if err := f.loss(p, b.Targets); err != nil {
				return err
			}
		}
		for i := range fakeTokens * fakeHidden {
			token := f.token(p, i)
			if weight {
				f.grads[p.Chunk] += float64(token)
			}
			if !input {
				continue
			}
			if f.First(p.Chunk) && float32(b.Tokens.I32()[i/fakeHidden]) != token {
				return f.fail("the backward pass of token %v has tokens of another micro-batch", token)
			}
			if want := token * b.GradScale; f.Last(p.Chunk) {
				b.DX.F32()[i] = want
			} else if got := b.DX.F32()[i]; got != want {
				return f.fail("virtual stage %d: gradient %v arrives at slot %d, which holds %v", f.virtual(p.Chunk), got, p.Slot, want)
			}
		}
		return nil
	})
	if weight && f.hooks.GradsReady != nil {
		f.hooks.GradsReady(s, p.Chunk)
	}
}
