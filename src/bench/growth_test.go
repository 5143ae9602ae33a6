package bench

import (
	"math"
	"path/filepath"
	"testing"

	"cambium/src/config"
	"cambium/src/flops"
)

// quickstart is the configuration of `make train`.
func quickstart(t *testing.T) *config.Run {
	t.Helper()
	cfg, err := config.Load(filepath.Join("..", "..", "configs", "quickstart.yaml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range cfg.Stages {
		cfg.Stages[i].Model.VocabSize = 4096 // what its tokenizer has
	}
	return cfg
}

func TestVariantsSpendTheSameOperationsAndDecayOverTheSameShare(t *testing.T) {
	cfg, f := quickstart(t), flops.PaLM()
	total := func(r *config.Run) (all float64) {
		for i := range r.Stages {
			all += float64(r.Stages[i].Tokens()) * f.PerToken(r.Stages[i].Model, r.Stages[i].Train.SeqLength)
		}
		return all
	}
	variants := Variants(cfg)
	if len(variants) != 4 {
		t.Fatalf("%d variants of three stages: want the run, its last model and two smaller ones", len(variants))
	}
	want := total(cfg)
	for _, v := range variants[1:] {
		if r := total(&v.Config) / want; math.Abs(r-1) > 1e-3 {
			t.Errorf("%s: %.4f of the operations of the growth run", v.Name, r)
		}
		// The quickstart's file says that its last sixth of the tokens is 40 % of the operations.
		if share := v.Config.Stages[0].Train.WSDDecayFraction; math.Abs(share-0.40) > 0.02 {
			t.Errorf("%s: the learning rate falls over %.3f of the operations, in the growth run over 0.40", v.Name, share)
		}
	}
}
