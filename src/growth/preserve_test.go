package growth_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"cambium/src/arch"
	"cambium/src/growth"
	"cambium/src/rng"
)

// The bounds in fp32, about three times the largest error that was seen here and in PyTorch over the same kinds of growth:
// the functions are equal, the sums in GEMMs, norms and softmax are longer and in another order.
const (
	lossBound  = 1e-5 // relative; what a training run checks
	logitBound = 3e-5 // max|z'-z| / max|z|
	gradBound  = 3e-4 // the same of each old tensor's gradient, relative to at least 1/1000 of the largest gradient
)

// options runs through all of {LayerNorm, RMSNorm} x {GELU, SwiGLU} x {learned, RoPE} x {tied, untied} x {MHA, GQA} x
// {muP, none}; bit i of n chooses the i-th. Biases go with GELU as in GPT-2 except in every fourth model, and xPos or no
// positions stand in for RoPE and learned ones in some.
func options(n int) arch.Model {
	bit := func(i int) bool { return n>>i&1 == 1 }
	draw := rng.NewKey(uint64(n), "sizes")
	m := arch.Defaults()
	m.NumLayers, m.NumAttentionHeads, m.NumQueryGroups, m.KVChannels = 2, 4, 4, 8
	m.HiddenSize, m.FFNHiddenSize = []int{16, 20, 28}[draw.Below(0, 3)], []int{24, 40}[draw.Below(1, 2)]
	m.VocabSize, m.VocabSizeDivisibleBy, m.NormEpsilon, m.InitStd, m.EmbeddingInitStd = 61, 8, 1e-3, 0.2, 0.02
	if bit(0) {
		m.Normalization = arch.RMSNorm
	}
	m.SwiGLU = bit(1)
	m.LinearBias = !m.SwiGLU != (draw.Below(2, 4) == 0)
	m.Position = arch.PositionLearned
	if bit(2) {
		m.Position = []string{arch.PositionRope, arch.PositionXPos}[draw.Below(3, 2)]
	} else if draw.Below(3, 8) == 0 {
		m.Position = arch.PositionNone
	}
	m.UntieOutput = bit(3)
	if bit(4) {
		m.NumQueryGroups = 2
	}
	if bit(5) {
		m.MupBaseWidth, m.InputMult, m.OutputMult = 16, 1.5, 2
	}
	return m.Complete(seq)
}

// larger grows one dimension, or all, by a random amount.
func larger(m arch.Model, what string, n int) arch.Model {
	k := rng.NewKey(uint64(n), "larger "+what)
	draw := func(i uint64, lo, hi int) int { return lo + int(k.Below(i, uint64(hi-lo+1))) }
	all := what == "all"
	if what == "hidden" || all {
		m.HiddenSize += draw(0, 1, 23)
	}
	if what == "ffn" || all {
		m.FFNHiddenSize += draw(1, 1, 33)
	}
	if what == "heads" || all {
		per, groups := m.NumAttentionHeads/m.NumQueryGroups, m.NumQueryGroups+draw(2, 0, 2)
		if m.NumQueryGroups < m.NumAttentionHeads {
			per += draw(3, 0, 2)
		}
		if groups*per == m.NumAttentionHeads {
			groups++
		}
		m.NumQueryGroups, m.NumAttentionHeads = groups, groups*per
	}
	if what == "layers" || all {
		m.NumLayers += draw(4, 1, 3)
	}
	return m
}

// worst remembers the largest error of a kind.
type worst map[string]float64

func (w worst) see(kind string, e float64) float64 {
	w[kind] = max(w[kind], e)
	return e
}

