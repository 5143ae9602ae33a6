package rng

import "math/bits"

// The constants of Philox4x32 (Salmon et al. 2011, section 4.2): multipliers and Weyl increments of the key.
const (
	philoxM0 = 0xD2511F53
	philoxM1 = 0xCD9E8D57
	philoxW0 = 0x9E3779B9
	philoxW1 = 0xBB67AE85
)

// philox is Philox4x32-10 of the counter c0..c3 under the key k0, k1. A round is
//
//	(c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0))
//
// with k0 += W0, k1 += W1 between rounds.
func philox(k0, k1, c0, c1, c2, c3 uint32) (uint32, uint32, uint32, uint32) {
	for range 10 {
		p0 := uint64(c0) * philoxM0
		p1 := uint64(c2) * philoxM1
		c0, c1, c2, c3 = uint32(p1>>32)^c1^k0, uint32(p1), uint32(p0>>32)^c3^k1, uint32(p0)
		k0 += philoxW0
		k1 += philoxW1
	}
	return c0, c1, c2, c3
}

// Key is one family of random numbers: those of a seed and a name. Its methods are functions of the index alone; equal
// indices give equal values. The kinds of values (integers, normals, permutations) of one key are independent.
type Key struct {
	seed uint64 // Philox key
	name uint64 // upper half of the Philox counter
}

// The kinds of values of a key: xored into the upper half of the counter, so that they share no block.
const (
	kindInteger = 0x3c6ef372fe94f82b * (iota + 1)
	kindNormal
	kindPermutation
)

// NewKey is the family of a seed and a name, as "init/layers.3.mlp.fc1.weight" or "data/order".
func NewKey(seed uint64, name string) Key { return Key{seed: seed, name: hash(name)} }

// block is the 128 random bits number i of a kind.
func (k Key) block(kind, i uint64) (uint32, uint32, uint32, uint32) {
	n := k.name ^ kind
	return philox(uint32(k.seed), uint32(k.seed>>32), uint32(i), uint32(i>>32), uint32(n), uint32(n>>32))
}

// Uint64 is the i-th of 2^64 independent uniform 64-bit integers.
func (k Key) Uint64(i uint64) uint64 {
	a, b, c, d := k.block(kindInteger, i>>1)
	if i&1 != 0 {
		a, b = c, d
	}
	return uint64(a) | uint64(b)<<32
}

// Below is the i-th integer of [0, n), uniform up to n/2^64. Below(i, 0) is 0.
func (k Key) Below(i, n uint64) uint64 {
	hi, _ := bits.Mul64(k.Uint64(i), n)
	return hi
}

// Float64 is the i-th real number of [0, 1), a multiple of 2^-53.
func (k Key) Float64(i uint64) float64 { return float64(k.Uint64(i)>>11) * 0x1p-53 }

// hash is FNV-1a (64 bit) with SplitMix64's finaliser behind it, which spreads the last characters over all bits.
func hash(name string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return mix(h)
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection of 64-bit words.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
