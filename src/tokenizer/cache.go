package tokenizer

import (
	"encoding/binary"
	"math/bits"
)

const (
	cachedBytes = 16      // longest piece in the cache
	cachedIDs   = 11      // most ids of a piece in the cache: an entry fills one cache line of 64 bytes
	cacheSize   = 1 << 14 // entries: 1 MiB a goroutine
)

// cacheEntry is a piece that was merged before. Two words hold the piece: with its length they are unique.
type cacheEntry struct {
	lo, hi uint64
	length uint8 // 0: empty
	n      uint8
	ids    [cachedIDs]int32
}

// wordCache remembers the ids of short pieces, a newer one replacing whichever has its place. Text repeats its words, so
// nine pieces in ten are found here.
type wordCache [cacheSize]cacheEntry

// key packs a piece of 1 to cachedBytes bytes into two words; for more than 8 bytes they overlap.
func key(piece []byte) (lo, hi uint64) {
	n := len(piece)
	switch {
	case n >= 8:
		return binary.LittleEndian.Uint64(piece), binary.LittleEndian.Uint64(piece[n-8:])
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(piece)), uint64(binary.LittleEndian.Uint32(piece[n-4:]))
	}
	return uint64(piece[0]) | uint64(piece[n/2])<<8 | uint64(piece[n-1])<<16, 0
}

func (c *wordCache) entry(lo, hi uint64, n int) *cacheEntry {
	h, l := bits.Mul64(lo^0x9E3779B97F4A7C15, hi^0xD6E8FEB86659FD93^uint64(n)<<56)
	return &c[(h^l)%cacheSize]
}
