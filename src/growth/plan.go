package growth

import (
	"math"
	"strings"

	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/optim"
)

// Operator is how a model is enlarged. The names are those of configurations.
type Operator string

// The operators: see the package comment.
const (
	Zero  Operator = "zero"
	Mask  Operator = "mask"
	Stack Operator = "stack"
)

// Options of a growth. Empty strings mean the first value named.
type Options struct {
	Operator       Operator // zero, mask or stack
	Statistics     string   // folded or msg: the divisor of masked norms, mask only
	LayerPlacement string   // top or spread: new layers after all old ones, or among them
	NewLayers      string   // random or copy: what new layers start from; stack copies
}

// The values of Options.
const (
	Folded = "folded"
	MSG    = "msg"
	Top    = "top"
	Spread = "spread"
	Random = "random"
	Copy   = "copy"
)

// Plan says all about one growth. It is a pure value, the same on every rank.
type Plan struct {
	From, To     arch.Model
	FromFunction arch.Function
	Function     arch.Function // of the grown model, from now on
	Options      Options       // with defaults filled in

	// State says where old entries live on: their weights, moments and births. Weights is State with the old layers
	// that new layers are copied from.
	State, Weights layout.Embedding
}

// NewPlan plans the growth of a model that computes the given function. It refuses what would not preserve it, in one
// sentence that names the key.
func NewPlan(from arch.Model, function arch.Function, to arch.Model, o Options) (*Plan, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := check(from, to, o); err != nil {
		return nil, err
	}
	p := &Plan{From: from, To: to, FromFunction: function, Options: o}
	state, source := placeLayers(from.NumLayers, to.NumLayers, o)
	if p.State, err = layout.Grown(from, to, state); err != nil {
		return nil, err
	}
	if p.Weights, err = layout.Grown(from, to, source); err != nil {
		return nil, err
	}
	p.Function = p.function()
	return p, nil
}

// placeLayers gives for each new layer the old one that lives on in it (or layout.Fresh), and the one whose weights it
// starts from. On top, copies repeat the old layers in order (G_stack); spread, they repeat the old layer below.
func placeLayers(from, to int, o Options) (state, source []int) {
	state = make([]int, to)
	for n := range state {
		state[n] = layout.Fresh
	}
	for l := range from {
		if o.LayerPlacement == Spread {
			state[l*to/from] = l
		} else {
			state[l] = l
		}
	}
	source = append([]int(nil), state...)
	if o.NewLayers != Copy {
		return state, source
	}
	below := 0
	for n, l := range state {
		switch {
		case l != layout.Fresh:
			below = l
		case o.LayerPlacement == Spread:
			source[n] = below
		default:
			source[n] = n % from
		}
	}
	return state, source
}

// hiddenRatio is d0/d.
func (p *Plan) hiddenRatio() float64 { return float64(p.From.HiddenSize) / float64(p.To.HiddenSize) }

// msg tells whether masked norms use MSG's own statistics: nothing is folded then.
func (p *Plan) msg() bool { return p.Options.Operator == Mask && p.Options.Statistics == MSG }

// function is that of the larger width: muP's logit scale falls by d0/d, which is folded into the final norm (MSG's form: ramped
// by the mask), and eps by d0/d with the gains (MSG's form: kept).
func (p *Plan) function() arch.Function {
	f := p.FromFunction
	f.LogitScale /= p.To.WidthMult() / p.From.WidthMult()
	if !p.msg() {
		f.NormEps *= p.hiddenRatio()
	}
	return f
}

