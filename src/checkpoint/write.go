package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"cambium/src/layout"
	"cambium/src/tensor"
)

// Group is what writing needs of a communicator: every rank calls Gather, in the same order, and gets everyone's bytes.
type Group interface {
	Rank() int
	Size() int
	Gather(name string, mine []byte) ([][]byte, error)
}

// Alone is the Group of a program without ranks.
type Alone struct{}

// Rank is 0.
func (Alone) Rank() int { return 0 }

// Size is 1.
func (Alone) Size() int { return 1 }

// Gather is mine.
func (Alone) Gather(_ string, mine []byte) ([][]byte, error) { return [][]byte{mine}, nil }

// Piece is a box of a tensor that this rank saves. Over all ranks the boxes of a (Tensor, Kind) must be disjoint and
// cover the shape: layout.Owned gives such boxes.
type Piece struct {
	Tensor, Kind string
	DType        tensor.DType
	Shape        []int // of the global tensor
	Box          layout.Box
	// Data is the box, row-major without gaps, on the host. When it is nil, Fetch copies part, which is some of the box's
	// rows, into dst; with several Options.Writers it is called by them at once.
	Data  []byte
	Fetch func(part layout.Box, dst []byte) error
}

// Options say how to write. The zero Options are the defaults.
type Options struct {
	// Compression is "auto" (the default), "none" or "zstd". Auto measures, in each rank, the codec against the disk
	// when there are at least 64 MiB to write, and takes the faster; below that it does not compress.
	Compression string
	// Writers is the number of files, and of goroutines, a rank writes at once. Default 1.
	Writers int
	// EntryBytes bounds the raw bytes of an entry. Default 32 MiB.
	EntryBytes int

	// step is called before each thing that changes the folder; tests kill the writer there.
	step func(what string) error
	// noSync leaves files and folders to the page cache: for tests that write hundreds of checkpoints.
	noSync bool
}

// Stats says what was written, over all ranks.
type Stats struct {
	Path             string // the checkpoint's folder
	RawBytes, Stored int64
	Entries, Zstd    int // entries, and how many of them are compressed
}

// Write saves a checkpoint into dir/iter_%07d (the iteration is meta's) and moves the tracker file to it. All ranks of the group
// call it together; meta counts on rank 0. A checkpoint of the same iteration is replaced. On an error, which every
// rank returns, nothing but an unfinished folder may have changed, and that is removed.
func Write(dir string, g Group, meta Meta, pieces []Piece, opt Options) (Stats, error) {
	w := writer{dir: dir, group: g, opt: opt.withDefaults()}
	w.final = filepath.Join(dir, folderName(meta.Iteration))
	w.folder = w.final + suffixUnfinished
	stats, err := w.write(meta, pieces)
	if err != nil && g.Rank() == 0 && !errors.Is(err, errKilled) {
		_ = os.RemoveAll(w.folder) // the error that led here matters more; the next Write removes the folder too
	}
	return stats, err
}

func (o Options) withDefaults() Options {
	if o.Compression == "" {
		o.Compression = "auto"
	}
	if o.Writers < 1 {
		o.Writers = 1
	}
	if o.EntryBytes < 1 {
		o.EntryBytes = 32 << 20
	}
	if o.step == nil {
		o.step = func(string) error { return nil }
	}
	return o
}

type writer struct {
	dir, final, folder string
	group              Group
	opt                Options
}

// errKilled stands for the end of the process in tests: nothing is cleaned up.
var errKilled = errors.New("killed")

func (w *writer) write(meta Meta, pieces []Piece) (stats Stats, err error) {
	root := w.group.Rank() == 0
	if root {
		err = w.prepare()
	}
	if _, err = agree(w.group, "checkpoint begun", nil, err); err != nil {
		return stats, err
	}
	mine, err := w.writeFiles(pieces)
	all, err := agree(w.group, "checkpoint shards", mine, err)
	if err != nil {
		return stats, err
	}
	if root {
		stats, err = w.publish(meta, all)
	}
	if all, err = agree(w.group, "checkpoint published", stats, err); err != nil {
		return Stats{}, err
	}
	return stats, json.Unmarshal(all[0], &stats)
}

