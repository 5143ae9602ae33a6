package snapshot

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"reflect"

	"cambium/src/arch"
	"cambium/src/checkpoint"
	"cambium/src/config"
	"cambium/src/hf"
	"cambium/src/layout"
	"cambium/src/tensor"
	"cambium/src/tokenizer"
	"cambium/src/train"
)

// Export writes the model as a Hugging Face folder. A model that has no tokenizer is written without.
func (s *Snapshot) Export(dir, spec string) error {
	if s.Mask.Active() {
		return fmt.Errorf("%s lies on the ramp of a growth (mask at %.3g): the model is not a plain one before the ramp ends; export a later checkpoint", s.Path, s.Mask.V)
	}
	var tok hf.Tokenizer
	if spec != "" || s.Run == nil || s.Run.Tokenizer.Type != config.TokenizerNone {
		t, err := s.Tokenizer(spec)
		if err != nil {
			return err
		}
		tok = t
	}
	return hf.Export(dir, s.Model, s.Function, s.Get, tok)
}

// Import writes the model of a Hugging Face folder as the checkpoint of iteration 0 in a run's folder, and returns its
// path. With a run, whose first stage must have that model, Adam's moments (zero) come along, so that training can
// start from it.
func Import(f *hf.Folder, from, runDir string, run *config.Run) (string, error) {
	meta := checkpoint.Meta{Model: f.Model, Function: f.Function}
	kinds := []string{checkpoint.Weight}
	if run != nil {
		for i := range run.Stages {
			if m := &run.Stages[i].Model; m.VocabSize == 0 {
				m.VocabSize = f.Model.VocabSize
			}
		}
		if err := sameModel(run.Stages[0].Model, f.Model); err != nil {
			return "", fmt.Errorf("%s: %w", from, err)
		}
		if got, want := f.Function, run.Stages[0].Model.Function(); got != want {
			return "", fmt.Errorf("%s: its norms or logits are scaled (%+v) in a way that the first stage is not (%+v)", from, got, want)
		}
		meta.Model, meta.Seed, meta.Config = run.Stages[0].Model, run.Seed, string(run.Resolved())
		extra, err := train.FreshExtra()
		if err != nil {
			return "", err
		}
		meta.Extra = extra
		kinds = append(kinds, checkpoint.ExpAvg, checkpoint.ExpAvgSq)
	}
	var pieces []checkpoint.Piece
	for _, kind := range kinds {
		for _, t := range meta.Model.Tensors() {
			pieces = append(pieces, piece(f, t, kind))
		}
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return "", err
	}
	if tok, err := tokenizer.Open(from); err == nil {
		if err := tok.Save(runDir); err != nil {
			return "", err
		}
	}
	stats, err := checkpoint.Write(runDir+"/checkpoints", checkpoint.Alone{}, meta, pieces, checkpoint.Options{})
	return stats.Path, err
}

// piece is a whole parameter, or a moment of it, which is zero. It is read when it is written.
func piece(f *hf.Folder, t arch.Tensor, kind string) checkpoint.Piece {
	whole := layout.Whole(t.Shape)
	rest := t.Len() / t.Shape[0]
	var values []float32
	return checkpoint.Piece{
		Tensor: t.Name, Kind: kind, DType: tensor.F32, Shape: t.Shape, Box: whole,
		Fetch: func(part layout.Box, dst []byte) (err error) {
			if kind != checkpoint.Weight {
				clear(dst)
				return nil
			}
			if values == nil {
				if values, err = f.Get(t.Name); err != nil {
					return err
				}
			}
			for i, v := range values[part.Lo[0]*rest : part.Hi[0]*rest] {
				binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
			}
			if part.Hi[0] == t.Shape[0] {
				values = nil
			}
			return nil
		},
	}
}

// sameModel compares what must agree for weights to fit: everything but initial deviations, and multipliers that the
// other settings leave without effect.
func sameModel(want, got arch.Model) error {
	want.InitStd, want.EmbeddingInitStd = got.InitStd, got.EmbeddingInitStd
	if want.Position != arch.PositionRope && want.Position != arch.PositionXPos {
		want.RotaryBase = got.RotaryBase
	}
	if want.Position != arch.PositionXPos {
		want.XPosBase = got.XPosBase
	}
	a, b := reflect.ValueOf(want), reflect.ValueOf(got)
	for i := range a.NumField() {
		if x, y := a.Field(i).Interface(), b.Field(i).Interface(); x != y {
			return fmt.Errorf("its %s is %v, in the first stage of the configuration it is %v", a.Type().Field(i).Tag.Get("yaml"), y, x)
		}
	}
	return nil
}
