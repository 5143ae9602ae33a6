package rng

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The known-answer vectors of Random123's kat_vectors for philox4x32 10.
func TestPhiloxGivesThePublishedKnownAnswers(t *testing.T) {
	for _, v := range []struct{ counter, key, want []uint32 }{
		{[]uint32{0, 0, 0, 0}, []uint32{0, 0}, []uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{
			[]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
			[]uint32{0xffffffff, 0xffffffff},
			[]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		},
		{
			[]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
			[]uint32{0xa4093822, 0x299f31d0},
			[]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		a, b, c, d := philox(v.key[0], v.key[1], v.counter[0], v.counter[1], v.counter[2], v.counter[3])
		if got := []uint32{a, b, c, d}; !slices.Equal(got, v.want) {
			t.Errorf("philox(%08x, %08x) = %08x, want %08x", v.counter, v.key, got, v.want)
		}
	}
}

// Recorded once: a later change of these values would change every run's initial weights and data order.
func TestValuesNeverChange(t *testing.T) {
	k := NewKey(1234, "layers.0.mlp.fc1.weight")
	var got [6]uint32
	v := make([]float32, 6)
	k.FillNormal(v, 1<<40+1, 1)
	for i := range v {
		got[i] = math.Float32bits(v[i])
	}
	if want := recordedNormals; got != want {
		t.Errorf("normals %#08x, want %#08x", got, want)
	}
	if got := k.Uint64(5); got != recordedUint64 {
		t.Errorf("Uint64(5) = %#x, want %#x", got, uint64(recordedUint64))
	}
	if got := k.Permute(1_000_003, 77); got != recordedPermute {
		t.Errorf("Permute = %d, want %d", got, recordedPermute)
	}
}

func TestAValueDependsOnlyOnSeedNameAndIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rank := rapid.IntRange(1, 4).Draw(t, "rank")
		shape, lo, hi := make([]int, rank), make([]int, rank), make([]int, rank)
		total, n := 1, 1
		for i := range shape {
			shape[i] = rapid.IntRange(1, 9).Draw(t, "dim")
			lo[i] = rapid.IntRange(0, shape[i]-1).Draw(t, "lo")
			hi[i] = rapid.IntRange(lo[i], shape[i]).Draw(t, "hi")
			total *= shape[i]
			n *= hi[i] - lo[i]
		}
		k := NewKey(rapid.Uint64().Draw(t, "seed"), rapid.String().Draw(t, "name"))
		whole, box := make([]float32, total), make([]float32, n)
		k.FillNormal(whole, 0, 0.02)
		k.FillNormalBox(box, shape, lo, hi, 0.02)
		at := 0
		for i, v := range whole {
			if !inside(i, shape, lo, hi) {
				continue
			}
			if box[at] != v {
				t.Fatalf("element %d: %v in the box, %v in the whole", i, box[at], v)
			}
			at++
		}
		if at != n {
			t.Fatalf("%d elements in the box, want %d", at, n)
		}
	})
}

func inside(i int, shape, lo, hi []int) bool {
	for d := len(shape) - 1; d >= 0; d-- {
		if x := i % shape[d]; x < lo[d] || x >= hi[d] {
			return false
		}
		i /= shape[d]
	}
	return true
}

func TestNormalsFitTheNormalDistribution(t *testing.T) {
	const n = 1 << 20
	v := make([]float32, n)
	NewKey(7, "x").FillNormal(v, 3, 1)
	var moments [5]float64
	for _, x := range v {
		p := 1.0
		for i := range moments {
			moments[i] += p / n
			p *= float64(x)
		}
	}
	for i, want := range []float64{1, 0, 1, 0, 3} {
		sd := []float64{1e-12, 1, math.Sqrt2, math.Sqrt(15), math.Sqrt(96)}[i] / math.Sqrt(n)
		if math.Abs(moments[i]-want) > 5*max(sd, 1e-12) {
			t.Errorf("moment %d is %v, want %v", i, moments[i], want)
		}
	}
	slices.Sort(v) // Kolmogorov-Smirnov, level 1e-6
	worst := 0.0
	for i, x := range v {
		cdf := 0.5 * math.Erfc(-float64(x)/math.Sqrt2)
		worst = max(worst, math.Abs(cdf-(float64(i)+0.5)/n))
	}
	if limit := 2.7 / math.Sqrt(n); worst > limit {
		t.Errorf("Kolmogorov-Smirnov distance %v, want under %v", worst, limit)
	}
}

