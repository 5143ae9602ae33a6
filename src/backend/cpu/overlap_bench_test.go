package cpu

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// overlapped is a rank with a compute and a communication stream: every layer of a step records an event, the
// communication stream waits for it, does something, and the compute stream waits for that a layer later.
type overlapped struct {
	b              *Backend
	compute, comm  backend.Stream
	x, y, w, small tensor.Tensor
	ready, done    [layers]backend.Event
}

const layers = 8

func newOverlapped(b testing.TB, workers, rows, cols int) *overlapped {
	r := &overlapped{b: New(Options{Workers: workers})}
	b.Cleanup(func() { _ = r.b.Close() })
	r.compute, r.comm = r.b.NewStream("compute"), r.b.NewStream("communication")
	take := func(rows, cols int) tensor.Tensor {
		m, err := r.b.Alloc("bench", 4*rows*cols)
		if err != nil {
			b.Fatal(err)
		}
		return tensor.New(m, 0, tensor.F32, rows, cols)
	}
	r.x, r.y, r.w, r.small = take(rows, cols), take(rows, cols), take(cols, cols), take(16, cols)
	for i := range layers {
		r.ready[i], r.done[i] = r.b.NewEvent(), r.b.NewEvent()
	}
	return r
}

// step enqueues a step; with overlap the second stream takes part.
func (r *overlapped) step(overlap bool, talk func() error) {
	for i := range layers {
		r.compute.Gemm(backend.Gemm{C: r.y, A: r.x, B: r.w, TransB: true})
		r.compute.Gemm(backend.Gemm{C: r.x, A: r.y, B: r.w, TransB: true, Alpha: 1e-3})
		if !overlap {
			r.compute.Scale(r.small, 1)
			continue
		}
		r.compute.Record(r.ready[i])
		r.comm.Wait(r.ready[i])
		r.comm.Do("talk", talk)
		r.comm.Scale(r.small, 1)
		r.comm.Record(r.done[i])
		if i > 0 {
			r.compute.Wait(r.done[i-1])
		}
	}
}

// BenchmarkOverlap gives wall and processor time of a step by ranks x workers, with one stream a rank and with two, of products that take
// some 20 and some 500 microseconds.
func BenchmarkOverlap(b *testing.B) {
	for _, size := range [][2]int{{32, 64}, {128, 256}} {
		for _, ranks := range []int{1, 2, 8} {
			for _, workers := range []int{1, 2} {
				for _, overlap := range []bool{false, true} {
					b.Run(fmt.Sprintf("%dx%d/ranks%d/workers%d/overlap=%v", size[0], size[1], ranks, workers, overlap), func(b *testing.B) {
						benchOverlap(b, ranks, workers, size, overlap)
					})
				}
			}
		}
	}
}

func benchOverlap(b *testing.B, ranks, workers int, size [2]int, overlap bool) {
	all := make([]*overlapped, ranks)
	for i := range all {
		all[i] = newOverlapped(b, workers, size[0], size[1])
	}
	talk := func() error { runtime.Gosched(); return nil }
	b.ResetTimer()
	before := processorTime(b)
	var wait sync.WaitGroup
	for _, r := range all {
		wait.Go(func() {
			for range b.N {
				r.step(overlap, talk)
				if err := r.compute.Sync(); err != nil {
					b.Error(err)
				}
			}
			if err := r.comm.Sync(); err != nil {
				b.Error(err)
			}
		})
	}
	wait.Wait()
	steps := float64(b.N * ranks)
	b.ReportMetric(float64(b.Elapsed().Microseconds())/steps, "us/step/rank")
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/steps, "cpu-us/step/rank")
	b.ReportMetric(0, "ns/op")
}
