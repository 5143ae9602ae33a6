package hf

import (
	"fmt"
	"slices"
	"strings"

	"cambium/src/arch"
	"cambium/src/safetensors"
)

// Folder is an opened Hugging Face model.
type Folder struct {
	Model    arch.Model
	Function arch.Function

	file    *safetensors.File
	sizes   map[string]int
	sources map[string]source // by parameter
}

// source is where a parameter lies: some rows of a tensor of the file.
type source struct {
	entry
	first int  // element of the (untransposed) tensor at which the parameter begins
	zero  bool // the configuration says that the format has none: it is all zero
}

// Import opens a folder with config.json and model.safetensors (or its parts) and checks that every parameter is there
// with the right shape. Element types fp32, bf16 and fp16 are read. The caller closes it.
func Import(dir string) (*Folder, error) {
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	m, err := c.model()
	if err != nil {
		return nil, err
	}
	file, err := safetensors.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	f := &Folder{Model: m, Function: m.Function(), file: file, sizes: sizesOf(m), sources: map[string]source{}}
	if err := f.locate(c); err != nil {
		_ = file.Close() // nothing was written
		return nil, fmt.Errorf("hf: %s: %w", dir, err)
	}
	return f, nil
}

// locate finds every parameter in the file.
func (f *Folder) locate(c configuration) error {
	for _, e := range entries(f.Model, c.ModelType, folded{table: 1, final: 1}) {
		info, ok := f.file.Info(e.name)
		if !ok { // files of the bare GPT-2 model leave the prefix out
			e.name = strings.TrimPrefix(e.name, "transformer.")
			info, ok = f.file.Info(e.name)
		}
		zero := !ok && strings.HasSuffix(e.name, ".bias") && !c.hasBias(e.name)
		switch {
		case !ok && !zero:
			return fmt.Errorf("model.safetensors has no tensor %s", e.name)
		case ok && !slices.Equal(info.Shape, e.shape):
			return fmt.Errorf("%s has shape %v: config.json asks for %v", e.name, info.Shape, e.shape)
		}
		first := 0
		for _, p := range e.parts {
			f.sources[p] = source{entry: e, first: first, zero: zero}
			first += f.sizes[p]
		}
	}
	return nil
}

// hasBias tells whether a Llama configuration gives biases to the group of a tensor. A GPT-2 has them all.
func (c configuration) hasBias(name string) bool {
	if strings.Contains(name, ".self_attn.") {
		return c.AttentionBias
	}
	return c.ModelType != "llama" || c.MLPBias
}

// Get is a whole parameter by its name in arch.Tensors, row-major, the vocabulary padded with zeros.
func (f *Folder) Get(name string) ([]float32, error) {
	src, ok := f.sources[name]
	if !ok {
		return nil, fmt.Errorf("hf: the model has no parameter %s", name)
	}
	out := make([]float32, f.sizes[name])
	if src.zero {
		return out, nil
	}
	v := make([]float32, src.length())
	if err := f.file.ReadF32(src.name, v); err != nil {
		return nil, err
	}
	if src.transpose {
		v = transposed(v, src.shape[0], src.shape[1])
	}
	copy(out, v[src.first:])
	return out, nil
}

// Close closes the files.
func (f *Folder) Close() error { return f.file.Close() }
