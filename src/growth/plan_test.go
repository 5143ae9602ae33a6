package growth_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"cambium/src/arch"
	"cambium/src/growth"
	"cambium/src/layout"
	"cambium/src/optim"
)

func TestImpossibleGrowthsAreRefusedInOneSentence(t *testing.T) {
	from := llama(4, 32, 8, 64)
	from.NumQueryGroups = 4 // two query heads a group
	for name, c := range map[string]struct {
		change func(*arch.Model, *growth.Options)
		words  string
	}{
		"fewer layers":       {func(m *arch.Model, _ *growth.Options) { m.NumLayers = 3 }, "num_layers shrinks from 4 to 3"},
		"smaller hidden":     {func(m *arch.Model, _ *growth.Options) { m.HiddenSize = 31 }, "hidden_size shrinks from 32 to 31"},
		"smaller FFN":        {func(m *arch.Model, _ *growth.Options) { m.FFNHiddenSize = 63 }, "ffn_hidden_size shrinks"},
		"fewer heads":        {func(m *arch.Model, _ *growth.Options) { m.NumAttentionHeads, m.NumQueryGroups = 7, 7 }, "num_attention_heads shrinks"},
		"fewer groups":       {func(m *arch.Model, _ *growth.Options) { m.NumQueryGroups = 2 }, "num_query_groups shrinks"},
		"fewer a group":      {func(m *arch.Model, _ *growth.Options) { m.NumQueryGroups = 8 }, "query heads a group fall from 2 to 1"},
		"head size":          {func(m *arch.Model, _ *growth.Options) { m.KVChannels = 16 }, "kv_channels changes from 8 to 16"},
		"vocabulary":         {func(m *arch.Model, _ *growth.Options) { m.VocabSize = 32 }, "vocab_size changes"},
		"norm":               {func(m *arch.Model, _ *growth.Options) { m.Normalization = arch.RMSNorm }, "normalization changes"},
		"eps":                {func(m *arch.Model, _ *growth.Options) { m.NormEpsilon = 1e-6 }, "norm_epsilon changes"},
		"base of RoPE":       {func(m *arch.Model, _ *growth.Options) { m.RotaryBase = 500000 }, "rotary_base changes"},
		"SwiGLU":             {func(m *arch.Model, _ *growth.Options) { m.SwiGLU = true }, "swiglu changes"},
		"untied":             {func(m *arch.Model, _ *growth.Options) { m.UntieOutput = true }, "untie_embeddings_and_output_weights changes"},
		"muP":                {func(m *arch.Model, _ *growth.Options) { m.OutputMult = 3 }, "output_mult changes"},
		"stack in width":     {func(m *arch.Model, o *growth.Options) { o.Operator, m.HiddenSize = growth.Stack, 40 }, "stack grows num_layers only"},
		"operator":           {func(_ *arch.Model, o *growth.Options) { o.Operator = "clone" }, `operator "clone"`},
		"msg without a mask": {func(_ *arch.Model, o *growth.Options) { o.Statistics = growth.MSG }, "statistics msg belongs to operator mask"},
	} {
		to, o := from, growth.Options{}
		c.change(&to, &o)
		_, err := growth.NewPlan(from, from.Function(), to, o)
		if err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want a sentence with %q", name, err, c.words)
		}
	}
	learned := from
	learned.Position, learned.MaxPositions = arch.PositionLearned, 12
	shorter := learned
	shorter.MaxPositions = 11
	if _, err := growth.NewPlan(learned, learned.Function(), shorter, growth.Options{}); err == nil {
		t.Error("fewer learned positions: no error")
	}
}

func plan(from, to arch.Model, o growth.Options) *growth.Plan {
	p, err := growth.NewPlan(from, from.Function(), to, o)
	must(err)
	return p
}

// 4 query heads in 2 groups become 9 in 3: heads go by (group, slot), so old heads 2 and 3 of the second group are new
// heads 3 and 4, and the others are new.
func TestHeadsKeepTheirGroupAndSlot(t *testing.T) {
	from := llama(2, 32, 4, 64)
	from.NumQueryGroups = 2
	to := from
	to.NumAttentionHeads, to.NumQueryGroups = 9, 3
	p := plan(from, to, growth.Options{Operator: growth.Mask})
	if want := []layout.Piece{{Old: 0, New: 0, Len: 16}, {Old: 16, New: 24, Len: 16}}; !slices.Equal(p.State.Axes[arch.Query], want) {
		t.Errorf("query pieces %v, want %v", p.State.Axes[arch.Query], want)
	}
	if want := []int{2, 5, 6, 7, 8}; !slices.Equal(p.MaskAt(0.25).NewHeads, want) {
		t.Errorf("mask %+v, want new heads %v", p.MaskAt(0.25), want)
	}
}

