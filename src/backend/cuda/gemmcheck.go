//go:build cuda

package cuda

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/x448/float16"
	"gorgonia.org/cu"

	"cambium/src/tensor"
)

// Ways that are timed must also be right: a library or a kernel that does something else on this very device, or nothing, would be the fastest.
// So three rows of what each makes are compared with those of the last way, the plainest of our own. It is coarse: the tests are
// for the rest.

// checkTolerance is how far elements may be apart, relative to their size and to the root mean square of the row.
const checkTolerance = 0.02

// agreeing are the ways of a call that give what the last one gives. C may be written.
func (s *stream) agreeing(c *gemmCall, ways []way) (good []way, wrong []string, err error) {
	want, err := s.sampled(c, ways[len(ways)-1])
	if err != nil {
		return nil, nil, err
	}
	for _, w := range ways[:len(ways)-1] {
		got, err := s.sampled(c, w)
		if err != nil {
			return nil, nil, err
		}
		if agree(got, want) {
			good = append(good, w)
		} else {
			wrong = append(wrong, w.name)
		}
	}
	return append(good, ways[len(ways)-1]), wrong, nil
}

// sampled are the first, the middle and the last row that a way makes, in memory that held something else before: NaN, or 0 for sums.
func (s *stream) sampled(c *gemmCall, w way) (rows [3][]float32, err error) {
	size := c.out.Size()
	bytes := int(c.c.cols) * size
	at := func(i int) cu.DevicePtr {
		return cu.DevicePtr(c.c.data + uintptr(int64(i)*int64(c.c.rows-1)/2*c.c.ld*int64(size)))
	}
	fill := byte(0xff)
	if c.accumulate != 0 {
		fill = 0
	}
	for i := range rows {
		if err := cu.MemsetD8Async(at(i), fill, int64(bytes), s.cu); err != nil {
			return rows, err
		}
	}
	if err := w.launch(s, c); err != nil {
		return rows, err
	}
	if err := s.wait(); err != nil {
		return rows, err
	}
	host := make([]byte, bytes)
	for i := range rows {
		if err := cu.MemcpyDtoH(unsafe.Pointer(&host[0]), at(i), int64(bytes)); err != nil {
			return rows, err
		}
		rows[i] = floats(host, c.out)
	}
	return rows, nil
}

func floats(raw []byte, d tensor.DType) []float32 {
	out := make([]float32, len(raw)/d.Size())
	for i := range out {
		switch d {
		case tensor.F32:
			out[i] = math.Float32frombits(binary.NativeEndian.Uint32(raw[4*i:]))
		case tensor.BF16:
			out[i] = math.Float32frombits(uint32(binary.NativeEndian.Uint16(raw[2*i:])) << 16)
		default:
			out[i] = float16.Frombits(binary.NativeEndian.Uint16(raw[2*i:])).Float32()
		}
	}
	return out
}

// agree compares rows. What is infinite or no number in want may be either in got: overflows depend on the order of sums.
func agree(got, want [3][]float32) bool {
	finite := func(x float32) bool { return x-x == 0 }
	for i := range want {
		square := 0.0
		for _, w := range want[i] {
			if finite(w) {
				square += float64(w) * float64(w)
			}
		}
		rms := math.Sqrt(square / float64(len(want[i])))
		for j, w := range want[i] {
			g := got[i][j]
			if finite(w) && !(math.Abs(float64(g-w)) <= checkTolerance*(math.Abs(float64(w))+rms)) {
				return false
			}
		}
	}
	return true
}
