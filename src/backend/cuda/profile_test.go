//go:build cuda

package cuda

import (
	"testing"

	"cambium/src/backend"
	"cambium/src/tensor"
)

func TestAProfileCountsWhatRanWhileItWasOn(t *testing.T) {
	b, err := Open(0)
	if err != nil {
		t.Skipf("no device: %v", err)
	}
	defer b.Close()
	m, err := b.Alloc("test", 4*64*64*3)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free(m)
	x := func(i int) tensor.Tensor { return tensor.New(m, i*4*64*64, tensor.F32, 64, 64) }
	compute, other := b.NewStream("compute"), b.NewStream("other")
	sync := func() {
		t.Helper()
		for _, s := range []backend.Stream{compute, other} {
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := b.(backend.Profiler)
	if _, err := p.StopProfile(); err == nil {
		t.Error("a profile that was not started can be stopped")
	}
	compute.Fill(x(0), 1)
	sync()
	p.StartProfile()
	for range 3 {
		compute.Gemm(backend.Gemm{C: x(2), A: x(0), B: x(1)})
	}
	compute.Fill(x(2), 1)
	other.Upload(x(1), make([]byte, 4*64*64))
	sync()
	times, err := p.StopProfile()
	if err != nil {
		t.Fatal(err)
	}
	compute.Fill(x(0), 1)
	sync()
	count := map[string]int{}
	for i, k := range times {
		count[k.Stream+" "+k.Operation] += k.Count
		if k.Total <= 0 || i > 0 && k.Total > times[i-1].Total || (k.Kernel == "") != (k.Operation == "upload") {
			t.Errorf("%d: %+v", i, k)
		}
	}
	if len(times) != 3 || count["compute gemm"] != 3 || count["compute fill"] != 1 || count["other upload"] != 1 {
		t.Errorf("counted %v: want 3 gemms and a fill of compute, and an upload of other", count)
	}
}