// publish collects everyone's entries into the manifest and makes the folder a checkpoint.
func (w *writer) publish(meta Meta, shards []json.RawMessage) (Stats, error) {
	m := Manifest{Format: FormatVersion, Ranks: w.group.Size(), Meta: meta}
	for r, text := range shards {
		var entries []Entry
		if err := json.Unmarshal(text, &entries); err != nil {
			return Stats{}, fmt.Errorf("checkpoint: rank %d sent something else than entries: %w", r, err)
		}
		m.Entries = append(m.Entries, entries...)
	}
	sort.SliceStable(m.Entries, func(i, j int) bool { return before(m.Entries[i], m.Entries[j]) })
	if err := complete(m.Entries); err != nil {
		return Stats{}, err
	}
	stats := Stats{Path: w.final, Entries: len(m.Entries)}
	for _, e := range m.Entries {
		stats.RawBytes += e.Raw()
		stats.Stored += e.Stored
		if e.Codec == CodecZstd {
			stats.Zstd++
		}
	}
	return stats, w.finish(m)
}

// prepare makes an empty unfinished folder.
func (w *writer) prepare() error {
	if err := w.opt.step("remove leftovers"); err != nil {
		return err
	}
	if err := os.RemoveAll(w.folder); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := w.opt.step("make the folder"); err != nil {
		return err
	}
	if err := os.MkdirAll(w.folder, 0o755); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// Elsewhere is why a checkpoint failed on a rank where nothing went wrong.
type Elsewhere struct {
	Rank int // where it did
	Text string
}

func (e *Elsewhere) Error() string { return fmt.Sprintf("checkpoint: rank %d: %s", e.Rank, e.Text) }

// agree shares a value and an error with all ranks: everyone's values as JSON, or on every rank the first error.
func agree(g Group, name string, mine any, err error) ([]json.RawMessage, error) {
	type message struct {
		Err   string
		Value json.RawMessage
	}
	if errors.Is(err, errKilled) {
		return nil, err
	}
	var m message
	if err == nil {
		m.Value, err = json.Marshal(mine)
	}
	if err != nil {
		m.Err = err.Error()
	}
	b, _ := json.Marshal(m) // a string and valid JSON: cannot fail
	all, gatherErr := g.Gather(name, b)
	if err != nil {
		return nil, err
	}
	if gatherErr != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", name, gatherErr)
	}
	values := make([]json.RawMessage, len(all))
	for r, b := range all {
		var m message
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("checkpoint: %s: rank %d sent something else: %w", name, r, err)
		}
		if m.Err != "" {
			return nil, &Elsewhere{Rank: r, Text: m.Err}
		}
		values[r] = m.Value
	}
	return values, nil
}

// before orders entries by tensor, kind and place.
func before(a, b Entry) bool {
	if a.Tensor != b.Tensor {
		return a.Tensor < b.Tensor
	}
	if a.Kind != b.Kind {
		return a.Kind < b.Kind
	}
	for d := range min(len(a.Lo), len(b.Lo)) {
		if a.Lo[d] != b.Lo[d] {
			return a.Lo[d] < b.Lo[d]
		}
	}
	return false
}

// complete tells whether the sorted entries cover every tensor exactly once.
func complete(entries []Entry) error {
	for i := 0; i < len(entries); {
		first, n := entries[i], 0
		j := i
		for ; j < len(entries) && entries[j].Tensor == first.Tensor && entries[j].Kind == first.Kind; j++ {
			e := entries[j]
			if err := e.check(); err != nil {
				return fmt.Errorf("checkpoint: the manifest %w", err)
			}
			if !layout.Whole(e.Shape).Equal(layout.Whole(first.Shape)) || e.DType != first.DType {
				return fmt.Errorf("checkpoint: ranks save %s %s as %s %v and as %s %v", e.Tensor, e.Kind, e.DType, e.Shape, first.DType, first.Shape)
			}
			for _, o := range entries[i:j] {
				if o.Box().Overlaps(e.Box()) {
					return fmt.Errorf("checkpoint: %s %s is saved twice: %v and %v", e.Tensor, e.Kind, o.Box(), e.Box())
				}
			}
			n += e.Box().Volume()
		}
		if want := layout.Whole(first.Shape).Volume(); n != want {
			return fmt.Errorf("checkpoint: %s %s would be saved with %d of its %d elements", first.Tensor, first.Kind, n, want)
		}
		i = j
	}
	return nil
}
