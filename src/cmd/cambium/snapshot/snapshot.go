package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"cambium/src/arch"
	"cambium/src/checkpoint"
	"cambium/src/config"
	"cambium/src/hf"
	"cambium/src/layout"
	"cambium/src/tensor"
	"cambium/src/tokenizer"
)

// Snapshot is a model on a disk.
type Snapshot struct {
	Path     string // of the checkpoint or the Hugging Face folder
	Model    arch.Model
	Function arch.Function
	Mask     arch.Mask          // of a growth ramp that was under way
	Run      *config.Run        // its configuration; nil when it is not known
	Reader   *checkpoint.Reader // nil for a Hugging Face folder
	folder   *hf.Folder
	runDir   string
	tensors  []arch.Tensor // of Model
}

// Latest asks Open for the newest checkpoint.
const Latest = -1

// Open finds the model at path: a run's folder, its folder of checkpoints, one checkpoint, or a Hugging Face folder.
// Iteration picks one checkpoint of a run; Latest is the newest that can be opened.
func Open(path string, iteration int) (*Snapshot, error) {
	at, runDir, err := Locate(path, iteration)
	if err != nil {
		return nil, err
	}
	if runDir == "" && exists(filepath.Join(at, "config.json")) {
		return openHF(at)
	}
	r, err := checkpoint.Open(at)
	if err != nil {
		return nil, err
	}
	meta := r.Meta()
	s := &Snapshot{Path: at, Model: meta.Model, Function: meta.Function, Mask: meta.Mask, Reader: r, runDir: runDir, tensors: meta.Model.Tensors()}
	if meta.Config != "" {
		if s.Run, err = config.Parse(filepath.Join(at, "configuration"), []byte(meta.Config), nil, nil); err != nil {
			r.Close()
			return nil, fmt.Errorf("checkpoint %s: its configuration: %w", at, err)
		}
	}
	return s, nil
}

func openHF(dir string) (*Snapshot, error) {
	f, err := hf.Import(dir)
	if err != nil {
		return nil, err
	}
	return &Snapshot{Path: dir, Model: f.Model, Function: f.Function, folder: f, runDir: dir}, nil
}

// Locate finds the checkpoint folder that path and iteration mean, and the folder of its run, which is empty for a
// Hugging Face folder.
func Locate(path string, iteration int) (folder, runDir string, err error) {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("%s: there is no such folder", path)
	} else if err != nil {
		return "", "", err
	} else if !info.IsDir() {
		return "", "", fmt.Errorf("%s is a file: want a run's folder or one of its checkpoints", path)
	}
	if exists(filepath.Join(path, "manifest.json")) {
		if iteration != Latest {
			return "", "", fmt.Errorf("%s is one checkpoint already: leave out --ckpt-step", path)
		}
		return path, filepath.Dir(filepath.Dir(filepath.Clean(path))), nil
	}
	dir, runDir := path, filepath.Dir(filepath.Clean(path))
	if sub := filepath.Join(path, "checkpoints"); exists(sub) {
		dir, runDir = sub, path
	}
	if iteration != Latest {
		one := filepath.Join(dir, fmt.Sprintf("iter_%07d", iteration))
		if !exists(one) {
			return "", "", fmt.Errorf("%s has no checkpoint of iteration %d", dir, iteration)
		}
		return one, runDir, nil
	}
	if dir == path && exists(filepath.Join(path, "config.json")) {
		return path, "", nil
	}
	found, err := checkpoint.Latest(dir)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", err
	case found.Path == "" && len(found.Skipped) > 0:
		return "", "", fmt.Errorf("%s: no checkpoint can be opened: %w", dir, errors.Join(found.Skipped...))
	case found.Path == "":
		return "", "", fmt.Errorf("%s holds no checkpoint: want a run's folder, a checkpoint, or a Hugging Face folder with config.json", path)
	}
	return found.Path, runDir, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Close closes the files.
func (s *Snapshot) Close() error {
	if s.folder != nil {
		return s.folder.Close()
	}
	return s.Reader.Close()
}

// Get is a whole parameter by its name, row-major.
func (s *Snapshot) Get(name string) ([]float32, error) {
	if s.folder != nil {
		return s.folder.Get(name)
	}
	dtype, _, ok := s.Reader.Lookup(checkpoint.Weight, name)
	i := slices.IndexFunc(s.tensors, func(t arch.Tensor) bool { return t.Name == name })
	if !ok || i < 0 || dtype != tensor.F32 {
		return nil, fmt.Errorf("checkpoint %s has no fp32 weights named %s", s.Path, name)
	}
	whole := layout.Whole(s.tensors[i].Shape) // its vocabulary as one rank pads it, whatever grid wrote it
	raw := make([]byte, 4*whole.Volume())
	if err := s.Reader.Read(checkpoint.Weight, name, whole, raw); err != nil {
		return nil, err
	}
	return floats(raw), nil
}

// floats reads little-endian numbers.
func floats(raw []byte) []float32 {
	out := make([]float32, len(raw)/4)
	for i := range out {
		b := raw[4*i:]
		out[i] = math.Float32frombits(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24)
	}
	return out
}

// Tokenizer finds the model's tokenizer: the given one, else the one in the model's own folder, else the one that the
// configuration names.
func (s *Snapshot) Tokenizer(given string) (*tokenizer.BPE, error) {
	if given != "" {
		return s.fitting(given)
	}
	if own := filepath.Join(s.runDir, "tokenizer.json"); exists(own) {
		return s.fitting(own)
	}
	if s.Run == nil || s.Run.Tokenizer.Spec() == "" {
		return nil, fmt.Errorf("%s does not say which tokenizer it was trained with: give --tokenizer-model", s.Path)
	}
	return s.fitting(s.Run.Tokenizer.Spec())
}

// fitting opens a tokenizer and refuses one whose ids the model does not have.
func (s *Snapshot) fitting(spec string) (*tokenizer.BPE, error) {
	t, err := tokenizer.Open(spec)
	if err != nil {
		return nil, err
	}
	if rows := s.Model.PaddedVocab(1); t.VocabSize() > rows {
		return nil, fmt.Errorf("tokenizer %s has %d entries, the model's embedding table %d: it was trained with another", spec, t.VocabSize(), rows)
	}
	return t, nil
}

// SeqLength is the length of sequences that the model was trained on, as far as it is known.
func (s *Snapshot) SeqLength() int {
	if s.Run != nil && s.Reader != nil {
		if i := s.Reader.Meta().Stage.Index; i < len(s.Run.Stages) {
			return s.Run.Stages[i].Train.SeqLength
		}
	}
	return min(max(s.Model.MaxPositions, 1), 1024)
}
