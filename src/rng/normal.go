package rng

import "math"

// FillNormal sets dst[j] to element first+j of an infinite sequence of independent normal numbers with mean 0 and the
// given standard deviation. Element i is a function of the key and i alone.
//
// Block b of the generator gives elements 4b to 4b+3 by two Box-Muller pairs (Box and Muller 1958): with u, w uniform,
// sqrt(-2 ln u) cos(2 pi w) and sqrt(-2 ln u) sin(2 pi w). The largest absolute value is 6.77 std.
func (k Key) FillNormal(dst []float32, first uint64, std float32) {
	if skip := first & 3; skip != 0 && len(dst) > 0 {
		v := k.normals(first>>2, std)
		n := copy(dst, v[skip:])
		dst, first = dst[n:], first+uint64(n)
	}
	for ; len(dst) >= 4; dst, first = dst[4:], first+4 {
		v := k.normals(first>>2, std)
		copy(dst, v[:])
	}
	if len(dst) > 0 {
		v := k.normals(first>>2, std)
		copy(dst, v[:])
	}
}

// FillNormalBox sets dst, row-major, to the box [lo, hi) of a row-major tensor of the given shape whose elements are
// numbered from 0: the same values that FillNormal gives to the whole tensor. dst has the box's number of elements; shape, lo and
// hi have equal lengths.
func (k Key) FillNormalBox(dst []float32, shape, lo, hi []int, std float32) {
	if len(shape) == 0 {
		k.FillNormal(dst[:1], 0, std)
		return
	}
	for i := range shape {
		if hi[i] <= lo[i] {
			return
		}
	}
	last := len(shape) - 1
	width := hi[last] - lo[last]
	at := append([]int(nil), lo...)
	for len(dst) > 0 {
		first := uint64(0)
		for i, s := range shape {
			first = first*uint64(s) + uint64(at[i])
		}
		k.FillNormal(dst[:width], first, std)
		dst = dst[width:]
		for i := last - 1; i >= 0; i-- {
			if at[i]++; at[i] < hi[i] {
				break
			}
			at[i] = lo[i]
		}
	}
}

// NormalWords are what a device needs to draw the normal numbers of a key itself: the Philox key, and the upper half of the counter,
// whose lower half is the number of the block.
func (k Key) NormalWords() (key, counter uint64) { return k.seed, k.name ^ kindNormal }

// normals are elements 4b to 4b+3.
func (k Key) normals(b uint64, std float32) [4]float32 {
	u0, w0, u1, w1 := k.block(kindNormal, b)
	var v [4]float32
	v[0], v[1] = boxMuller(u0, w0, std)
	v[2], v[3] = boxMuller(u1, w1, std)
	return v
}

// boxMuller makes two normal numbers from u = (a + 1/2) 2^-32 and the angle 2 pi w 2^-32. The products are converted
// where an addition follows, so that they are rounded on processors with fused multiply-add as on those without.
func boxMuller(a, w uint32, std float32) (float32, float32) {
	r := math.Sqrt(-2*logUniform(a)) * float64(std)
	s, c := sinCosTurn(w)
	return float32(r * c), float32(r * s)
}

// logUniform is ln((a + 1/2) 2^-32) with a relative error under 1e-8: with u = 2^e m, m in [sqrt(1/2), sqrt(2)),
//
//	ln u = e ln 2 + 2 (z + z^3/3 + z^5/5 + ...)   z = (m - 1)/(m + 1), |z| < 0.172
func logUniform(a uint32) float64 {
	const mantissa, half = 1<<52 - 1, 0x3fe0000000000000
	b := math.Float64bits(float64(a) + 0.5)
	e := int(b>>52) - 1022 - 32
	m := math.Float64frombits(b&mantissa | half) // in [1/2, 1)
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	z := (m - 1) / (m + 1)
	y := float64(z * z)
	p := 1.0 / 11
	p = float64(p*y) + 1.0/9
	p = float64(p*y) + 1.0/7
	p = float64(p*y) + 1.0/5
	p = float64(p*y) + 1.0/3
	p = float64(p*y) + 1
	return float64(float64(e)*math.Ln2) + float64(2*z*p)
}

// sinCosTurn is sin and cos of 2 pi w 2^-32 with an error under 1e-9: the top two bits choose the quadrant, the rest is an
// angle x in [-pi/4, pi/4) about its middle, for which Taylor's series do.
func sinCosTurn(w uint32) (sin, cos float64) {
	const unit = 2 * math.Pi / (1 << 32)
	q := (w + 1<<29) >> 30 // nearest multiple of a quarter turn
	x := float64(int32(w-q<<30)) * unit
	y := float64(x * x)
	s := -1.0 / 39916800
	s = float64(s*y) + 1.0/362880
	s = float64(s*y) - 1.0/5040
	s = float64(s*y) + 1.0/120
	s = float64(s*y) - 1.0/6
	s = float64(x * (float64(s*y) + 1))
	c := 1.0 / 479001600
	c = float64(c*y) - 1.0/3628800
	c = float64(c*y) + 1.0/40320
	c = float64(c*y) - 1.0/720
	c = float64(c*y) + 1.0/24
	c = float64(c*y) - 1.0/2
	c = float64(c*y) + 1
	switch q & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	}
	return -c, s
}
