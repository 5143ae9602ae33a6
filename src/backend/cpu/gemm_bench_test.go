package cpu

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// gemmBench is a product as training makes it; see backend.Gemm for the three kinds.
type gemmBench struct {
	name    string
	kind    string // forward (NT), data (NN), weight (TN, accumulated)
	m, n, k int
}

// The shapes of GPT-2 124M at 256 tokens, of a 30M GPT (384 wide) at 2048 tokens, and of the quickstart.
var gemmBenches = []gemmBench{
	{"124M/qkv", "forward", 256, 2304, 768}, {"124M/qkv", "data", 256, 768, 2304}, {"124M/qkv", "weight", 2304, 768, 256},
	{"124M/dense", "forward", 256, 768, 768}, {"124M/dense", "data", 256, 768, 768}, {"124M/dense", "weight", 768, 768, 256},
	{"124M/fc1", "forward", 256, 3072, 768}, {"124M/fc1", "data", 256, 768, 3072}, {"124M/fc1", "weight", 3072, 768, 256},
	{"124M/fc2", "forward", 256, 768, 3072}, {"124M/fc2", "data", 256, 3072, 768}, {"124M/fc2", "weight", 768, 3072, 256},
	{"124M/head", "forward", 256, 50304, 768}, {"124M/head", "data", 256, 768, 50304}, {"124M/head", "weight", 50304, 768, 256},
	{"30M/qkv", "forward", 2048, 1152, 384}, {"30M/qkv", "data", 2048, 384, 1152}, {"30M/qkv", "weight", 1152, 384, 2048},
	{"30M/fc1", "forward", 2048, 1536, 384}, {"30M/fc1", "data", 2048, 384, 1536}, {"30M/fc1", "weight", 1536, 384, 2048},
	{"quick/dense", "forward", 64, 128, 128}, {"quick/fc1", "forward", 256, 256, 64}, {"quick/fc1", "weight", 256, 64, 256},
}

// BenchmarkGemm gives GFLOP/s and the share of the measured FMA peak. Weights change from call to call, as they do in
// training, so that they come from memory. CAMBIUM_CPU_LEVEL chooses the level.
func BenchmarkGemm(b *testing.B) {
	for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
		peak, err := MeasurePeak(workers)
		if err != nil {
			b.Fatal(err)
		}
		for _, g := range gemmBenches {
			b.Run(fmt.Sprintf("%s/%s/%dx%dx%d/workers%d", g.name, g.kind, g.m, g.n, g.k, workers), func(b *testing.B) {
				g.run(b, workers, peak)
			})
		}
	}
}

func (g gemmBench) run(b *testing.B, workers int, peak float64) {
	dev := New(Options{Workers: workers, Level: os.Getenv(LevelVariable)})
	defer dev.Close()
	s := dev.NewStream("bench")
	matrix := func(rows, cols int) tensor.Tensor {
		mem, err := dev.Alloc("bench", 4*rows*cols)
		if err != nil {
			b.Fatal(err)
		}
		x := tensor.New(mem, 0, tensor.F32, rows, cols)
		for i, v := 0, x.F32(); i < len(v); i++ {
			v[i] = float32(i%7) - 3
		}
		return x
	}
	weights := 4 * max(g.n*g.k, g.m*g.n)
	var products []backend.Gemm
	for range max(1, 64<<20/weights) {
		switch g.kind {
		case "forward":
			products = append(products, backend.Gemm{C: matrix(g.m, g.n), A: matrix(g.m, g.k), B: matrix(g.n, g.k), TransB: true})
		case "data":
			products = append(products, backend.Gemm{C: matrix(g.m, g.n), A: matrix(g.m, g.k), B: matrix(g.k, g.n)})
		case "weight":
			products = append(products, backend.Gemm{C: matrix(g.m, g.n), A: matrix(g.k, g.m), B: matrix(g.k, g.n), TransA: true, Accumulate: true})
		}
		if len(products) == 16 {
			break
		}
	}
	s.Gemm(products[0])
	_ = s.Sync()
	b.ResetTimer()
	used := processorTime(b)
	for i := range b.N {
		s.Gemm(products[i%len(products)])
	}
	if err := s.Sync(); err != nil {
		b.Fatal(err)
	}
	work := 2 * float64(g.m) * float64(g.n) * float64(g.k) * float64(b.N)
	used = processorTime(b) - used
	rate := work / b.Elapsed().Seconds()
	b.ReportMetric(work/used.Seconds()/1e9, "GFLOP/cpu-s") // what other programs take does not count
	b.ReportMetric(rate/1e9, "GFLOP/s")
	b.ReportMetric(100*rate/peak, "%peak")
	b.ReportMetric(0, "ns/op")
}
