//go:build cuda

package cuda

import (
	"testing"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// A model's vectors and matrices are updated in as few launches as the parameter of one has room for.
func TestAdamWTakesManyTensorsInALaunch(t *testing.T) {
	b := opened(gemmOwn)(t).(*gpu)
	defer b.Close()
	const n = 3*adamwPieces + 1
	m, err := b.Alloc("test", 4*4*64*n)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free(m)
	var list []backend.AdamW
	for i := range n {
		x := func(k int) tensor.Tensor { return tensor.New(m, 4*64*(4*i+k), tensor.F32, 64) }
		list = append(list, backend.AdamW{W: x(0), G: x(1), M: x(2), V: x(3), Step: 1, LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, GradScale: 1})
	}
	s := b.NewStream("test")
	b.StartProfile()
	s.AdamW(list...)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	times, err := b.StopProfile()
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[uint32]int{}
	for _, k := range times {
		if k.Operation != "adamw" || k.Kernel != "adamw_f32" {
			t.Errorf("launched %+v", k)
		}
		blocks[k.Grid[0]] += k.Count
	}
	if len(blocks) != 2 || blocks[adamwPieces] != 3 || blocks[1] != 1 {
		t.Errorf("launches by number of blocks: %v; want 3 of %d and one of 1", blocks, adamwPieces)
	}
}
