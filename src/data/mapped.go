package data

import (
	"fmt"
	"os"
)

// mapped is a file that is read here and there. A file must not be shortened while it is open.
type mapped interface {
	size() int64
	// bytes are n bytes from offset on, valid until close; the caller does not change them.
	bytes(offset int64, n int) ([]byte, error)
	close() error
}

// plainFile reads with pread: for systems without mmap, and for empty files, which cannot be mapped.
type plainFile struct {
	file   *os.File
	length int64
}

func openPlain(path string) (*plainFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("tokens: %w", err)
	}
	if !info.Mode().IsRegular() {
		file.Close()
		return nil, fmt.Errorf("tokens: %s is not a file", path)
	}
	return &plainFile{file, info.Size()}, nil
}

func (p *plainFile) size() int64 { return p.length }

func (p *plainFile) bytes(offset int64, n int) ([]byte, error) {
	buf := make([]byte, n)
	_, err := p.file.ReadAt(buf, offset)
	return buf, err
}

func (p *plainFile) close() error { return p.file.Close() }
