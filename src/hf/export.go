package hf

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cambium/src/arch"
	"cambium/src/safetensors"
	"cambium/src/tensor"
)

// Tokenizer writes its own files into a folder and knows the id that ends a document, or -1.
type Tokenizer interface {
	Save(dir string) error
	EOD() int32
}

// Export writes a model into a folder, which it makes if needed: config.json, model.safetensors in fp32 and, when tok is not nil,
// the tokenizer's files. get gives a whole parameter by its name in arch.Tensors, row-major; it is called once a
// parameter. The rows that pad the vocabulary are left out.
func Export(dir string, m arch.Model, f arch.Function, get func(name string) ([]float32, error), tok Tokenizer) error {
	format, err := family(m)
	if err != nil {
		return err
	}
	if m.InputMult == 0 || f.LogitScale == 0 {
		return fmt.Errorf("hf: input_mult is %g and the logit scale %g: neither may be 0", m.InputMult, f.LogitScale)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("hf: %w", err)
	}
	eod := int32(-1)
	if tok != nil {
		eod = tok.EOD()
		if err := tok.Save(dir); err != nil {
			return fmt.Errorf("hf: tokenizer: %w", err)
		}
	}
	text, err := json.MarshalIndent(configOf(m, f, format, eod), "", "  ")
	if err != nil {
		return fmt.Errorf("hf: config.json: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("hf: %w", err)
	}
	sizes := sizesOf(m)
	var out []safetensors.Entry
	for _, e := range entries(m, format, fold(m, f)) {
		out = append(out, safetensors.Entry{Name: e.name, DType: tensor.F32, Shape: e.shape, Stream: func(w io.Writer) error {
			v, err := e.gather(sizes, get)
			if err != nil {
				return err
			}
			return safetensors.FromF32(e.name, tensor.F32, e.shape, v).Stream(w)
		}})
	}
	return safetensors.Write(filepath.Join(dir, "model.safetensors"), map[string]string{"format": "pt"}, out)
}

// sizesOf is the number of elements of every parameter.
func sizesOf(m arch.Model) map[string]int {
	sizes := map[string]int{}
	for _, t := range m.Tensors() {
		sizes[t.Name] = t.Len()
	}
	return sizes
}

// gather makes the file's tensor: parts below each other, cut to its shape, scaled, transposed.
func (e entry) gather(sizes map[string]int, get func(string) ([]float32, error)) ([]float32, error) {
	var v []float32
	for _, name := range e.parts {
		part, err := get(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(part) != sizes[name] {
			return nil, fmt.Errorf("%s: %d values given: the parameter has %d", name, len(part), sizes[name])
		}
		v = append(v, part...)
	}
	v = v[:e.length()]
	if e.scale != 1 {
		for i := range v {
			v[i] = float32(float64(v[i]) * e.scale)
		}
	}
	if e.transpose {
		v = transposed(v, e.shape[1], e.shape[0])
	}
	return v, nil
}

func (e entry) length() int {
	n := 1
	for _, s := range e.shape {
		n *= s
	}
	return n
}

// transposed is the transpose of a rows x cols matrix.
func transposed(v []float32, rows, cols int) []float32 {
	out := make([]float32, len(v))
	for i := range rows {
		for j := range cols {
			out[j*rows+i] = v[i*cols+j]
		}
	}
	return out
}
