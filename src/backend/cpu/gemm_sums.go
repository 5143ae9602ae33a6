package cpu

import (
	"unsafe"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// sums are what the blocks of K have given so far, in fp32, where it cannot wait in C: C is 16 bits wide, or it holds Pre
// until the last block. They lie in the scratch memory of a worker's item, or, where an item comes back for further rounds of
// K, in one for all workers.
type sums struct {
	wait bool
	mem  []float32 // rows x cols of C from (row, col) on, step apart
	all  bool      // mem is one for all workers: all of C

	row, col, step int
}

func (p *product) initSums(g *backend.Gemm) {
	inPlace := g.Act == backend.GELUGrad && g.C.DType() == tensor.F32 && overlap(g.C, g.Pre)
	p.sums.wait = p.k > p.kc && (inPlace || p.halves.c)
}

// shared is the number of floats for all workers where K takes several rounds of super steps: C in fp32.
func (s *sums) shared(p *product, super int) int {
	if !s.wait || super >= p.k {
		return 0
	}
	s.all, s.step = true, p.n
	return p.m * p.n
}

// scratch is the number of floats that an item of rows x cols takes from its worker's memory.
func (s *sums) scratch(rows, cols int) int {
	if !s.wait || s.all {
		return 0
	}
	s.step = cols
	return rows * cols
}

// item says where the next item of C begins.
func (s *sums) item(row, col int) {
	if !s.all {
		s.row, s.col = row, col
	}
}

// at is the place of element (i, j) of C.
func (s *sums) at(i, j int) unsafe.Pointer {
	return unsafe.Pointer(&s.mem[(i-s.row)*s.step+j-s.col])
}