func TestLayersGoOnTopOrAreSpread(t *testing.T) {
	from, to := llama(3, 32, 4, 64), llama(7, 32, 4, 64)
	const none = layout.Fresh
	for _, c := range []struct {
		o              growth.Options
		state, weights []int
	}{
		{growth.Options{}, []int{0, 1, 2, none, none, none, none}, []int{0, 1, 2, none, none, none, none}},
		{growth.Options{LayerPlacement: growth.Spread}, []int{0, none, 1, none, 2, none, none}, []int{0, none, 1, none, 2, none, none}},
		{growth.Options{Operator: growth.Stack}, []int{0, 1, 2, none, none, none, none}, []int{0, 1, 2, 0, 1, 2, 0}},
		{growth.Options{NewLayers: growth.Copy, LayerPlacement: growth.Spread}, []int{0, none, 1, none, 2, none, none}, []int{0, 0, 1, 1, 2, 2, 2}},
	} {
		p := plan(from, to, c.o)
		if !slices.Equal(p.State.Layers, c.state) || !slices.Equal(p.Weights.Layers, c.weights) {
			t.Errorf("%+v: layers %v from %v, want %v from %v", c.o, p.State.Layers, p.Weights.Layers, c.state, c.weights)
		}
	}
}

func TestMasksNameWhatIsNewAndNothingElse(t *testing.T) {
	from := llama(2, 32, 4, 64)
	all := llama(3, 40, 5, 70)
	p := plan(from, all, growth.Options{Operator: growth.Mask})
	k := p.MaskAt(0.1)
	if k.V != 0.1 || k.OldHidden != 32 || k.OldFFN != 64 || !slices.Equal(k.NewHeads, []int{4}) || !slices.Equal(k.NewLayers, []int{2}) || k.MSGStatistics || k.LogitScale0 != 0 {
		t.Errorf("mask of all dimensions: %+v", k)
	}
	if !p.MaskAt(0).Active() || p.MaskAt(1).Active() {
		t.Error("a mask is active at v = 0 and not at v = 1")
	}
	wide := from
	wide.HiddenSize = 40
	k = plan(from, wide, growth.Options{Operator: growth.Mask, Statistics: growth.MSG}).MaskAt(0.1)
	if k.OldHidden != 32 || k.OldFFN != 0 || k.NewHeads != nil || k.NewLayers != nil || !k.MSGStatistics || k.LogitScale0 != 1 {
		t.Errorf("MSG's mask of the hidden size: %+v", k)
	}
	for _, p := range []*growth.Plan{plan(from, all, growth.Options{}), plan(from, from, growth.Options{Operator: growth.Mask})} {
		if p.MaskAt(0).Active() {
			t.Errorf("%s from %d to %d: mask %+v, want none", p.Options.Operator, p.From.HiddenSize, p.To.HiddenSize, p.MaskAt(0))
		}
	}
}

// eps, logit scale and the factors of gains over two growths amount to those of one from the first size to the last.
func TestFoldsChainOverGrowths(t *testing.T) {
	for _, mup := range []int{0, 16} {
		a, b, c := llama(2, 32, 4, 64), llama(2, 48, 4, 64), llama(2, 80, 4, 64)
		a.MupBaseWidth, b.MupBaseWidth, c.MupBaseWidth = mup, mup, mup
		one := plan(a, b, growth.Options{})
		two, err := growth.NewPlan(b, one.Function, c, growth.Options{Operator: growth.Mask})
		must(err)
		direct := plan(a, c, growth.Options{})
		near := func(x, y float64) bool { return math.Abs(x/y-1) < 1e-12 }
		if !near(two.Function.NormEps, direct.Function.NormEps) || !near(direct.Function.NormEps, 1e-5*32/80) || !near(two.Function.LogitScale, c.Function().LogitScale) {
			t.Errorf("muP base %d: after two growths %+v, after one %+v", mup, two.Function, direct.Function)
		}
		for _, x := range c.Tensors() {
			if !near(one.Factor(x)*two.Factor(x), direct.Factor(x)) {
				t.Errorf("muP base %d: %s: factors %g x %g, directly %g", mup, x.Name, one.Factor(x), two.Factor(x), direct.Factor(x))
			}
		}
	}
}

