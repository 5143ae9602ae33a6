//go:build mpi

package mpi

import (
	"os"
	"syscall"

	"cambium/src/mpi"
)

// sharedFiles is where Linux has files in memory.
const sharedFiles = "/dev/shm"

// longestName is of a shared file.
const longestName = 256

// sharedMemory is memory of so many zero bytes which all ranks of node see: a file that the first of them makes, all map, and nobody
// finds any more when it returns, so that it goes with the last process. nil where one rank or more cannot have it: in
// containers without room in sharedFiles, or with one each.
func sharedMemory(node mpi.Comm, bytes int) ([]byte, error) {
	var name [longestName]byte
	var memory []byte
	if node.Rank() == 0 {
		if f := sharedFile(bytes); f != nil {
			defer func() { _ = os.Remove(f.Name()) }()
			memory = mapFile(f, bytes)
			copy(name[:longestName-1], f.Name())
		}
	}
	if err := mpi.Bcast(node, name[:], 0); err != nil {
		return nil, err
	}
	if path := text(name[:]); node.Rank() != 0 && path != "" {
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			memory = mapFile(f, bytes)
		}
	}
	all := []int32{1}
	if memory == nil {
		all[0] = 0
	}
	if err := mpi.Allreduce(node, all, mpi.Min); err != nil {
		return nil, err
	}
	if all[0] == 0 && memory != nil {
		unmap(memory)
		memory = nil
	}
	return memory, nil
}

// sharedFile makes a file that has its memory: without, a write would end the process where there is none left.
func sharedFile(bytes int) *os.File {
	f, err := os.CreateTemp(sharedFiles, "cambium-")
	if err != nil {
		return nil
	}
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(bytes)); err != nil {
		_, _ = f.Close(), os.Remove(f.Name())
		return nil
	}
	return f
}

// mapFile maps a file and closes it.
func mapFile(f *os.File, bytes int) []byte {
	defer func() { _ = f.Close() }()
	memory, err := syscall.Mmap(int(f.Fd()), 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil
	}
	return memory
}

func unmap(memory []byte) { _ = syscall.Munmap(memory) }

// text is what comes before the first zero.
func text(b []byte) string {
	for i, x := range b {
		if x == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
