package model_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/rng"
	"cambium/src/tensor"
	"pgregory.net/rapid"
)

// small is a GPT-2 with sizes that are no multiples of anything.
func small() arch.Model {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.KVChannels, m.FFNHiddenSize = 2, 20, 3, 6, 36
	m.VocabSize, m.VocabSizeDivisibleBy, m.InitStd = 53, 8, 0.2
	return m.Complete(7)
}

// rig is a model with everything that a pass needs.
type rig struct {
	b               backend.Backend
	s               backend.Stream
	p               *model.Params
	m               *model.Model
	tokens, targets tensor.Tensor
}

type fataler interface{ Fatal(...any) }

func newRig(t fataler, m arch.Model, o model.Options, workers int) *rig {
	r := &rig{b: cpu.New(cpu.Options{Workers: workers})}
	r.s = r.b.NewStream("test")
	var err error
	if r.p, err = model.NewParams(r.b, layout.Single(m), 0, model.ParamOptions{Grads: !o.Inference}); err != nil {
		t.Fatal(err)
	}
	if err = r.p.Init(r.s, 7); err != nil {
		t.Fatal(err)
	}
	if r.m, err = model.New(r.b, m.Function(), r.p, model.Parallel{}, o); err != nil {
		t.Fatal(err)
	}
	n := r.m.Tokens()
	mem, err := r.b.Alloc("tokens", 8*n)
	if err != nil {
		t.Fatal(err)
	}
	r.tokens, r.targets = tensor.New(mem, 0, tensor.I32, n), tensor.New(mem, 4*n, tensor.I32, n)
	r.draw(m.VocabSize, 0)
	return r
}

// draw fills the micro-batch with tokens from place first of a random sequence.
func (r *rig) draw(vocab, first int) {
	k := rng.NewKey(3, "tokens")
	for i := range r.tokens.Len() {
		r.tokens.I32()[i] = int32(k.Below(uint64(first+i), uint64(vocab)))
		r.targets.I32()[i] = int32(k.Below(uint64(first+i)+1<<32, uint64(vocab)))
	}
}

// loss is the mean loss, in fp64.
func (r *rig) loss(t fataler) float64 {
	r.m.Forward(r.s, r.tokens, r.targets)
	if err := r.s.Sync(); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, l := range r.m.Losses().F32() {
		sum += float64(l)
	}
	return sum / float64(r.m.Tokens())
}

// grads are the gradients of the mean loss, flat.
func (r *rig) grads(t fataler) []float32 {
	r.p.ZeroGrads(r.s)
	r.m.ForwardBackward(r.s, r.tokens, r.targets, 1/float32(r.m.Tokens()))
	if err := r.s.Sync(); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(r.p.FlatGrads().F32())
}

// randomise leaves no gain at 1 and no shift at 0, so that a forgotten one shows.
func (r *rig) randomise() {
	for _, p := range r.p.Shards() {
		if len(p.Shape) == 1 {
			v := r.p.Weight(p.Name).F32()
			rng.NewKey(5, p.Name).FillNormal(v, 0, 0.3)
			for i := range v {
				if p.Role == arch.Gain {
					v[i]++
				}
			}
		}
	}
}