func TestGrowthPreservesTheFunctionAndOldGradients(t *testing.T) {
	seen, n := worst{}, 0
	for o := range 64 {
		from := options(o)
		small := alone(from)
		z0, l0, g0 := small.logits(arch.Mask{}), small.loss(arch.Mask{}), small.grads(arch.Mask{})
		for w, what := range []string{"hidden", "ffn", "heads", "layers", "all"} {
			if testing.Short() && (o+w)%5 != 0 {
				continue
			}
			to := larger(from, what, o)
			for _, op := range []growth.Options{{Operator: growth.Zero}, {Operator: growth.Mask}, {Operator: growth.Mask, Statistics: growth.MSG}} {
				op.LayerPlacement = []string{growth.Top, growth.Spread}[n%2]
				op.NewLayers = []string{growth.Random, growth.Random, growth.Copy}[n/3%3]
				n++
				name := fmt.Sprintf("%s %s %s %s %s: %+v -> %+v", op.Operator, op.Statistics, what, op.LayerPlacement, op.NewLayers, from, to)
				if err := preserved(seen, small, to, op, z0, l0, g0); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if !slices.Equal(small.logits(arch.Mask{}), z0) {
			t.Errorf("%+v: growth changed the old state", from)
		}
		small.close()
	}
	t.Logf("%d growths; largest errors: %v", n, seen)
}

func preserved(seen worst, small *rig, to arch.Model, op growth.Options, z0 []float32, l0 float64, g0 map[string][]float32) error {
	from := small.arch
	plan, err := growth.NewPlan(from, small.f, to, op)
	if err != nil {
		return err
	}
	r, drop, err := small.beside(plan)
	if err != nil {
		return err
	}
	defer drop()
	v0 := plan.MaskAt(0)
	kind := string(op.Operator) + op.Statistics
	if e := seen.see(kind+" logits", apart(r.logits(v0), z0)); e > logitBound {
		return fmt.Errorf("logits are %.1e apart", e)
	}
	l1 := r.loss(v0)
	if e := seen.see(kind+" loss", math.Abs(l1/l0-1)); e > lossBound {
		return fmt.Errorf("the loss goes from %g to %g", l0, l1)
	}
	if _, err := plan.CheckProbe(l0, l1, growth.Tolerance(0)); err != nil {
		return err
	}
	g1 := r.grads(v0)
	fresh, err := oldGradients(seen, kind, r, plan, from, g0, g1)
	if err != nil {
		return err
	}
	if op.Operator != growth.Mask {
		return nil
	}
	return masked(seen, kind, r, plan, g1, fresh)
}

// oldGradients compares the gradients of old entries, times the factor of their weights, and returns the new elements of every
// parameter.
func oldGradients(seen worst, kind string, r *rig, plan *growth.Plan, from arch.Model, g0, g1 map[string][]float32) (fresh map[string][]int, err error) {
	top := 0.0
	for _, g := range g0 {
		top = max(top, largest(g))
	}
	is := map[string][]bool{}
	for _, t := range r.state.Params.Shards() {
		is[t.Name] = make([]bool, t.Len())
	}
	// Zero with LayerNorm: new dims of the residual stream, though constant, take part in the mean, so gradients change.
	differ := plan.Options.Operator == growth.Zero && from.Normalization == arch.LayerNorm && plan.To.HiddenSize > from.HiddenSize
	changed := 0.0
	for _, t := range from.Tensors() {
		name, at := places(t, from, plan.To, placement(from, plan.To, plan.Options.LayerPlacement))
		scaled := make([]float32, len(at))
		for i, j := range at {
			is[name][j] = true
			scaled[i] = g1[name][j] * float32(plan.Factor(t))
		}
		e := apart(scaled, g0[t.Name]) * largest(g0[t.Name]) / max(largest(g0[t.Name]), 1e-3*top)
		if differ {
			changed = max(changed, e)
		} else if seen.see(kind+" old gradients", e) > gradBound {
			err = fmt.Errorf("the gradients of %s are %.1e apart", t.Name, e)
		}
	}
	if differ && changed < gradBound {
		err = fmt.Errorf("gradients under LayerNorm are only %.1e apart: the documentation says that they change", changed)
	}
	fresh = map[string][]int{}
	for _, t := range r.state.Params.Shards() {
		for i, old := range is[t.Name] {
			if padding := t.Axes[0] == arch.Vocab && i/t.Shape[1] >= r.arch.VocabSize; !old && !padding {
				fresh[t.Name] = append(fresh[t.Name], i)
			}
		}
	}
	return fresh, err
}

// masked checks the two ends of a ramp: at v = 0 no new entry has a gradient, soon after every parameter's new entries have one,
// and at v = 1 the masked model is the plain one.
func masked(seen worst, kind string, r *rig, plan *growth.Plan, g1 map[string][]float32, fresh map[string][]int) error {
	soon := r.grads(plan.MaskAt(0.01))
	for name, places := range fresh {
		some := false
		for _, i := range places {
			if g1[name][i] != 0 {
				return fmt.Errorf("new entry %s[%d] has the gradient %g at v = 0", name, i, g1[name][i])
			}
			some = some || soon[name][i] != 0
		}
		// Without positions a bias of the keys shifts all scores of a row alike, which softmax does not see.
		if !some && !strings.HasSuffix(name, "key.bias") {
			return fmt.Errorf("no new entry of %s has a gradient at v = 0.01", name)
		}
	}
	almost := plan.MaskAt(1 - 1.0/(1<<24)) // the largest fp32 number below 1
	if e := seen.see(kind+" v=1", apart(r.logits(almost), r.logits(plan.MaskAt(1)))); e > logitBound {
		return fmt.Errorf("masked at v = 1 and plain logits are %.1e apart", e)
	}
	return nil
}

// A later stage may have longer sequences: learned positions are added, and the function on short ones stays.
func TestLearnedPositionsCanBeAdded(t *testing.T) {
	from := options(0)
	from.Position = arch.PositionLearned
	for _, wider := range []int{0, 9} {
		small := alone(from)
		small.train(0, 3, 5e-3, nil, 0, 0)
		small.draw(0)
		z0 := small.logits(arch.Mask{})
		to := from
		to.MaxPositions, to.HiddenSize = from.MaxPositions+8, from.HiddenSize+wider
		_, _, err := small.grow(to, growth.Options{}, 1)
		must(err)
		if e := apart(small.logits(arch.Mask{}), z0); e > logitBound {
			t.Errorf("logits are %.1e apart", e)
		}
		w := small.state.Params.Weight(arch.PositionEmbeddings).Slice(from.MaxPositions, to.MaxPositions)
		if largest(w.F32()) == 0 {
			t.Error("new positions are all zero")
		}
		if b := small.state.Optimizer.Births(); b.Axis(arch.Positions, from.MaxPositions-1) != 0 || b.Axis(arch.Positions, from.MaxPositions) != 3 {
			t.Errorf("births of positions: %v", b.Axes[arch.Positions])
		}
		small.close()
	}
}
