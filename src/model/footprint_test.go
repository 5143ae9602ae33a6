package model_test

import (
	"fmt"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/tensor"
)

// What is planned for a rank beforehand is what the rank allocates, byte for byte.
func TestFootprintIsWhatIsAllocated(t *testing.T) {
	llama := small()
	llama.NumLayers, llama.NumAttentionHeads, llama.NumQueryGroups = 6, 4, 2
	llama.SwiGLU, llama.Normalization, llama.Position, llama.UntieOutput, llama.LinearBias = true, arch.RMSNorm, arch.PositionRope, true, false
	gpt := llama
	gpt.SwiGLU, gpt.Normalization, gpt.Position, gpt.UntieOutput, gpt.LinearBias = false, arch.LayerNorm, arch.PositionXPos, false, true
	for _, c := range []struct {
		m              arch.Model
		tp, pp, chunks int
		sequence       bool
		dtype          tensor.DType
		o              model.Options
	}{
		{gpt, 1, 1, 1, false, tensor.F32, model.Options{}},
		{llama, 2, 1, 1, false, tensor.F32, model.Options{}},
		{llama, 2, 2, 1, true, tensor.BF16, model.Options{Slots: []int{2}, Recompute: model.RecomputeFull}},
		{gpt, 2, 3, 2, true, tensor.F16, model.Options{Slots: []int{3, 1}, Recompute: model.RecomputeSelective}},
		{gpt, 1, 3, 1, false, tensor.F32, model.Options{Slots: []int{3}, SplitBackward: true}},
		{llama, 2, 2, 1, true, tensor.F32, model.Options{Inference: true}},
	} {
		c.o.MicroBatch, c.o.SeqLength = 2, 8
		c.m.MaxPositions = 8
		g := grid.Grid{TP: c.tp, PP: c.pp, DP: 1, Chunks: c.chunks}
		l, err := layout.Weights(c.m, g)
		if err != nil {
			t.Fatal(err)
		}
		po := model.ParamOptions{DType: c.dtype, Grads: !c.o.Inference}
		err = local.NewWorld(g.World()).Run(func(world comm.Communicator) error {
			b := cpu.New(cpu.Options{Workers: 1})
			defer b.Close()
			color, key := g.Split(grid.TP, world.Rank())
			tp, err := world.Split("tp", color, key)
			if err != nil {
				return err
			}
			p, err := model.NewParams(b, l, world.Rank(), po)
			if err != nil {
				return err
			}
			x, err := model.New(b, c.m.Function(), p, model.Parallel{TP: tp, SequenceParallel: c.sequence}, c.o)
			if err != nil {
				return err
			}
			want := model.Footprint{Weights: p.FlatWeights().Bytes(), Activations: x.ActivationBytes()}
			if po.Grads {
				want.Gradients = p.FlatGrads().Bytes()
			}
			got, err := model.Measure(l, world.Rank(), c.m.Function(), c.sequence, po, c.o)
			if err == nil && got != want {
				err = fmt.Errorf("%+v was planned, %+v is allocated", got, want)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s, %v, %+v: %v", g, c.dtype, c.o, err)
		}
	}
}