func anyModel(t *rapid.T) (arch.Model, arch.Mask) {
	m := arch.Defaults()
	m.NumLayers = rapid.IntRange(1, 3).Draw(t, "layers")
	m.HiddenSize = rapid.IntRange(8, 24).Draw(t, "hidden")
	m.NumQueryGroups = rapid.IntRange(1, 2).Draw(t, "groups")
	m.NumAttentionHeads = m.NumQueryGroups * rapid.IntRange(1, 3).Draw(t, "heads a group")
	m.KVChannels = 2 * rapid.IntRange(1, 5).Draw(t, "half head size")
	m.FFNHiddenSize = rapid.IntRange(3, 40).Draw(t, "ffn")
	m.VocabSize, m.VocabSizeDivisibleBy = rapid.IntRange(9, 40).Draw(t, "vocabulary"), 16
	m.Position = rapid.SampledFrom([]string{arch.PositionLearned, arch.PositionRope, arch.PositionXPos, arch.PositionNone}).Draw(t, "position")
	m.Normalization = rapid.SampledFrom([]string{arch.LayerNorm, arch.RMSNorm}).Draw(t, "norm")
	m.SwiGLU, m.LinearBias = rapid.Bool().Draw(t, "swiglu"), rapid.Bool().Draw(t, "bias")
	m.UntieOutput = rapid.Bool().Draw(t, "untied")
	m.InitStd, m.XPosBase, m.NormEpsilon = 0.3, 8, 1e-2
	if rapid.Bool().Draw(t, "mup") {
		m.MupBaseWidth, m.InputMult, m.OutputMult = 8, 1.5, 2
	}
	var k arch.Mask
	if rapid.Bool().Draw(t, "growing") {
		k.V = rapid.SampledFrom([]float64{0.1, 0.3, 0.8}).Draw(t, "v")
		k.OldHidden = rapid.IntRange(0, m.HiddenSize-1).Draw(t, "old hidden")
		k.OldFFN = rapid.IntRange(0, m.FFNHiddenSize-1).Draw(t, "old ffn")
		for h := range m.NumAttentionHeads {
			if rapid.Bool().Draw(t, "new head") {
				k.NewHeads = append(k.NewHeads, h)
			}
		}
		for l := range m.NumLayers {
			if rapid.Bool().Draw(t, "new layer") {
				k.NewLayers = append(k.NewLayers, l)
			}
		}
		k.MSGStatistics = rapid.Bool().Draw(t, "msg")
		if k.MSGStatistics {
			k.LogitScale0 = 0.7
		}
	}
	return m.Complete(6), k
}

// The derivative of the loss along a parameter's gradient is the gradient's norm: for every parameter, under every option
// and mask.
func TestGradientsAreTheSlopeOfTheLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, k := anyModel(t)
		r := newRig(t, m, model.Options{MicroBatch: 3, SeqLength: 6}, 1)
		defer r.b.Close()
		r.randomise()
		r.m.SetMask(k)
		r.grads(t)
		largest := 0.0
		for _, p := range r.p.Shards() {
			largest = max(largest, norm(r.p.Grad(p.Name).F32()))
		}
		for _, p := range r.p.Shards() {
			w, g := r.p.Weight(p.Name).F32(), r.p.Grad(p.Name).F32()
			size := norm(g)
			if size < 1e-3*largest { // key biases: softmax cancels them
				continue
			}
			saved := slices.Clone(w)
			at := func(h float64) float64 {
				for i := range w {
					w[i] = saved[i] + float32(h*float64(g[i])/size)
				}
				return r.loss(t)
			}
			slope := func(h float64) float64 { return (at(h) - at(-h)) / (2 * h) }
			// Large steps bend, small ones drown in rounding: a wrong gradient fits none.
			var s, fits = 0.0, false
			for h := 8e-3; h > 4e-4 && !fits; h /= 4 {
				s = (4*slope(h) - slope(2*h)) / 3 // Richardson: the error is of order h^4
				fits = math.Abs(s-size) < 0.02*size+2e-4*largest+2e-4
			}
			copy(w, saved)
			if !fits {
				t.Errorf("%s: slope %g, norm of the gradient %g", p.Name, s, size)
			}
		}
	})
}

