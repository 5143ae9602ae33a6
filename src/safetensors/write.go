package safetensors

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sort"

	"cambium/src/tensor"
	"github.com/google/renameio/v2"
)

// Entry is one tensor to write. Exactly one of Bytes and Stream is set.
type Entry struct {
	Name   string
	DType  tensor.DType
	Shape  []int
	Bytes  []byte                // little-endian elements, row-major
	Stream func(io.Writer) error // writes the same; called once
}

// FromF32 is an Entry that converts values to d while they are written (to nearest, ties to even).
func FromF32(name string, d tensor.DType, shape []int, values []float32) Entry {
	return Entry{Name: name, DType: d, Shape: shape, Stream: func(w io.Writer) error {
		buf := make([]byte, 0, chunk*d.Size())
		for len(values) > 0 {
			n := min(len(values), chunk)
			if _, err := w.Write(encode(buf, d, values[:n])); err != nil {
				return err
			}
			values = values[n:]
		}
		return nil
	}}
}

// chunk is the number of elements that are converted at once.
const chunk = 1 << 16

// info is a tensor's line in the header.
type info struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

const metadataName = "__metadata__"

var dtypeNames = map[tensor.DType]string{
	tensor.F32: "F32", tensor.F64: "F64", tensor.BF16: "BF16", tensor.F16: "F16", tensor.I32: "I32",
}

// Write makes a file, or replaces it, at once: it is there as a whole or not at all. Metadata may be nil; PyTorch's
// loaders want {"format": "pt"}. Tensors lie in the file in the order of entries, those with larger elements first, so
// that every tensor is aligned.
func Write(path string, metadata map[string]string, entries []Entry) (err error) {
	sorted := append([]Entry(nil), entries...)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].DType.Size() > sorted[j].DType.Size() })
	head, err := header(metadata, sorted)
	if err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	defer f.Cleanup() //nolint:errcheck // does nothing after success; after a failure that error matters more
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("safetensors: %s: %w", path, err)
	}
	for _, e := range sorted {
		if err := e.write(w); err != nil {
			return fmt.Errorf("safetensors: %s: %s: %w", path, e.Name, err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("safetensors: %s: %w", path, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	return nil
}

// bytes is the length of the data, or -1 for a shape that has none.
func (e Entry) bytes() int64 {
	n := int64(e.DType.Size())
	for _, d := range e.Shape {
		if d < 0 {
			return -1
		}
		n *= int64(d)
	}
	return n
}

// header is the length and the header, filled up with blanks so that the data begin at a multiple of 8 bytes.
func header(metadata map[string]string, entries []Entry) ([]byte, error) {
	lines := map[string]any{}
	if metadata != nil {
		lines[metadataName] = metadata
	}
	at := int64(0)
	for _, e := range entries {
		name, known := dtypeNames[e.DType]
		switch n := e.bytes(); {
		case lines[e.Name] != nil || e.Name == metadataName:
			return nil, fmt.Errorf("safetensors: %q occurs twice: names must differ, and %s is taken", e.Name, metadataName)
		case !known || n < 0:
			return nil, fmt.Errorf("safetensors: %s is %v%v: the format has no such tensor", e.Name, e.DType, e.Shape)
		case e.Stream == nil && int64(len(e.Bytes)) != n:
			return nil, fmt.Errorf("safetensors: %s has %d bytes: %v%v has %d", e.Name, len(e.Bytes), e.DType, e.Shape, n)
		default:
			shape := append([]int{}, e.Shape...) // a scalar is [], not null
			lines[e.Name] = info{DType: name, Shape: shape, Offsets: [2]int64{at, at + n}}
			at += n
		}
	}
	text, err := json.Marshal(lines)
	if err != nil {
		return nil, fmt.Errorf("safetensors: header: %w", err)
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), nil
}

// write writes the data and holds Stream to the number of bytes that the header says.
func (e Entry) write(w io.Writer) error {
	if e.Stream == nil {
		_, err := w.Write(e.Bytes)
		return err
	}
	c := counter{w: w}
	if err := e.Stream(&c); err != nil {
		return err
	}
	if c.n != e.bytes() {
		return fmt.Errorf("%d bytes were streamed: %v%v has %d", c.n, e.DType, e.Shape, e.bytes())
	}
	return nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
