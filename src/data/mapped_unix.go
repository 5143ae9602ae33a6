//go:build unix

package data

import "golang.org/x/sys/unix"

// mmapFile is a file in memory.
type mmapFile []byte

// openMapped maps a file into memory; where that fails (some network file systems), it is read with pread.
func openMapped(path string) (mapped, error) {
	plain, err := openPlain(path)
	if err != nil || plain.length == 0 || plain.length != int64(int(plain.length)) {
		return plain, err
	}
	data, err := unix.Mmap(int(plain.file.Fd()), 0, int(plain.length), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return plain, nil
	}
	_ = unix.Madvise(data, unix.MADV_RANDOM) // a hint: samples are read in random order
	return mmapFile(data), plain.close()
}

func (m mmapFile) size() int64 { return int64(len(m)) }

func (m mmapFile) bytes(offset int64, n int) ([]byte, error) {
	return m[offset : offset+int64(n)], nil
}

func (m mmapFile) close() error { return unix.Munmap(m) }