// New gains, in new layers too, start like old ones that never learned: at the product of all factors.
func TestNewGainsStartLikeOldOnes(t *testing.T) {
	r := alone(llama(2, 20, 3, 17)).plainInit()
	defer r.close()
	for i, to := range []arch.Model{llama(2, 33, 3, 17), llama(4, 33, 4, 17), llama(5, 50, 4, 29)} {
		_, _, err := r.grow(to, growth.Options{Operator: []growth.Operator{growth.Zero, growth.Mask, growth.Zero}[i]}, i)
		must(err)
		for _, x := range to.Tensors() {
			w := r.state.Params.Weight(x.Name).F32()
			want := math.Sqrt(20 / float64(to.HiddenSize))
			if x.Name == arch.FinalNormGain {
				want = 1 / want
			}
			for j := range w {
				if x.Role == arch.Gain && math.Abs(float64(w[j])/want-1) > 1e-6 {
					t.Fatalf("growth %d: %s[%d] is %g, want %g", i, x.Name, j, w[j], want)
				}
			}
		}
	}
}

// Fresh weights must not repeat those of an earlier growth or of the start, although tensors keep their names.
func TestEveryGrowthDrawsOtherNumbers(t *testing.T) {
	models := []arch.Model{llama(1, 16, 2, 16), llama(2, 32, 4, 48), llama(3, 56, 7, 80)}
	for i := range models {
		models[i].MupBaseWidth = 0 // the same standard deviation at every width
	}
	r := alone(models[0]).plainInit()
	defer r.close()
	for i, to := range models[1:] {
		_, _, err := r.grow(to, growth.Options{Operator: growth.Mask}, i)
		must(err)
	}
	values, different := 0, map[float32]bool{}
	for _, x := range r.arch.Tensors() {
		if x.Role == arch.Reader {
			for _, w := range r.state.Params.Weight(x.Name).F32() {
				values++
				different[w] = true
			}
		}
	}
	if len(different) < values*99/100 { // chance makes some 0.3 % of fp32 values equal here
		t.Errorf("only %d different values among %d weights", len(different), values)
	}
}

func TestBirthsChainOverGrowths(t *testing.T) {
	a, b, c := llama(2, 16, 2, 24), llama(2, 24, 3, 24), llama(3, 24, 4, 30)
	first := plan(a, b, growth.Options{}).Births(optim.Births{}, 10)
	second := plan(b, c, growth.Options{LayerPlacement: growth.Spread}).Births(first, 25)
	want := optim.Births{Layers: []int32{0, 0, 25}} // spread over 3, old layers 0 and 1 become floor(1.5 l): 0 and 1
	steps := func(runs ...int) (v []int32) {        // births, lengths
		for i := 0; i < len(runs); i += 2 {
			v = append(v, slices.Repeat([]int32{int32(runs[i])}, runs[i+1])...)
		}
		return v
	}
	want.Axes[arch.Hidden], want.Axes[arch.FFN] = steps(0, 16, 10, 8), steps(0, 24, 25, 6)
	want.Axes[arch.Query] = steps(0, 16, 10, 8, 25, 8)
	want.Axes[arch.KV] = want.Axes[arch.Query]
	if got := fmt.Sprint(second); got != fmt.Sprint(want) {
		t.Errorf("births %s, want %v", got, want)
	}
}

func TestTheProbeDecides(t *testing.T) {
	m := llama(2, 16, 2, 24)
	zero, stack := plan(m, llama(3, 16, 2, 24), growth.Options{}), plan(m, llama(3, 16, 2, 24), growth.Options{Operator: growth.Stack})
	tolerance := growth.Tolerance(0)
	if tolerance != 1e-5 || growth.Tolerance(2) != 1e-3 || growth.Tolerance(3) != 1e-3 {
		t.Error("tolerances are 1e-5 in fp32, 1e-3 in bf16 and fp16")
	}
	nan := math.NaN()
	for _, c := range []struct {
		p             *growth.Plan
		before, after float64
		good          bool
	}{
		{zero, 4, 4.00003, true}, {zero, 4, 4.00005, false}, {zero, 4, 3.99, false}, {zero, 4, nan, false}, {zero, nan, nan, false},
		{stack, 4, 4.7, true}, {stack, 4, math.Inf(1), false},
	} {
		change, err := c.p.CheckProbe(c.before, c.after, tolerance)
		if (err == nil) != c.good || c.good && math.Abs(change-math.Abs(c.after/c.before-1)) > 1e-12 {
			t.Errorf("%s from %g to %g: change %g, %v", c.p.Options.Operator, c.before, c.after, change, err)
		}
	}
}
