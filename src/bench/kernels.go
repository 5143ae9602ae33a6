package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"cambium/src/backend"
	"cambium/src/report"
	"cambium/src/tensor"
)

// KernelOptions say what Kernels measures.
type KernelOptions struct {
	Shape   KernelShape
	DType   tensor.DType
	Samples int           // of the cold and of the batch time
	Spend   time.Duration // on a batch: as many launches as take so long
	Peak    float64       // operations a second at most; 0: those of a large GEMM, measured
}

// Kernels times every operation of a backend, in the manner of nvbench: cold, one launch after the caches were flushed by writing
// a large buffer, and in batches, back to back. Times are the host's, from enqueueing to the end of a Sync: a cold time has one
// launch and one wait in it, a batch shares them among its launches. The roofs are the device's own: the bandwidth of a
// large copy, and the rate that o.Peak or a large GEMM gives.
func Kernels(b backend.Backend, o KernelOptions) (*report.Kernels, error) {
	m := &kernelBench{b: b, s: b.NewStream("bench"), o: o}
	flush, err := b.Alloc("bench", flushBytes)
	if err != nil {
		return nil, err
	}
	defer b.Free(flush)
	m.flush = tensor.New(flush, 0, tensor.F32, flushBytes/4)
	r := &report.Kernels{Backend: b.Name(), Shape: o.Shape.Name, Tokens: o.Shape.Tokens, DType: o.DType.String()}
	if r.CopyGBs, err = m.copyRate(); err != nil {
		return nil, err
	}
	if r.PeakGFLOPs = o.Peak / 1e9; o.Peak == 0 {
		peak, err := GemmPeak(b, o.DType)
		if err != nil {
			return nil, err
		}
		r.PeakGFLOPs = peak / 1e9
	}
	chooser, _ := b.(backend.GemmChooser)
	for _, k := range o.Shape.cases(o.DType) {
		rows, err := m.rows(k, chooser)
		if err != nil {
			return nil, fmt.Errorf("bench kernels: %s: %w", k.name, err)
		}
		r.Rows = append(r.Rows, rows...)
	}
	if chooser != nil {
		r.Notes = append([]string{chooser.Gemms()}, chooser.GemmChoices()...)
	}
	return r, nil
}

// rows measures one operation, and a GEMM again in every other mode that the backend has.
func (m *kernelBench) rows(k kernelCase, chooser backend.GemmChooser) ([]report.KernelRow, error) {
	first, err := m.row(k)
	rows := []report.KernelRow{first}
	if chooser == nil || !strings.HasPrefix(k.name, "gemm ") || err != nil {
		return rows, err
	}
	modes := chooser.GemmModes()
	for _, mode := range modes[1:] {
		if err := chooser.SetGemmMode(mode); err != nil {
			return nil, err
		}
		row, err := m.row(k)
		if err != nil {
			return nil, fmt.Errorf("by %s: %w", mode, err)
		}
		row.Name += ", " + mode
		rows = append(rows, row)
	}
	return rows, chooser.SetGemmMode(modes[0])
}

// flushBytes is more than any cache holds.
const flushBytes = 256 << 20

type kernelBench struct {
	b     backend.Backend
	s     backend.Stream
	o     KernelOptions
	flush tensor.Tensor
}

// copyRate is the bandwidth of a copy of half the flush buffer into the other half, in GB/s, read and written.
func (m *kernelBench) copyRate() (float64, error) {
	n := m.flush.Len() / 2
	times, err := m.batch(func(s backend.Stream) { s.Copy(m.flush.Slice(0, n), m.flush.Slice(n, 2*n)) })
	if err != nil {
		return 0, err
	}
	return 8 * float64(n) / slices.Min(times) / 1e9, nil
}

// GemmPeak is the most operations a second that a square GEMM of C = A B^T reaches on a device, over sides of 128 and its doubles until one
// takes a few milliseconds: what a device of any speed, an emulated one too, has to show.
func GemmPeak(b backend.Backend, t tensor.DType) (float64, error) {
	m := &kernelBench{b: b, s: b.NewStream("bench"), o: KernelOptions{DType: t, Samples: 3, Spend: 20 * time.Millisecond}}
	peak := 0.0
	for side := 128; side <= 8192; side *= 2 {
		mem, enqueue, err := m.prepare(m.o.Shape.gemm("", t, side, side, side, false, true, backend.NoActivation))
		if err != nil {
			return 0, err
		}
		times, err := m.batch(enqueue)
		b.Free(mem)
		if err != nil {
			return 0, err
		}
		least := slices.Min(times)
		if peak = max(peak, 2*math.Pow(float64(side), 3)/least); least > 2e-3 {
			break
		}
	}
	return peak, nil
}

