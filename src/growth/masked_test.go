package growth_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"cambium/src/arch"
)

// ramp is one case of testdata/masked.json.
type ramp struct {
	Layers, Hidden, FFN, Heads, Groups, D int
	OldHidden                             int   `json:"old_hidden"`
	OldFFN                                int   `json:"old_ffn"`
	NewHeads                              []int `json:"new_heads"`
	NewLayers                             []int `json:"new_layers"`
	V, Scale, Eps                         float64
	ScaleFrom                             float64 `json:"scale_from"`
	RMS, SwiGLU, Bias, Learned, Tied, MSG bool
	Loss                                  float64
	Logits                                []float32
	Gradients                             map[string][2]float64
}

func (c ramp) model() (arch.Model, arch.Mask) {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.FFNHiddenSize = c.Layers, c.Hidden, c.FFN
	m.NumAttentionHeads, m.NumQueryGroups, m.KVChannels = c.Heads, c.Groups, c.D
	m.VocabSize, m.VocabSizeDivisibleBy, m.NormEpsilon = 29, 32, c.Eps
	m.SwiGLU, m.LinearBias, m.UntieOutput = c.SwiGLU, c.Bias, !c.Tied
	if c.RMS {
		m.Normalization = arch.RMSNorm
	}
	if !c.Learned {
		m.Position = arch.PositionRope
	}
	return m.Complete(seq), arch.Mask{V: c.V, OldHidden: c.OldHidden, OldFFN: c.OldFFN, NewHeads: c.NewHeads, NewLayers: c.NewLayers,
		MSGStatistics: c.MSG, LogitScale0: c.ScaleFrom}
}

// In the middle of a ramp, where neither the old nor the new model can be compared with: logits, loss and every gradient of
// an independent implementation in fp64 (testdata/masked.py). fp32: 1e-5 of the largest logit, 1e-4 of a gradient's length.
func TestTheRampAgreesWithPyTorch(t *testing.T) {
	raw, err := os.ReadFile("testdata/masked.json")
	must(err)
	var cases []ramp
	must(json.Unmarshal(raw, &cases))
	for i, c := range cases {
		m, k := c.model()
		r := alone(m)
		r.f.LogitScale = c.Scale
		r.bind()
		for n, x := range r.state.Params.Shards() {
			w := r.state.Params.Weight(x.Name).F32()
			for j := range w {
				v := 0.4 * math.Sin(1+0.7*float64(n)+1.9*float64(j))
				if x.Role == arch.Gain {
					v++
				}
				w[j] = float32(v)
			}
		}
		for j := range batch * seq {
			r.tokens.I32()[j], r.targets.I32()[j] = int32((7*j*j+3*j+1)%29), int32((5*j*j+11*j+2)%29)
		}
		if e := apart(r.logits(k), c.Logits); e > 1e-5 {
			t.Errorf("case %d: logits are %.1e apart", i, e)
		}
		if l := r.loss(k); math.Abs(l/c.Loss-1) > 1e-6 {
			t.Errorf("case %d: loss %g, PyTorch %g", i, l, c.Loss)
		}
		grads := r.grads(k)
		if len(grads) != len(c.Gradients) {
			t.Errorf("case %d: %d gradients, PyTorch has %d", i, len(grads), len(c.Gradients))
		}
		top := 0.0
		for _, g := range c.Gradients {
			top = max(top, g[0])
		}
		for name, g := range grads {
			want := c.Gradients[name]
			norm, along := 0.0, 0.0
			for j, v := range g {
				norm += float64(v) * float64(v)
				along += float64(v) * math.Cos(0.3*float64(j))
			}
			norm = math.Sqrt(norm)
			if floor := max(want[0], 1e-3*top); math.Abs(norm-want[0]) > 1e-4*floor || math.Abs(along-want[1]) > 1e-4*floor*math.Sqrt(float64(len(g))) {
				t.Errorf("case %d: gradient of %s: length %g, along %g; PyTorch %v", i, name, norm, along, want)
			}
		}
		r.close()
	}
}
