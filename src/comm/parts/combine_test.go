package parts

import (
	"fmt"
	"math"
	"testing"

	"cambium/src/comm"
	"cambium/src/tensor"
)

// TestVectorsDoWhatScalarsDo compares bits, for every bfloat16, for fp32 of every exponent, and in lengths with rests.
func TestVectorsDoWhatScalarsDo(t *testing.T) {
	const n = 1 << 16
	half, wide := make([]uint16, n), make([]float32, n)
	for i := range half {
		half[i] = uint16(i)
	}
	widenBF16(wide, half)
	for i, x := range wide {
		if math.Float32bits(x) != uint32(i)<<16 {
			t.Fatalf("bfloat16 %#x became %#x", i, math.Float32bits(x))
		}
	}
	for b := range uint32(1 << 13) { // every sign and exponent, the first bits of the fraction; then ends that round and tie
		for i := range 8 {
			wide[8*b+uint32(i)] = math.Float32frombits(b<<19 | [...]uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0x18000, 0xffff, 0x17fff}[i])
		}
	}
	narrowBF16(half, wide)
	for i, h := range half {
		if want := toBF16(wide[i]); h != want {
			t.Fatalf("%#x became the bfloat16 %#x, want %#x", math.Float32bits(wide[i]), h, want)
		}
	}
	narrowF16(half, wide)
	for i, h := range half {
		if want := toF16(wide[i]); h != want {
			t.Fatalf("%#x became the half %#x, want %#x", math.Float32bits(wide[i]), h, want)
		}
	}
	for i := range half {
		half[i] = uint16(i)
	}
	back := make([]float32, n)
	widenF16(back, half)
	for i, x := range back {
		if want := fromF16(uint16(i)); math.Float32bits(x) != math.Float32bits(want) && want == want {
			t.Fatalf("half %#x became %v, want %v", i, x, want)
		}
	}
	for _, k := range []int{0, 1, 15, 16, 17, 31, 33, 1000} {
		out, rest := make([]float32, k+1), float32(-7)
		out[k] = rest
		a, b := wide[5:5+k], wide[n/2+3:n/2+3+k]
		addTo(out[:k], a, b)
		for i := range k {
			if want := a[i] + b[i]; math.Float32bits(out[i]) != math.Float32bits(want) && want == want {
				t.Fatalf("%d of %d: %v + %v = %v", i, k, a[i], b[i], out[i])
			}
		}
		if out[k] != rest {
			t.Fatalf("adding %d elements wrote one more", k)
		}
	}
}

func BenchmarkCombine(b *testing.B) {
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
		for _, ranks := range []int{2, 4} {
			b.Run(fmt.Sprint(d, " ranks ", ranks), func(b *testing.B) {
				const n = 64 << 10
				var from []tensor.Tensor
				for range ranks {
					from = append(from, tensor.New(&tensor.Memory{Host: make([]byte, 4*n), Bytes: 4 * n}, 0, d, n))
				}
				b.SetBytes(int64(n * d.Size()))
				for b.Loop() {
					Combine(comm.Sum, from, from[:1], 0, n)
				}
			})
		}
	}
}
