package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"

	"cambium/src/tensor"
)

// maxHeader is the longest header that the reference implementation reads.
const maxHeader = 100_000_000

// Info describes a tensor of a file.
type Info struct {
	Name  string
	DType tensor.DType
	Shape []int
}

// Len is the number of elements.
func (i Info) Len() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// File is an open file, or the open files of one model. Its methods can be called by several goroutines at once.
type File struct {
	metadata map[string]string
	tensors  map[string]place
	files    []*os.File
}

type place struct {
	Info
	file   *os.File
	offset int64
}

// Open reads and checks the header of a file.
func Open(path string) (*File, error) {
	f := &File{metadata: map[string]string{}, tensors: map[string]place{}}
	return f.closeOn(f.add(path))
}

// OpenFolder opens the model in a Hugging Face folder: model.safetensors, or the parts that model.safetensors.index.json names.
func OpenFolder(dir string) (*File, error) {
	index := filepath.Join(dir, "model.safetensors.index.json")
	text, err := os.ReadFile(index)
	if errors.Is(err, os.ErrNotExist) {
		return Open(filepath.Join(dir, "model.safetensors"))
	}
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	var parts struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", index, err)
	}
	f := &File{metadata: map[string]string{}, tensors: map[string]place{}}
	added := map[string]bool{}
	for _, name := range parts.WeightMap {
		if name != filepath.Base(name) {
			return f.closeOn(fmt.Errorf("safetensors: %s: names the file %q: want one in the same folder", index, name))
		}
		if !added[name] {
			added[name] = true
			if err := f.add(filepath.Join(dir, name)); err != nil {
				return f.closeOn(err)
			}
		}
	}
	for name := range parts.WeightMap {
		if _, ok := f.tensors[name]; !ok {
			return f.closeOn(fmt.Errorf("safetensors: %s: no part holds %s", index, name))
		}
	}
	return f, nil
}

