package eval

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"cambium/src/rng"
)

// Sampling says how the next token is chosen from the logits z: softmax(z / Temperature), cut to the TopK most likely
// tokens and then to the fewest that together have probability TopP (nucleus sampling, arXiv 1904.09751).
type Sampling struct {
	MaxTokens   int     // tokens to write
	Temperature float64 // 0: always the most likely token
	TopK        int     // 0: all
	TopP        float64 // 0 or 1: all
	Seed        uint64  // same seed, same text
	Stop        int32   // ends the text and is not written; -1: none
}

// Check is one clear sentence when a value is impossible.
func (o Sampling) Check() error {
	switch {
	case o.MaxTokens < 0:
		return fmt.Errorf("eval: %d tokens to generate: want 0 or more", o.MaxTokens)
	case !(o.Temperature >= 0) || math.IsInf(o.Temperature, 1):
		return fmt.Errorf("eval: temperature is %g: want 0 (greedy) or more", o.Temperature)
	case o.TopK < 0:
		return fmt.Errorf("eval: top-k is %d: want 0 (all) or more", o.TopK)
	case !(o.TopP >= 0 && o.TopP <= 1):
		return fmt.Errorf("eval: top-p is %g: want 0 to 1", o.TopP)
	}
	return nil
}

// candidate is a token that may be chosen.
type candidate struct {
	id int32
	p  float64 // unnormalised probability
}

// choose picks a token given a uniform number u in [0, 1). Equal logits rank by id.
func (o Sampling) choose(logits []float32, u float64) int32 {
	best := 0
	for i, z := range logits {
		if z > logits[best] {
			best = i
		}
	}
	if o.Temperature == 0 || o.TopK == 1 {
		return int32(best)
	}
	c, total := o.candidates(logits, float64(logits[best]))
	for u *= total; len(c) > 1 && u >= c[0].p; c = c[1:] {
		u -= c[0].p
	}
	return c[0].id
}

// candidates are the tokens that top-k and top-p leave, most likely first, and the sum of their p.
func (o Sampling) candidates(logits []float32, highest float64) ([]candidate, float64) {
	c := make([]candidate, len(logits))
	for i, z := range logits {
		c[i] = candidate{id: int32(i), p: math.Exp((float64(z) - highest) / o.Temperature)}
	}
	slices.SortStableFunc(c, func(a, b candidate) int { return cmp.Compare(b.p, a.p) })
	if o.TopK > 0 {
		c = c[:min(o.TopK, len(c))]
	}
	total := 0.0
	for _, x := range c {
		total += x.p
	}
	if o.TopP > 0 && o.TopP < 1 {
		sum := 0.0
		for i, x := range c {
			if sum += x.p; sum >= o.TopP*total {
				return c[:i+1], sum
			}
		}
	}
	return c, total
}

// uniform is the random number of step i.
func (o Sampling) uniform(i int) float64 { return rng.NewKey(o.Seed, "generate").Float64(uint64(i)) }
