package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// File is one file of text to be read.
type File struct {
	Path string // where it is
	Name string // its path below the input it belongs to, with slashes: names it in the held-out split, on any machine
	Size int64  // bytes on disk
}

// Filter says which files of a folder are taken. Files named one by one are always taken.
type Filter struct {
	// Include are patterns (path.Match) of base names, or, with a slash, of whole names. Default: *.txt, *.md, *.jsonl and
	// *.ndjson. A compressed file matches by its name with or without .gz or .zst.
	Include []string
	Exclude []string // likewise, for files and folders; hidden ones are never taken

	MaxFileSize int64 // larger files are left out; 0: no limit
}

var defaultInclude = []string{"*.txt", "*.md", "*.jsonl", "*.ndjson"}

// List finds the files of inputs, which are files and folders: in the order given, a folder's files by name.
func List(inputs []string, f Filter) ([]File, error) {
	if len(f.Include) == 0 {
		f.Include = defaultInclude
	}
	for _, pattern := range slices.Concat(f.Include, f.Exclude) {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("file pattern %q is malformed; want something like *.go or docs/*.md", pattern)
		}
	}
	var files []File
	for _, input := range inputs {
		info, err := os.Stat(input)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("input %s: no such file or folder", input)
		}
		if err != nil {
			return nil, fmt.Errorf("input: %w", err)
		}
		if !info.IsDir() {
			files = append(files, File{input, filepath.Base(input), info.Size()})
			continue
		}
		below, err := listFolder(input, f)
		if err != nil {
			return nil, err
		}
		files = append(files, below...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no files to read in %s (patterns %s)", strings.Join(inputs, ", "), strings.Join(f.Include, " "))
	}
	return files, nil
}

func listFolder(root string, f Filter) ([]File, error) {
	var files []File
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	err = filepath.WalkDir(resolved, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == resolved {
			return err
		}
		name, err := filepath.Rel(resolved, p)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if strings.HasPrefix(d.Name(), ".") || matches(f.Exclude, name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() || !matches(f.Include, name) {
			return nil
		}
		info, err := os.Stat(p) // follows a link to a file
		if err != nil || !info.Mode().IsRegular() || f.MaxFileSize > 0 && info.Size() > f.MaxFileSize {
			return err
		}
		files = append(files, File{p, name, info.Size()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("input %s: %w", root, err)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// matches says whether one of the patterns fits the name.
func matches(patterns []string, name string) bool {
	plain, _ := compression(name)
	for _, pattern := range patterns {
		for _, n := range []string{name, plain} {
			if !strings.Contains(pattern, "/") {
				n = path.Base(n)
			}
			if ok, _ := path.Match(pattern, n); ok {
				return true
			}
		}
	}
	return false
}

// compression splits .gz or .zst off a name.
func compression(name string) (plain, kind string) {
	for _, kind := range []string{".gz", ".zst"} {
		if plain, ok := strings.CutSuffix(name, kind); ok {
			return plain, kind
		}
	}
	return name, ""
}

// jsonLines says whether a file has a JSON object a line, by its name.
func jsonLines(name string) bool {
	plain, _ := compression(name)
	return strings.HasSuffix(plain, ".jsonl") || strings.HasSuffix(plain, ".ndjson")
}