func norm(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

func TestSteadyStepAllocatesNothing(t *testing.T) {
	m := small()
	m.Position, m.SwiGLU = arch.PositionXPos, true
	r := newRig(t, m, model.Options{MicroBatch: 2, SeqLength: 7}, 1)
	defer r.b.Close()
	v := 0.1
	mask := arch.Mask{OldHidden: 12, OldFFN: 20, NewHeads: []int{1}, NewLayers: []int{1}, MSGStatistics: true, LogitScale0: 2}
	step := func() {
		mask.V = v
		v += 0.01
		r.m.SetMask(mask)
		r.p.ZeroGrads(r.s)
		r.m.ForwardBackward(r.s, r.tokens, r.targets, 0.5)
		r.m.Forward(r.s, r.tokens, r.targets)
		if err := r.s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	step()
	before := r.b.Usage().Current
	if n := testing.AllocsPerRun(20, step); n != 0 {
		t.Errorf("%v allocations a step, want 0", n)
	}
	if now := r.b.Usage().Current; now != before {
		t.Errorf("device memory went from %d to %d bytes", before, now)
	}
}

func TestResultsDoNotDependOnWorkers(t *testing.T) {
	for _, position := range []string{arch.PositionLearned, arch.PositionRope} {
		m := small()
		m.Position, m.SwiGLU = position, position == arch.PositionRope
		var want []float32
		for _, workers := range []int{1, 2, 3} {
			r := newRig(t, m, model.Options{MicroBatch: 5, SeqLength: 7}, workers)
			got := append(r.grads(t), r.m.Losses().F32()...)
			r.b.Close()
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: other bits with %d workers", position, workers)
			}
		}
	}
}

// A vocabulary so large that the logits of a micro-batch come in chunks gives what small micro-batches give together.
func TestChunksOfLogitsAndMicroBatchesAddUp(t *testing.T) {
	m := small()
	m.VocabSize, m.HiddenSize, m.NumLayers = 20000, 12, 1
	m = m.Complete(100)
	m.MaxPositions = 100
	whole := newRig(t, m, model.Options{MicroBatch: 6, SeqLength: 100}, 2)
	defer whole.b.Close()
	if rows := whole.m.Logits(whole.s, 0, 1).Memory(); rows == nil || whole.m.MaxLogits() >= whole.m.Tokens() {
		t.Fatalf("%d rows of logits for %d tokens: want chunks", whole.m.MaxLogits(), whole.m.Tokens())
	}
	want := whole.grads(t)
	losses := whole.m.Losses().F32()

	part := newRig(t, m, model.Options{MicroBatch: 2, SeqLength: 100}, 2)
	defer part.b.Close()
	part.p.ZeroGrads(part.s)
	for i := range 3 {
		part.draw(m.VocabSize, 200*i)
		part.m.ForwardBackward(part.s, part.tokens, part.targets, 1.0/600)
		if err := part.s.Sync(); err != nil {
			t.Fatal(err)
		}
		if d := difference(part.m.Losses().F32(), losses[200*i:200*(i+1)]); d > 1e-6 {
			t.Errorf("losses of part %d differ by %g", i, d)
		}
	}
	if d := difference(part.p.FlatGrads().F32(), want); d > 1e-5 {
		t.Errorf("gradients differ by %g", d)
	}

	once := newRig(t, m, model.Options{MicroBatch: 6, SeqLength: 100, LogitBytes: model.LogitBytes(true)}, 2)
	defer once.b.Close()
	if n := once.m.MaxLogits(); n != 600 {
		t.Errorf("%d rows of logits at once where there is room for all 600", n)
	}
	if d := difference(once.grads(t), want); d > 1e-5 {
		t.Errorf("gradients with all logits at once differ by %g", d)
	}
}

func difference(a, b []float32) float64 {
	d, m := 0.0, 0.0
	for i := range b {
		d, m = max(d, math.Abs(float64(a[i]-b[i]))), max(m, math.Abs(float64(b[i])))
	}
	return d / m
}

// Whatever the gradients were before, after RenewGrads and a pass they are what ZeroGrads and a pass give.
func TestRenewedGradientsAreZeroedOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, k := anyModel(t)
		r := newRig(t, m, model.Options{MicroBatch: 2, SeqLength: 6}, 1)
		defer r.b.Close()
		r.randomise()
		r.m.SetMask(k)
		twice := func(clear func(backend.Stream)) []float32 {
			clear(r.s)
			r.m.ForwardBackward(r.s, r.tokens, r.targets, 0.1)
			r.m.ForwardBackward(r.s, r.tokens, r.targets, 0.1) // the second micro-batch adds
			if err := r.s.Sync(); err != nil {
				t.Fatal(err)
			}
			return slices.Clone(r.p.FlatGrads().F32())
		}
		want := twice(r.p.ZeroGrads)
		for _, p := range r.p.Shards() { // but for the gaps, everything is spoiled
			r.s.Fill(r.p.Grad(p.Name), 9)
		}
		if got := twice(r.p.RenewGrads); !slices.Equal(got, want) {
			t.Errorf("gradients differ by %g", difference(got, want))
		}
	})
}

