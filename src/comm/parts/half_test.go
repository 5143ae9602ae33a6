package parts

import (
	"math"
	"testing"

	"github.com/x448/float16"
)

func TestHalfPrecisionAgreesWithAnIndependentImplementation(t *testing.T) {
	for h := range 1 << 16 {
		want := float16.Frombits(uint16(h)).Float32()
		if got := fromF16(uint16(h)); got != want && (got == got || want == want) {
			t.Fatalf("fromF16(%#x) = %v, want %v", h, got, want)
		}
	}
	for b := uint64(0); b < 1<<32; b += 7919 { // every exponent, many fractions
		x := math.Float32frombits(uint32(b))
		for _, x := range []float32{x, math.Float32frombits(uint32(b) &^ 0xfff), math.Float32frombits(uint32(b)&^0xfff | 0x1000)} {
			if got, want := toF16(x), float16.Fromfloat32(x).Bits(); got != want && x == x {
				t.Fatalf("toF16(%v) = %#x, want %#x", x, got, want)
			}
		}
		if x != x && fromF16(toF16(x)) == fromF16(toF16(x)) {
			t.Fatalf("NaN %#x is lost", b)
		}
	}
}

func TestBFloat16RoundsToNearestEven(t *testing.T) {
	for _, c := range []struct {
		in   uint32
		want uint16
	}{
		{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82}, {0x3f817fff, 0x3f81},
		{0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x80000000, 0x8000}, {0x7f800001, 0x7fc0},
		{0x00007fff, 0x0000}, {0x00008001, 0x0001},
	} {
		if got := toBF16(math.Float32frombits(c.in)); got != c.want {
			t.Errorf("toBF16(%#x) = %#x, want %#x", c.in, got, c.want)
		}
	}
}
