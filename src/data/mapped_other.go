//go:build !unix

package data

// openMapped reads with pread where the system has no mmap.
func openMapped(path string) (mapped, error) { return openPlain(path) }
