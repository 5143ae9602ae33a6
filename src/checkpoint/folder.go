package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// trackerName is Megatron's file that names the iteration to load.
const trackerName = "latest_checkpointed_iteration.txt"

// The suffixes of folders that are no checkpoints: being written, about to be replaced, being removed.
const (
	suffixUnfinished = ".unfinished"
	suffixReplaced   = ".replaced"
	suffixRemoving   = ".removing"
)

func folderName(iteration int) string { return fmt.Sprintf("iter_%07d", iteration) }

var folderPattern = regexp.MustCompile(`^iter_(\d{7,})(\.replaced)?$`)

// finish writes the manifest, gives the folder its name and moves the tracker file. Every step is on the disk before
// the next begins.
func (w *writer) finish(m Manifest) error {
	text, err := m.encode()
	if err != nil {
		return err
	}
	replaced := w.final + suffixReplaced
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"write the manifest", func() error { return w.writeSynced(filepath.Join(w.folder, manifestName), text) }},
		{"sync the folder", func() error { return w.syncFolder(w.folder) }},
		{"remove an old replaced folder", func() error { return removeReplaced(w.final, replaced) }},
		{"set the old folder aside", func() error { return renameIfThere(w.final, replaced) }},
		{"name the folder", func() error { return os.Rename(w.folder, w.final) }},
		{"sync the name", func() error { return w.syncFolder(w.dir) }},
		{"move the tracker", func() error { return w.track(m.Meta.Iteration) }},
		{"sync the tracker", func() error { return w.syncFolder(w.dir) }},
		{"remove the old folder", func() error { return os.RemoveAll(replaced) }},
	} {
		if err := w.opt.step(s.name); err != nil {
			return err
		}
		if err := s.do(); err != nil {
			return fmt.Errorf("checkpoint: %s: %w", s.name, err)
		}
	}
	return nil
}

// track moves the tracker file.
func (w *writer) track(iteration int) error {
	path, text := filepath.Join(w.dir, trackerName), []byte(strconv.Itoa(iteration)+"\n")
	unfinished := path + suffixUnfinished // one name, so that the next checkpoint takes away what a killed program leaves
	if err := w.writeSynced(unfinished, text); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}

// removeReplaced removes what an earlier replacement left behind, unless that was cut off between its two renames: then it is the
// only checkpoint of its iteration, and stays until the new one has its name.
func removeReplaced(final, replaced string) error {
	if _, err := os.Stat(final); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.RemoveAll(replaced)
}

func renameIfThere(from, to string) error {
	if err := os.Rename(from, to); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// sync waits until a file is on the disk.
func (w *writer) sync(f *os.File) error {
	if w.opt.noSync {
		return nil
	}
	return f.Sync()
}

// syncFolder puts the names in a folder on the disk. File systems that cannot sync a folder order names themselves.
func (w *writer) syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_ = w.sync(f)
	return f.Close()
}

// writeSynced writes a file and waits until it is on the disk.
func (w *writer) writeSynced(path string, b []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("checkpoint: %w", closeErr)
		}
	}()
	if _, err := f.Write(b); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := w.sync(f); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// Found is the checkpoint to load. Path is empty when there is none.
type Found struct {
	Path      string
	Iteration int
	// Skipped says why newer checkpoints, or the one that the tracker file names, are passed over.
	Skipped []error
}

// Latest is the checkpoint that the tracker file in dir names. When that one cannot be opened or the file is missing, it is
// the newest that can. Opening reads the manifest and compares the sizes of the files; Verify reads everything.
func Latest(dir string) (Found, error) {
	all, err := list(dir)
	if err != nil {
		return Found{}, err
	}
	var found Found
	if n, ok := readTracker(dir, &found); ok {
		sort.SliceStable(all, func(i, j int) bool { return all[i].iteration == n && all[j].iteration != n })
		if len(all) == 0 || all[0].iteration != n {
			found.Skipped = append(found.Skipped, fmt.Errorf("checkpoint: %s names iteration %d: there is no such folder", trackerName, n))
		}
	}
	for _, c := range all {
		r, err := Open(c.path)
		if err == nil {
			err = r.Close()
		}
		if err != nil {
			found.Skipped = append(found.Skipped, err)
			continue
		}
		found.Path, found.Iteration = c.path, c.iteration
		return found, nil
	}
	return found, nil
}

// readTracker is the iteration that the tracker file names.
func readTracker(dir string, found *Found) (int, bool) {
	b, err := os.ReadFile(filepath.Join(dir, trackerName))
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			found.Skipped = append(found.Skipped, fmt.Errorf("checkpoint: %w", err))
		}
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		found.Skipped = append(found.Skipped, fmt.Errorf("checkpoint: %s holds %q: want an iteration", trackerName, string(b)))
	}
	return n, err == nil
}

type folder struct {
	path      string
	iteration int
}

// list is the folders that may be checkpoints, newest first.
func list(dir string) ([]folder, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	var out []folder
	for _, e := range entries {
		m := folderPattern.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if n, err := strconv.Atoi(m[1]); err == nil {
			out = append(out, folder{path: filepath.Join(dir, e.Name()), iteration: n})
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		if out[i].iteration != out[j].iteration {
			return out[i].iteration > out[j].iteration
		}
		return len(out[i].path) < len(out[j].path) // a replaced one comes after its replacement
	})
	return out, nil
}

var leftoverPattern = regexp.MustCompile(`^iter_\d{7,}(\.unfinished|\.removing|\.replaced\.removing)$`)

// Prune removes all checkpoints in dir that are older than the keep newest good ones, and returns their paths. Good means that it
// can be opened: a damaged checkpoint does not count. The one that the tracker file names stays, and so does everything
// when fewer than keep are good. Keep under 1 removes nothing. Leftovers of killed programs go too, so no checkpoint may be
// being written meanwhile.
func Prune(dir string, keep int) ([]string, error) {
	all, err := list(dir)
	if err != nil || keep < 1 {
		return nil, err
	}
	if err := removeLeftovers(dir); err != nil {
		return nil, err
	}
	tracked, hasTracker := readTracker(dir, &Found{})
	good, last := 0, -1 // good checkpoints so far, and the iteration of the last one
	var removed []string
	for _, c := range all {
		if c.iteration != last && good < keep {
			if r, err := Open(c.path); err == nil {
				good, last = good+1, c.iteration
				_ = r.Close() // nothing was written
			}
			continue
		}
		if hasTracker && c.iteration == tracked && c.iteration != last {
			continue
		}
		gone := c.path + suffixRemoving // so that a half-removed folder is never taken for a checkpoint
		if err := os.Rename(c.path, gone); err != nil {
			return removed, fmt.Errorf("checkpoint: %w", err)
		}
		if err := os.RemoveAll(gone); err != nil {
			return removed, fmt.Errorf("checkpoint: %w", err)
		}
		removed = append(removed, c.path)
	}
	return removed, nil
}

// removeLeftovers removes folders whose writing or removing was cut off.
func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	for _, e := range entries {
		if leftoverPattern.MatchString(e.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("checkpoint: %w", err)
			}
		}
	}
	return nil
}
