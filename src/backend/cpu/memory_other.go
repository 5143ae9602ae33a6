//go:build !unix

package cpu

func newBlock(bytes int) (block, error) { return heapBlock(bytes), nil }

func (b block) free() {}