func (f *File) closeOn(err error) (*File, error) {
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

// add opens one file and takes over its tensors.
func (f *File) add(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	f.files = append(f.files, file)
	bad := func(format string, a ...any) error {
		return fmt.Errorf("safetensors: %s: "+format, append([]any{path}, a...)...)
	}
	stat, err := file.Stat()
	if err != nil {
		return bad("%w", err)
	}
	var length [8]byte
	if _, err := io.ReadFull(file, length[:]); err != nil {
		return bad("the file is too short to hold a header")
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > stat.Size()-8 {
		return bad("the header is said to have %d bytes: the file has %d", n, stat.Size())
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(file, text); err != nil {
		return bad("header: %w", err)
	}
	data := 8 + int64(n)
	infos, metadata, err := parseHeader(text)
	if err != nil {
		return bad("header: %w", err)
	}
	if err := checkOffsets(infos, stat.Size()-data); err != nil {
		return bad("%w", err)
	}
	for k, v := range metadata {
		f.metadata[k] = v
	}
	for _, i := range infos {
		if _, twice := f.tensors[i.name]; twice {
			return bad("%s is in two files", i.name)
		}
		d, err := parseDType(i.DType)
		if err != nil {
			return bad("%s: %w", i.name, err)
		}
		f.tensors[i.name] = place{Info: Info{Name: i.name, DType: d, Shape: i.Shape}, file: file, offset: data + i.Offsets[0]}
	}
	return nil
}

func parseDType(name string) (tensor.DType, error) {
	for d, n := range dtypeNames {
		if n == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("element type %s is not supported: want F32, F64, BF16, F16 or I32", name)
}

type named struct {
	info
	name string
}

// parseHeader reads the header entry by entry, so that a name that occurs twice is seen.
func parseHeader(text []byte) (infos []named, metadata map[string]string, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, errors.New("is not a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, _ := t.(string)
		if err != nil {
			return nil, nil, fmt.Errorf("is broken JSON: %w", err)
		}
		if seen[name] {
			return nil, nil, fmt.Errorf("%s occurs twice", name)
		}
		seen[name] = true
		if name == metadataName {
			err = dec.Decode(&metadata)
		} else {
			i := named{name: name}
			err = dec.Decode(&i.info)
			infos = append(infos, i)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("is broken JSON: %w", err)
	}
	if rest := bytes.TrimRight(text[dec.InputOffset():], " \n\t\r"); len(rest) > 0 {
		return nil, nil, errors.New("has something behind its end")
	}
	return infos, metadata, nil
}

// checkOffsets tells whether the tensors fill the data to the byte, in any order.
func checkOffsets(infos []named, size int64) error {
	sort.SliceStable(infos, func(i, j int) bool {
		a, b := infos[i].Offsets, infos[j].Offsets
		return a[0] < b[0] || (a[0] == b[0] && a[1] < b[1]) // an empty tensor comes before the one that begins with it
	})
	at := int64(0)
	for _, i := range infos {
		if i.Offsets[0] != at || i.Offsets[1] < at {
			return fmt.Errorf("%s lies at bytes %d to %d: the tensor before ends at %d", i.name, i.Offsets[0], i.Offsets[1], at)
		}
		at = i.Offsets[1]
		d, err := parseDType(i.DType)
		if err != nil {
			return fmt.Errorf("%s: %w", i.name, err)
		}
		want, ok := length(i.Shape, d.Size())
		if !ok || want != i.Offsets[1]-i.Offsets[0] {
			return fmt.Errorf("%s has %d bytes: %s%v has another number", i.name, i.Offsets[1]-i.Offsets[0], i.DType, i.Shape)
		}
	}
	if at != size {
		return fmt.Errorf("the tensors have %d bytes and the file holds %d", at, size)
	}
	return nil
}

// length is the number of bytes of a shape, and false when no file can have it.
func length(shape []int, size int) (int64, bool) {
	n := int64(size)
	for _, d := range shape {
		if d < 0 || (d > 0 && n > math.MaxInt64/int64(d)) {
			return 0, false
		}
		n *= int64(d)
	}
	return n, true
}

// Close closes the files.
func (f *File) Close() error {
	var err error
	for _, file := range f.files {
		err = errors.Join(err, file.Close())
	}
	return err
}

// Names are the tensors' names in alphabetical order.
func (f *File) Names() []string {
	names := make([]string, 0, len(f.tensors))
	for n := range f.tensors {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Metadata is the file's own text, as {"format": "pt"}; it is for reading.
func (f *File) Metadata() map[string]string { return f.metadata }

// Info describes a tensor.
func (f *File) Info(name string) (Info, bool) {
	p, ok := f.tensors[name]
	return p.Info, ok
}

// ReadF32 fills dst with a whole tensor, converted to single precision. dst has the tensor's number of elements.
func (f *File) ReadF32(name string, dst []float32) error {
	p, ok := f.tensors[name]
	if !ok {
		return fmt.Errorf("safetensors: there is no tensor %s", name)
	}
	if len(dst) != p.Len() {
		return fmt.Errorf("safetensors: %s has %d elements: it is read into %d", name, p.Len(), len(dst))
	}
	size := p.DType.Size()
	buf := make([]byte, min(len(dst), chunk)*size)
	for at := p.offset; len(dst) > 0; {
		n := min(len(dst), chunk)
		if _, err := p.file.ReadAt(buf[:n*size], at); err != nil {
			return fmt.Errorf("safetensors: %s: %w", name, err)
		}
		decode(dst[:n], p.DType, buf)
		dst, at = dst[n:], at+int64(n*size)
	}
	return nil
}

// Data is the raw bytes of a tensor: little-endian elements, row-major.
func (f *File) Data(name string) (*io.SectionReader, error) {
	p, ok := f.tensors[name]
	if !ok {
		return nil, fmt.Errorf("safetensors: there is no tensor %s", name)
	}
	return io.NewSectionReader(p.file, p.offset, int64(p.Len())*int64(p.DType.Size())), nil
}
