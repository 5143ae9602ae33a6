package eval

import (
	"math"
	"testing"

	"cambium/src/rng"
)

// Frequencies follow softmax(z/T) among the tokens that the cuts leave, and no other token is ever chosen.
func TestChoiceFollowsTheDistribution(t *testing.T) {
	p := []float64{0.1, 0.4, 0.05, 0.25, 0.2}
	const temperature = 0.7
	z := make([]float32, len(p))
	for i := range z {
		z[i] = float32(temperature*math.Log(p[i])) + 3
	}
	for name, c := range map[string]struct {
		o    Sampling
		left []int
	}{
		"all":         {Sampling{Temperature: temperature}, []int{0, 1, 2, 3, 4}},
		"top-k":       {Sampling{Temperature: temperature, TopK: 3}, []int{1, 3, 4}},
		"top-p":       {Sampling{Temperature: temperature, TopP: 0.84}, []int{1, 3, 4}},
		"top-p tight": {Sampling{Temperature: temperature, TopP: 0.6}, []int{1, 3}},
		"both":        {Sampling{Temperature: temperature, TopK: 2, TopP: 0.7}, []int{1, 3}},
	} {
		want, total := make([]float64, len(p)), 0.0
		for _, i := range c.left {
			total += p[i]
		}
		for _, i := range c.left {
			want[i] = p[i] / total
		}
		const draws = 40000
		got := make([]float64, len(p))
		k := rng.NewKey(1, name)
		for i := range draws {
			got[c.o.choose(z, k.Float64(uint64(i)))] += 1.0 / draws
		}
		for i := range p {
			if math.Abs(got[i]-want[i]) > 0.012 || want[i] == 0 && got[i] != 0 {
				t.Errorf("%s: token %d chosen with frequency %.3f, want %.3f", name, i, got[i], want[i])
			}
		}
	}
}
