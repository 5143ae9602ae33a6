package data

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// GoFileSize is the largest file of the Go distribution that GoFiles takes: what is larger is tables and test data.
const GoFileSize = 100 << 10

// GoFiles lists the source and documentation files (.go, .md, .html, .txt) of a Go distribution, sorted by name, without
// generated files and those over GoFileSize: about 60 MB of text that every machine with Go has. An empty goroot means
// $GOROOT, or else what "go env GOROOT" says.
func GoFiles(goroot string) ([]File, error) {
	if goroot == "" {
		var err error
		if goroot, err = findGoroot(); err != nil {
			return nil, err
		}
	}
	filter := Filter{Include: []string{"*.go", "*.md", "*.html", "*.txt"}, MaxFileSize: GoFileSize}
	var files []File
	for _, part := range []string{"doc", "misc", "src", "test"} { // some distributions make these links
		if info, err := os.Stat(filepath.Join(goroot, part)); err != nil || !info.IsDir() {
			continue
		}
		below, err := listFolder(filepath.Join(goroot, part), filter)
		if err != nil {
			return nil, err
		}
		for _, f := range below {
			f.Name = part + "/" + f.Name
			generated, err := isGenerated(f)
			if err != nil {
				return nil, fmt.Errorf("the Go distribution's files: %w", err)
			}
			if !generated {
				files = append(files, f)
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no Go sources; set GOROOT to a Go distribution, or prepare another text with --input", goroot)
	}
	return files, nil
}

func findGoroot() (string, error) {
	if dir := os.Getenv("GOROOT"); dir != "" {
		return dir, nil
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" {
		return dir, nil
	}
	return "", errors.New(`no Go distribution found (GOROOT is not set and "go env GOROOT" fails); install Go or set GOROOT, or prepare another text with --input`)
}

// isGenerated looks for the line that marks generated Go files (go help generate) in the first bytes of a file.
func isGenerated(f File) (bool, error) {
	if !strings.HasSuffix(f.Name, ".go") {
		return false, nil
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	var head [2048]byte
	n, err := io.ReadFull(file, head[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return false, err
	}
	for line := range bytes.Lines(head[:n]) {
		line = bytes.TrimRight(line, "\r\n")
		if bytes.HasPrefix(line, []byte("// Code generated ")) && bytes.HasSuffix(line, []byte(" DO NOT EDIT.")) {
			return true, nil
		}
	}
	return false, nil
}
