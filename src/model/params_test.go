package model_test

import (
	"math"
	"slices"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend/cpu"
	"cambium/src/layout"
	"cambium/src/model"
)

func TestInitialValuesDependOnSeedNameAndIndexOnly(t *testing.T) {
	m := small()
	r := newRig(t, m, model.Options{MicroBatch: 1, SeqLength: 7}, 1)
	defer r.b.Close()
	for _, p := range r.p.Shards() {
		w := r.p.Weight(p.Name).F32()
		lo, hi := make([]int, len(p.Shape)), slices.Clone(p.Shape)
		lo[0], hi[0] = p.Shape[0]/3, p.Shape[0]/2+3 // any box
		size := 1
		for i := range lo {
			size *= hi[i] - lo[i]
		}
		box := make([]float32, size)
		initialValues(box, m, p.Tensor, 7, lo, hi)
		if at := lo[0] * p.Len() / p.Shape[0]; !slices.Equal(box, w[at:at+size]) {
			t.Errorf("%s: a box of rows has other values than the whole", p.Name)
		}
		if std := norm(w) / math.Sqrt(float64(p.Len())); len(p.Shape) == 2 && math.Abs(std-p.Std) > 0.12*p.Std {
			t.Errorf("%s: standard deviation %g, want %g", p.Name, std, p.Std)
		}
	}
	for i, x := range r.p.Weight(arch.WordEmbeddings).F32()[53*20:] {
		if x != 0 {
			t.Fatalf("padding of the vocabulary: element %d is %g", i, x)
		}
	}
	if a, b := r.p.Weight("layers.0.mlp.fc1.weight").F32()[0], r.p.Weight("layers.1.mlp.fc1.weight").F32()[0]; a == b {
		t.Errorf("two layers start with the same values")
	}
}

func TestJoinedParametersAreOneMatrix(t *testing.T) {
	m := small()
	m.SwiGLU, m.HiddenSize = true, 21
	b := cpu.New(cpu.Options{Workers: 1})
	defer b.Close()
	p, err := model.NewParams(b, layout.Single(m), 0, model.ParamOptions{Grads: true})
	if err != nil {
		t.Fatal(err)
	}
	follow := func(first, second string) {
		a, b := p.Weight(first), p.Weight(second)
		if a.Offset()+a.Bytes() != b.Offset() {
			t.Errorf("%s does not begin where %s ends", second, first)
		}
		if g := p.Grad(second); g.Offset() != b.Offset() {
			t.Errorf("%s: gradient at %d, weight at %d", second, g.Offset(), b.Offset())
		}
	}
	for _, kind := range []string{"weight", "bias"} {
		follow("layers.1.attention.query."+kind, "layers.1.attention.key."+kind)
		follow("layers.1.attention.key."+kind, "layers.1.attention.value."+kind)
		follow("layers.1.mlp.gate."+kind, "layers.1.mlp.fc1."+kind)
	}
	if p.Weight("no such parameter").Present() || p.FlatGrads().Len() < m.ParameterCount() {
		t.Errorf("flat block of %d elements for %d parameters", p.FlatGrads().Len(), m.ParameterCount())
	}
}
