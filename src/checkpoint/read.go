package checkpoint

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/tensor"
)

// Reader reads one checkpoint. It can be used by several goroutines at once.
type Reader struct {
	// SkipChecksums leaves checksums unread. They cost little: about a tenth of a second per GB.
	SkipChecksums bool

	folder   string
	manifest Manifest
	entries  map[key][]Entry
	vocab    map[string]int // dimension that counts vocabulary entries, by tensor
	maxRaw   int64
	files    map[string]*os.File

	mu   sync.Mutex
	idle []*decoder // as many as goroutines have read at once
}

type key struct{ kind, tensor string }

// Open reads the manifest of a checkpoint folder (dir/iter_0000100) and opens its files, whose sizes must be right.
func Open(folder string) (*Reader, error) {
	m, err := readManifest(folder)
	if err != nil {
		return nil, err
	}
	r := &Reader{folder: folder, manifest: m, entries: map[key][]Entry{}, vocab: map[string]int{}, files: map[string]*os.File{}}
	for _, e := range m.Entries {
		k := key{e.Kind, e.Tensor}
		r.entries[k] = append(r.entries[k], e)
		r.maxRaw = max(r.maxRaw, e.Raw())
	}
	for _, t := range m.Meta.Model.Tensors() {
		if d := slices.Index(t.Axes, arch.Vocab); d >= 0 {
			r.vocab[t.Name] = d
		}
	}
	for name, size := range fileSizes(m) {
		f, err := openSized(filepath.Join(folder, name), size)
		if err != nil {
			_ = r.Close() // nothing was written
			return nil, err
		}
		r.files[name] = f
	}
	return r, nil
}

// fileSizes is what the files of a checkpoint must have.
func fileSizes(m Manifest) map[string]int64 {
	sizes := map[string]int64{}
	for _, e := range m.Entries {
		sizes[e.File] = max(sizes[e.File], e.Offset+e.Stored)
	}
	return sizes
}

// openSized opens a file whose size is known.
func openSized(path string, size int64) (*os.File, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, &Damage{File: path, What: "is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if info.Size() != size {
		_ = f.Close() // nothing was written
		return nil, &Damage{File: path, What: fmt.Sprintf("has %d bytes instead of %d", info.Size(), size)}
	}
	return f, nil
}

// Close closes the files.
func (r *Reader) Close() error {
	var first error
	for _, f := range r.files {
		if err := f.Close(); err != nil && first == nil {
			first = fmt.Errorf("checkpoint: %w", err)
		}
	}
	return first
}

// Folder is where the checkpoint lies, Meta the state beside the tensors, Manifest everything.
func (r *Reader) Folder() string { return r.folder }

// Meta is the state beside the tensors.
func (r *Reader) Meta() Meta { return r.manifest.Meta }

// Manifest is what the checkpoint says of itself. It is for reading.
func (r *Reader) Manifest() Manifest { return r.manifest }

// Lookup is the element type and the global shape of a tensor of a kind.
func (r *Reader) Lookup(kind, name string) (tensor.DType, []int, bool) {
	e := r.entries[key{kind, name}]
	if len(e) == 0 {
		return 0, nil, false
	}
	d, err := tensor.ParseDType(e[0].DType)
	return d, e[0].Shape, err == nil
}

// Read fills dst with a box of a tensor, row-major, in the element type that Lookup gives, from whatever files hold it.
// The box is one of the global tensor for the reader's own grid: where its vocabulary is padded to more rows than
// the file's, the padding is zero. Damage is an error that names the file and the entry; dst is then undefined.
func (r *Reader) Read(kind, name string, box layout.Box, dst []byte) error {
	entries := r.entries[key{kind, name}]
	d, shape, ok := r.Lookup(kind, name)
	if !ok {
		return fmt.Errorf("checkpoint: %s holds no %s of %s", r.folder, kind, name)
	}
	if len(box.Lo) != len(shape) || len(dst) != box.Volume()*d.Size() {
		return fmt.Errorf("checkpoint: %s %s of shape %v is read as %v into %d bytes", name, kind, shape, box, len(dst))
	}
	stored := box
	if dim, ok := r.vocab[name]; ok && box.Hi[dim] > r.manifest.Meta.Model.VocabSize {
		end := max(r.manifest.Meta.Model.VocabSize, box.Lo[dim])
		stored = box.Narrow(dim, box.Lo[dim], end)
		clear(dst)
	}
	missing := stored.Volume()
	dec := r.decoder()
	defer r.release(dec)
	for _, e := range entries {
		part := e.Box().Intersect(stored)
		if part.Empty() {
			continue
		}
		if err := r.entry(e, part, box, dst, d.Size(), dec); err != nil {
			return err
		}
		missing -= part.Volume()
	}
	if missing != 0 {
		return fmt.Errorf("checkpoint: %s: %s %s of shape %v does not hold all of %v", r.folder, name, kind, shape, stored)
	}
	return nil
}

// decoder is an idle decoder, or a new one; release gives it back.
func (r *Reader) decoder() *decoder {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.idle); n > 0 {
		d := r.idle[n-1]
		r.idle = r.idle[:n-1]
		return d
	}
	return &decoder{maxRaw: r.maxRaw}
}

func (r *Reader) release(d *decoder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle = append(r.idle, d)
}

// entry copies a part of an entry to its place in dst, which holds box.
func (r *Reader) entry(e Entry, part, box layout.Box, dst []byte, size int, dec *decoder) error {
	if e.Box().Equal(box) {
		return r.load(e, dst, size, dec)
	}
	dec.raw = resize(dec.raw, int(e.Raw()))
	if err := r.load(e, dec.raw, size, dec); err != nil {
		return err
	}
	layout.Copy(dst, box, part, dec.raw, e.Box(), part, size)
	return nil
}

// load fills raw with a whole entry and checks it.
func (r *Reader) load(e Entry, raw []byte, size int, dec *decoder) error {
	damaged := func(what string) error {
		return &Damage{File: filepath.Join(r.folder, e.File), Entry: e.String(), What: what}
	}
	stored := raw
	if e.Codec != CodecRaw {
		dec.stored = resize(dec.stored, int(e.Stored))
		stored = dec.stored
	}
	if n, err := r.files[e.File].ReadAt(stored, e.Offset); n < len(stored) {
		if err == io.EOF {
			return damaged("is cut")
		}
		return damaged("cannot be read: " + err.Error())
	}
	if e.Codec != CodecRaw {
		if !r.SkipChecksums && checksum(stored) != e.StoredSum {
			return damaged("does not have its checksum as stored")
		}
		if err := dec.decode(raw, stored, size); err != nil {
			return damaged("cannot be decompressed: " + err.Error())
		}
	}
	if !r.SkipChecksums && checksum(raw) != e.Sum {
		return damaged("does not have its checksum")
	}
	return nil
}
