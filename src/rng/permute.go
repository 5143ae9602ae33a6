package rng

import "math/bits"

// feistelRounds is the number of rounds of Permute's network. Four make a pseudo-random permutation of large sets (Luby
// and Rackoff 1988); small sets need more before every permutation is about equally likely.
const feistelRounds = 8

// minFeistelBits makes halves of at least three bits: with fewer, small sets are permuted visibly unevenly.
const minFeistelBits = 6

// Permute is where a pseudo-random permutation of [0, n) puts i: for i in [0, n) the results are 0 to n-1, each once. It
// needs no memory. It panics when i is not below n, as an index out of range does.
//
// It is an alternating Feistel network over the smallest power of two that holds n, with cycle walking: a result
// outside [0, n) is permuted again (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002), less than twice on
// average (more often for n under 64).
func (k Key) Permute(n, i uint64) uint64 {
	if i >= n {
		panic("rng: Permute of an index that is not below n")
	}
	size := max(bits.Len64(n-1), minFeistelBits)
	low := size / 2
	f := feistel{low: low, lowMask: 1<<low - 1, highMask: 1<<(size-low) - 1}
	for r := 0; r < feistelRounds; r += 2 {
		a, b, c, d := k.block(kindPermutation, uint64(r/2))
		f.keys[r] = uint64(a) | uint64(b)<<32
		f.keys[r+1] = uint64(c) | uint64(d)<<32
	}
	for i = f.apply(i); i >= n; {
		i = f.apply(i)
	}
	return i
}

// feistel is a network over words of a high and a low half, which may differ by one bit.
type feistel struct {
	low               int
	lowMask, highMask uint64
	keys              [feistelRounds]uint64
}

func (f *feistel) apply(x uint64) uint64 {
	h, l := x>>f.low, x&f.lowMask
	for r := 0; r < feistelRounds; r += 2 {
		h ^= mix(l+f.keys[r]) & f.highMask
		l ^= mix(h+f.keys[r+1]) & f.lowMask
	}
	return h<<f.low | l
}