func TestMaskEndsAtThePlainModelAndHidesNewPartsAtZero(t *testing.T) {
	m := small()
	r := newRig(t, m, model.Options{MicroBatch: 2, SeqLength: 7}, 1)
	defer r.b.Close()
	r.randomise()
	plain := r.grads(t)
	mask := arch.Mask{V: 1 - 1e-7, OldHidden: 13, OldFFN: 25, NewHeads: []int{2}, NewLayers: []int{0}}
	r.m.SetMask(mask)
	if d := difference(r.grads(t), plain); d > 1e-5 {
		t.Errorf("gradients just before the end of the ramp differ from the plain model's by %g", d)
	}
	mask.V = 1
	r.m.SetMask(mask)
	if !slices.Equal(r.grads(t), plain) {
		t.Errorf("a ramp that ended does not give the plain model")
	}
	mask.V = 0
	r.m.SetMask(mask)
	before := r.loss(t)
	spoil := func(name string, row, col int) {
		w := r.p.Weight(name)
		w.F32()[row*w.Cols()+col] += 3
	}
	spoil("layers.1.mlp.fc1.weight", 30, 2)         // new FFN unit
	spoil("layers.1.attention.value.weight", 14, 2) // new head
	spoil("layers.0.mlp.fc2.weight", 3, 3)          // new layer
	spoil("layers.1.attention.query.weight", 3, 15) // new hidden dimension, read
	spoil("layers.1.attention.dense.weight", 17, 4) // new hidden dimension, written
	spoil(arch.WordEmbeddings, int(r.tokens.I32()[0]), 18)
	if now := r.loss(t); now != before {
		t.Errorf("at v = 0 new parameters moved the loss from %v to %v", before, now)
	}
	spoil("layers.1.mlp.fc1.weight", 20, 2) // an old unit: the test can fail
	if now := r.loss(t); now == before {
		t.Errorf("at v = 0 an old parameter does not move the loss")
	}
}

func TestImpossibleModelsAreOneSentence(t *testing.T) {
	b := cpu.New(cpu.Options{Workers: 1})
	defer b.Close()
	for _, c := range []struct {
		change func(*arch.Model)
		want   string
	}{
		{func(m *arch.Model) { m.NumLayers = 0 }, "num_layers is 0"},
		{func(m *arch.Model) { m.NumQueryGroups = 2 }, "num_attention_heads 3 is not a multiple of num_query_groups 2"},
		{func(m *arch.Model) { m.Position, m.KVChannels = arch.PositionRope, 5 }, "kv_channels is 5"},
		{func(m *arch.Model) { m.Position = "alibi" }, `position_embedding_type is "alibi"`},
		{func(m *arch.Model) { m.MaxPositions = 4 }, "seq_length 7 is more than max_position_embeddings 4"},
		{func(m *arch.Model) { m.Normalization = "BatchNorm" }, `normalization is "BatchNorm"`},
		{func(m *arch.Model) { m.InputMult = 0 }, "input_mult is 0"},
	} {
		m := small()
		c.change(&m)
		p, err := model.NewParams(b, layout.Single(m), 0, model.ParamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = model.New(b, m.Function(), p, model.Parallel{}, model.Options{MicroBatch: 1, SeqLength: 7})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one sentence with %q", err, c.want)
		}
	}
}

func ExampleModel() {
	m := small()
	b := cpu.New(cpu.Options{Workers: 1})
	defer b.Close()
	p, _ := model.NewParams(b, layout.Single(m), 0, model.ParamOptions{Grads: true})
	x, _ := model.New(b, m.Function(), p, model.Parallel{}, model.Options{MicroBatch: 2, SeqLength: 7})
	fmt.Println(x.Tokens(), "tokens,", len(p.Shards()), "parameters")
	// Output: 14 tokens, 36 parameters
}
