package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Report is what Verify found.
type Report struct {
	Files, Entries int
	Bytes          int64   // that were read
	Problems       []error // empty for a sound checkpoint; *Damage mostly
}

// Verify reads every byte of a checkpoint folder and compares it with its checksum. It goes on after a problem, so that all
// are named.
func Verify(folder string) Report {
	m, err := readManifest(folder)
	if err != nil {
		return Report{Problems: []error{err}}
	}
	rep := Report{Entries: len(m.Entries)}
	if err := complete(m.Entries); err != nil {
		rep.Problems = append(rep.Problems, err)
	}
	byFile := map[string][]Entry{}
	maxRaw := int64(0)
	for _, e := range m.Entries {
		byFile[e.File] = append(byFile[e.File], e)
		maxRaw = max(maxRaw, e.Raw())
	}
	rep.Files = len(byFile)
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for name, entries := range byFile {
		g.Go(func() error {
			n, problems := verifyFile(folder, name, entries, maxRaw)
			mu.Lock()
			defer mu.Unlock()
			rep.Bytes += n
			rep.Problems = append(rep.Problems, problems...)
			return nil
		})
	}
	_ = g.Wait() // no goroutine returns an error
	sort.Slice(rep.Problems, func(i, j int) bool { return rep.Problems[i].Error() < rep.Problems[j].Error() })
	return rep
}

// verifyFile checks the entries of one file, which must follow each other without gaps.
func verifyFile(folder, name string, entries []Entry, maxRaw int64) (read int64, problems []error) {
	path := filepath.Join(folder, name)
	sort.Slice(entries, func(i, j int) bool { return entries[i].Offset < entries[j].Offset })
	end := int64(0)
	for _, e := range entries {
		if e.Offset != end {
			problems = append(problems, &Damage{File: path, Entry: e.String(), What: fmt.Sprintf("begins at byte %d, the entry before ends at %d", e.Offset, end)})
		}
		end = e.Offset + e.Stored
	}
	f, err := openSized(path, end)
	if err != nil {
		return 0, append(problems, err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	dec := &decoder{maxRaw: maxRaw}
	r := Reader{folder: folder, files: map[string]*os.File{name: f}}
	for _, e := range entries {
		dec.raw = resize(dec.raw, int(e.Raw()))
		if err := r.load(e, dec.raw, e.size(), dec); err != nil {
			problems = append(problems, err)
		}
		read += e.Stored
	}
	return read, problems
}