// row measures one operation on memory of its own.
func (m *kernelBench) row(k kernelCase) (report.KernelRow, error) {
	row := report.KernelRow{Name: k.name, FLOPs: k.flops, Bytes: k.bytes, Samples: m.o.Samples}
	mem, enqueue, err := m.prepare(k)
	if err != nil {
		return row, err
	}
	defer m.b.Free(mem)
	batch, err := m.batch(enqueue)
	if err != nil {
		return row, err
	}
	cold, err := m.cold(enqueue)
	if err != nil {
		return row, err
	}
	row.ColdUS, row.ColdNoise = 1e6*median(cold), noise(cold)
	row.BatchUS, row.BatchNoise, row.BestUS = 1e6*median(batch), noise(batch), 1e6*slices.Min(batch)
	row.GBs, row.GFLOPs = k.bytes/median(batch)/1e9, k.flops/median(batch)/1e9
	row.Kernels, err = m.launched(enqueue)
	return row, err
}

// launched are the kernels that an operation consists of, in the order of the alphabet.
func (m *kernelBench) launched(enqueue func(backend.Stream)) (names []string, err error) {
	p, ok := m.b.(backend.Profiler)
	if !ok {
		return nil, nil
	}
	p.StartProfile()
	enqueue(m.s)
	err = m.s.Sync()
	times, profileErr := p.StopProfile()
	for _, t := range times {
		if t.Kernel != "" {
			names = append(names, t.Kernel)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), errors.Join(err, profileErr)
}

// prepare gives an operation memory of its own, with numbers in it.
func (m *kernelBench) prepare(k kernelCase) (mem *tensor.Memory, enqueue func(backend.Stream), err error) {
	var ids tensor.Tensor
	if mem, err = backend.Plan(m.b, "bench", func(a *backend.Arena) { enqueue, ids = k.take(a) }); err != nil {
		return nil, nil, err
	}
	m.s.Upload(tensor.New(mem, 0, tensor.I32, mem.Bytes/4), numbers(mem.Bytes/4, m.o.DType))
	if ids.Present() {
		m.s.Upload(ids, tensor.HostBytes(tokens(ids.Len(), m.o.Shape.Vocab)))
	}
	if err := m.s.Sync(); err != nil {
		m.b.Free(mem)
		return nil, nil, err
	}
	return mem, enqueue, nil
}

// numbers fills words of 32 bits with numbers from 2^-4 to 1 of type t, without a pattern: zeros would cost a GPU less power, and so
// time. Read as fp32, 16-bit ones are normal numbers too. They come again after the first million: drawing hundreds of megabytes takes
// longer than measuring.
func numbers(words int, t tensor.DType) []byte {
	out := make([]byte, 4*words)
	x := uint32(1)
	draw := func() float64 {
		x = x*1664525 + 1013904223
		return 0.0625 + 0.9375*float64(x>>8)/(1<<24)
	}
	first := min(words, 1<<20)
	for i := range first {
		var bits uint32
		switch v := draw(); t {
		case tensor.BF16:
			bits = math.Float32bits(float32(v))&0xffff0000 | math.Float32bits(float32(draw()))>>16
		case tensor.F16:
			bits = half(v)<<16 | half(draw())
		default:
			bits = math.Float32bits(float32(v))
		}
		binary.NativeEndian.PutUint32(out[4*i:], bits)
	}
	for done := 4 * first; done < len(out); {
		done += copy(out[done:], out[:4*first])
	}
	return out
}

// half is a number from 2^-4 up to 1 in fp16, cut.
func half(v float64) uint32 {
	f := math.Float32bits(float32(v))
	return (f>>23-127+15)<<10 | f>>13&0x3ff
}

// tokens are ids spread over the vocabulary.
func tokens(n, vocab int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i * 7919 % vocab)
	}
	return out
}

// batch are the times of one launch, in seconds, each the mean of a batch.
func (m *kernelBench) batch(enqueue func(backend.Stream)) ([]float64, error) {
	if _, err := m.timed(1, enqueue); err != nil { // what is only done once is done now
		return nil, err
	}
	once, err := m.timed(1, enqueue)
	if err != nil {
		return nil, err
	}
	n := int(min(max(m.o.Spend.Seconds()/max(once, 1e-7), 1), 10000))
	times := make([]float64, m.o.Samples)
	for i := range times {
		t, err := m.timed(n, enqueue)
		if err != nil {
			return nil, err
		}
		times[i] = t / float64(n)
	}
	return times, nil
}

func (m *kernelBench) cold(enqueue func(backend.Stream)) ([]float64, error) {
	times := make([]float64, m.o.Samples)
	for i := range times {
		m.s.Fill(m.flush, float32(i))
		if err := m.s.Sync(); err != nil {
			return nil, err
		}
		t, err := m.timed(1, enqueue)
		if err != nil {
			return nil, err
		}
		times[i] = t
	}
	return times, nil
}

func (m *kernelBench) timed(n int, enqueue func(backend.Stream)) (float64, error) {
	begin := time.Now()
	for range n {
		enqueue(m.s)
	}
	err := m.s.Sync()
	return time.Since(begin).Seconds(), err
}

// noise is the standard deviation relative to the mean, in percent, as nvbench has it.
func noise(x []float64) float64 {
	mean, square := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		square += (v - mean) * (v - mean) / float64(len(x))
	}
	return 100 * math.Sqrt(square) / mean
}