// MaskAt is the mask at strength v, which is 0 for the probe and schedule.MaskAt of the step in training; the zero Mask when the
// operator needs none.
func (p *Plan) MaskAt(v float64) arch.Mask {
	if p.Options.Operator != Mask {
		return arch.Mask{}
	}
	k := arch.Mask{V: v}
	if p.To.HiddenSize > p.From.HiddenSize {
		k.OldHidden, k.MSGStatistics = p.From.HiddenSize, p.msg()
		if p.msg() && p.Function.LogitScale != p.FromFunction.LogitScale {
			k.LogitScale0 = p.FromFunction.LogitScale
		}
	}
	if p.To.FFNHiddenSize > p.From.FFNHiddenSize {
		k.OldFFN = p.From.FFNHiddenSize
	}
	old := make([]bool, p.To.NumAttentionHeads)
	for _, x := range p.State.Axes[arch.Query] {
		for c := x.New; c < x.New+x.Len; c += p.To.KVChannels {
			old[c/p.To.KVChannels] = true
		}
	}
	for h, is := range old {
		if !is {
			k.NewHeads = append(k.NewHeads, h)
		}
	}
	k.NewLayers = p.newLayers()
	if k.OldHidden == 0 && k.OldFFN == 0 && len(k.NewHeads) == 0 && len(k.NewLayers) == 0 {
		return arch.Mask{}
	}
	return k
}

func (p *Plan) newLayers() []int {
	var out []int
	for n, l := range p.State.Layers {
		if l == layout.Fresh {
			out = append(out, n)
		}
	}
	return out
}

// Factor is what the old values of a parameter are multiplied by: c. Moments go with 1/c and 1/c^2.
func (p *Plan) Factor(t arch.Tensor) float64 {
	if p.msg() {
		return 1
	}
	c := 1.0
	if t.Role == arch.Gain {
		c = math.Sqrt(p.hiddenRatio())
	}
	if t.Name == arch.FinalNormGain || t.Name == arch.FinalNormShift {
		c *= p.To.WidthMult() / p.From.WidthMult()
	}
	return c
}

// newGain is what new entries of a gain start with: 1 times the factors of all growths so far, so that they start like the
// old ones. eps remembers them: it has been multiplied by every d0/d that was folded.
func (p *Plan) newGain(t arch.Tensor) float64 {
	if p.To.NormEpsilon <= 0 {
		return p.Factor(t)
	}
	folded := p.Function.NormEps / p.To.NormEpsilon
	if t.Name == arch.FinalNormGain && p.To.MupBaseWidth > 0 {
		return math.Sqrt(1 / folded)
	}
	return math.Sqrt(folded)
}

// isNewLayer tells whether the tensor belongs to a layer that did not exist.
func (p *Plan) isNewLayer(t arch.Tensor) bool {
	return t.Layer >= 0 && p.State.Layers[t.Layer] == layout.Fresh
}

// writes tells whether a parameter writes into the residual stream: embeddings, attention dense, fc2 and their biases.
func writes(t arch.Tensor) bool {
	switch t.Role {
	case arch.Writer:
		return true
	case arch.Table:
		return t.Name != arch.OutputWeight
	case arch.Shift:
		return strings.HasSuffix(t.Name, ".attention.dense.bias") || strings.HasSuffix(t.Name, ".mlp.fc2.bias")
	}
	return false
}

// Births gives the grown model's births: what lives on keeps its own, what is new was born after step steps.
func (p *Plan) Births(old optim.Births, step int) optim.Births {
	var out optim.Births
	for i := range arch.AxisCount {
		a := arch.Axis(i)
		from, to := p.From.Size(a), p.To.Size(a)
		if from == to {
			out.Axes[i] = old.Axes[i]
			continue
		}
		v := make([]int32, to)
		for j := range v {
			v[j] = int32(step)
		}
		for _, x := range p.State.Axes[i] {
			for j := range x.Len {
				v[x.New+j] = old.Axis(a, x.Old+j)
			}
		}
		out.Axes[i] = v
	}
	if len(p.newLayers()) == 0 {
		out.Layers = old.Layers
		return out
	}
	out.Layers = make([]int32, p.To.NumLayers)
	for n, l := range p.State.Layers {
		if l == layout.Fresh {
			out.Layers[n] = int32(step)
		} else {
			out.Layers[n] = old.Layer(l)
		}
	}
	return out
}