// Neighbours in one block come from one Box-Muller pair; names and indices must give unrelated values.
func TestNeighboursAndNamesAreUncorrelated(t *testing.T) {
	const n = 1 << 18
	v, w := make([]float32, n+8), make([]float32, n+8)
	NewKey(7, "layers.0.mlp.fc1.weight").FillNormal(v, 0, 1)
	NewKey(7, "layers.1.mlp.fc1.weight").FillNormal(w, 0, 1)
	limit := 5 / math.Sqrt(n)
	for lag := range 8 {
		var own, square, other float64
		for i := range n {
			own += float64(v[i]*v[i+lag]) / n
			square += float64((v[i]*v[i]-1)*(v[i+lag]*v[i+lag]-1)) / (2 * n)
			other += float64(v[i]*w[i+lag]) / n
		}
		if lag > 0 && (math.Abs(own) > limit || math.Abs(square) > 3*limit) {
			t.Errorf("lag %d: correlation %v, of squares %v", lag, own, square)
		}
		if math.Abs(other) > limit {
			t.Errorf("lag %d: correlation %v between two names", lag, other)
		}
	}
}

func TestOwnLogAndSinAgreeWithTheLibrary(t *testing.T) {
	k := NewKey(3, "arguments")
	for i := range uint64(200_000) {
		a := uint32(k.Uint64(i))
		if i < 64 {
			a = uint32(1)<<(i/2) - uint32(i&1)
		}
		want := math.Log((float64(a) + 0.5) / (1 << 32))
		if got := logUniform(a); math.Abs(got-want) > 1e-8*math.Abs(want) {
			t.Fatalf("logUniform(%#x) = %v, want %v", a, got, want)
		}
		s, c := math.Sincos(2 * math.Pi * float64(a) / (1 << 32))
		if gs, gc := sinCosTurn(a); math.Abs(gs-s) > 1e-9 || math.Abs(gc-c) > 1e-9 {
			t.Fatalf("sinCosTurn(%#x) = %v, %v, want %v, %v", a, gs, gc, s, c)
		}
	}
}

func TestPermuteIsAPermutation(t *testing.T) {
	for n := uint64(1); n <= 300; n++ {
		k := NewKey(n, "order")
		seen := make([]bool, n)
		for i := range n {
			j := k.Permute(n, i)
			if j >= n || seen[j] {
				t.Fatalf("n %d: %d goes to %d: outside or taken", n, i, j)
			}
			seen[j] = true
		}
	}
	k := NewKey(1, "order")
	const n = 1<<20 + 12345
	seen := make([]bool, n)
	for i := range uint64(n) {
		j := k.Permute(n, i)
		if seen[j] {
			t.Fatalf("%d is hit twice", j)
		}
		seen[j] = true
	}
}

func TestEveryPermutationOfFourIsAboutEquallyLikely(t *testing.T) {
	const trials = 24 * 2000
	counts := map[[4]uint64]int{}
	for s := range uint64(trials) {
		k := NewKey(s, "order")
		var p [4]uint64
		for i := range p {
			p[i] = k.Permute(4, uint64(i))
		}
		counts[p]++
	}
	chi := 0.0
	for _, c := range counts {
		d := float64(c) - trials/24
		chi += d * d / (trials / 24)
	}
	if len(counts) != 24 || chi > 60 { // 23 degrees of freedom: P(chi2 > 60) = 4e-5; the seeds are fixed
		t.Errorf("%d different permutations, chi-squared %v", len(counts), chi)
	}
}

// Where an index goes must tell nothing of where its neighbour goes, and no position may be preferred.
func TestPermuteSpreadsNeighbours(t *testing.T) {
	const n, cells = 100_003, 16
	k := NewKey(99, "order")
	var joint [cells][cells]float64
	for i := range uint64(n - 1) {
		joint[k.Permute(n, i)*cells/n][k.Permute(n, i+1)*cells/n]++
	}
	want, chi := float64(n-1)/(cells*cells), 0.0
	for _, row := range joint {
		for _, c := range row {
			chi += (c - want) * (c - want) / want
		}
	}
	if chi > 370 || chi < 160 { // 255 degrees of freedom
		t.Errorf("chi-squared %v", chi)
	}
}

func TestUniformIntegersFillTheirRange(t *testing.T) {
	k := NewKey(5, "uniform")
	var counts [10]float64
	sum := 0.0
	const n = 100_000
	for i := range uint64(n) {
		counts[k.Below(i, 10)]++
		f := k.Float64(i)
		if f < 0 || f >= 1 {
			t.Fatalf("Float64(%d) = %v", i, f)
		}
		sum += f / n
	}
	for v, c := range counts {
		if math.Abs(c-n/10) > 5*math.Sqrt(n*0.09) {
			t.Errorf("%d came %v times", v, c)
		}
	}
	if math.Abs(sum-0.5) > 5*math.Sqrt(1.0/12/n) {
		t.Errorf("mean %v", sum)
	}
}

func BenchmarkFillNormal(b *testing.B) {
	v := make([]float32, 1<<16)
	b.SetBytes(int64(4 * len(v)))
	for i := range b.N {
		NewKey(1, "x").FillNormal(v, uint64(i), 0.02)
	}
}

func BenchmarkPermute(b *testing.B) {
	k := NewKey(1, "order")
	for i := range b.N {
		k.Permute(1<<40+1, uint64(i))
	}
}
