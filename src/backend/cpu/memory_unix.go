//go:build unix

package cpu

import "golang.org/x/sys/unix"

// mapFrom is the size from which memory is mapped instead of taken from the heap: it is then given back at once when freed,
// and a request that cannot be met is an error instead of the end of the program.
const mapFrom = 1 << 20

func newBlock(bytes int) (block, error) {
	if bytes < mapFrom {
		return heapBlock(bytes), nil
	}
	m, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return block{}, err
	}
	return block{data: m, mapped: m}, nil
}

func (b block) free() {
	if b.mapped != nil {
		// It cannot fail for a mapping that newBlock made, and there is nobody who could do anything about it.
		_ = unix.Munmap(b.mapped)
	}
}
