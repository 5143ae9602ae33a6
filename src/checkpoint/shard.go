package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"cambium/src/layout"
	"golang.org/x/sync/errgroup"
)

// job is one entry to write: some rows of a piece.
type job struct {
	piece *Piece
	part  layout.Box
}

// check refuses pieces that do not make sense before anything is written.
func (p *Piece) check() error {
	if len(p.Shape) == 0 || len(p.Box.Lo) != len(p.Shape) || len(p.Box.Hi) != len(p.Shape) || p.Box.Empty() ||
		!layout.Whole(p.Shape).Contains(p.Box) {
		return fmt.Errorf("checkpoint: %s %s of shape %v has no box %v", p.Tensor, p.Kind, p.Shape, p.Box)
	}
	want := p.Box.Volume() * p.DType.Size()
	if p.Data == nil && p.Fetch == nil {
		return fmt.Errorf("checkpoint: %s %s has no data", p.Tensor, p.Kind)
	}
	if p.Data != nil && len(p.Data) != want {
		return fmt.Errorf("checkpoint: %s %s %v has %d bytes: want %d", p.Tensor, p.Kind, p.Box, len(p.Data), want)
	}
	return nil
}

// bytes is the data of a part of the piece, in scratch where it must be fetched.
func (p *Piece) bytes(part layout.Box, scratch []byte) ([]byte, error) {
	if p.Data == nil {
		return scratch, p.Fetch(part, scratch)
	}
	row := len(p.Data) / (p.Box.Hi[0] - p.Box.Lo[0])
	return p.Data[(part.Lo[0]-p.Box.Lo[0])*row : (part.Hi[0]-p.Box.Lo[0])*row], nil
}

// jobs cuts the pieces by rows into entries of at most EntryBytes (one row at least).
func (w *writer) jobs(pieces []Piece) []job {
	var jobs []job
	for i := range pieces {
		p := &pieces[i]
		rows := p.Box.Hi[0] - p.Box.Lo[0]
		step := max(w.opt.EntryBytes/(p.Box.Volume()/rows*p.DType.Size()), 1)
		for lo := p.Box.Lo[0]; lo < p.Box.Hi[0]; lo += step {
			jobs = append(jobs, job{piece: p, part: p.Box.Narrow(0, lo, min(lo+step, p.Box.Hi[0]))})
		}
	}
	return jobs
}

// writeFiles writes this rank's pieces, synced, and returns their entries.
func (w *writer) writeFiles(pieces []Piece) ([]Entry, error) {
	for i := range pieces {
		if err := pieces[i].check(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(w.folder, 0o755); err != nil { // another host may not see rank 0's folder yet
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	jobs := w.jobs(pieces)
	codec, err := w.choose(jobs)
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	take := func() (job, bool) {
		i := int(next.Add(1)) - 1
		if i >= len(jobs) {
			return job{}, false
		}
		return jobs[i], true
	}
	results := make([][]Entry, min(w.opt.Writers, len(jobs)))
	var g errgroup.Group
	for i := range results {
		g.Go(func() (err error) {
			f := shardFile{w: w, name: fmt.Sprintf("shard_%05d_%02d.bin", w.group.Rank(), i), codec: codec}
			if results[i], err = f.write(take); err != nil {
				next.Add(int64(len(jobs))) // the others stop after their entry
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var entries []Entry
	for _, r := range results {
		entries = append(entries, r...)
	}
	return entries, nil
}

// shardFile is one file that grows by entries.
type shardFile struct {
	w       *writer
	name    string
	codec   string
	file    *os.File
	at      int64
	encoder *encoder
	scratch []byte
}

// write takes jobs until there are none, and syncs the file.
func (f *shardFile) write(take func() (job, bool)) (entries []Entry, err error) {
	if f.codec == CodecZstd {
		if f.encoder, err = newEncoder(); err != nil {
			return nil, err
		}
	}
	if err := f.w.opt.step("create " + f.name); err != nil {
		return nil, err
	}
	path := filepath.Join(f.w.folder, f.name)
	if f.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	defer func() {
		if closeErr := f.file.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("checkpoint: %w", closeErr)
		}
	}()
	for j, ok := take(); ok; j, ok = take() {
		if err := f.w.opt.step("write to " + f.name); err != nil {
			return nil, err
		}
		e, err := f.entry(j)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	if err := f.w.opt.step("sync " + f.name); err != nil {
		return nil, err
	}
	if err := f.w.sync(f.file); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return entries, nil
}

// entry appends one entry.
func (f *shardFile) entry(j job) (Entry, error) {
	p := j.piece
	f.scratch = resize(f.scratch, j.part.Volume()*p.DType.Size())
	raw, err := p.bytes(j.part, f.scratch)
	if err != nil {
		return Entry{}, fmt.Errorf("checkpoint: %s %s: %w", p.Tensor, p.Kind, err)
	}
	e := Entry{
		Tensor: p.Tensor, Kind: p.Kind, DType: p.DType.String(), Shape: p.Shape, Lo: j.part.Lo, Hi: j.part.Hi,
		File: f.name, Offset: f.at, Codec: CodecRaw, Sum: checksum(raw),
	}
	stored := raw
	if f.codec == CodecZstd {
		if packed := f.encoder.encode(raw, p.DType.Size()); len(packed) < len(raw) {
			stored, e.Codec, e.StoredSum = packed, CodecZstd, checksum(packed)
		}
	}
	e.Stored = int64(len(stored))
	f.at += e.Stored
	if _, err := f.file.Write(stored); err != nil {
		return Entry{}, fmt.Errorf("checkpoint: %w", err)
	}
	return e, nil
}
