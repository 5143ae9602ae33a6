package checkpoint

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// The codecs of entries. CodecZstd is zstd over shuffled bytes: all first bytes of the elements, then all second bytes, and so
// on. fp32 weights do not get smaller without the shuffle, and 15 % smaller with it.
const (
	CodecRaw  = "raw"
	CodecZstd = "shuffle-zstd"
)

// zstdWindow is enough for planes of bytes: a larger window changes the size by nothing and the memory by much.
const zstdWindow = 256 << 10

// shuffle writes the bytes of elements of the given size as planes. dst and src have equal lengths, a multiple of size.
func shuffle(dst, src []byte, size int) {
	n := len(src) / size
	for p := range size {
		plane := dst[p*n : (p+1)*n]
		for i := range plane {
			plane[i] = src[i*size+p]
		}
	}
}

// unshuffle is the inverse of shuffle.
func unshuffle(dst, src []byte, size int) {
	n := len(src) / size
	for p := range size {
		plane := src[p*n : (p+1)*n]
		for i, b := range plane {
			dst[i*size+p] = b
		}
	}
}

// encoder compresses entries one after the other.
type encoder struct {
	zstd     *zstd.Encoder
	shuffled []byte
	out      []byte
}

func newEncoder() (*encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: zstd: %w", err)
	}
	return &encoder{zstd: z}, nil
}

// encode is raw, compressed. The result is valid until the next call.
func (e *encoder) encode(raw []byte, size int) []byte {
	e.shuffled = resize(e.shuffled, len(raw))
	shuffle(e.shuffled, raw, size)
	e.out = e.zstd.EncodeAll(e.shuffled, e.out[:0])
	return e.out
}

// decoder is the inverse of encoder.
type decoder struct {
	maxRaw   int64         // no entry is larger
	zstd     *zstd.Decoder // made when first needed
	stored   []byte        // scratch for the caller
	shuffled []byte
	raw      []byte // scratch for the caller
}

// decode fills raw from stored.
func (d *decoder) decode(raw, stored []byte, size int) (err error) {
	if d.zstd == nil {
		limit := zstd.WithDecoderMaxMemory(uint64(max(d.maxRaw, 1<<20)))
		if d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), limit); err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
	}
	d.shuffled = resize(d.shuffled, len(raw))
	out, err := d.zstd.DecodeAll(stored, d.shuffled[:0])
	if err != nil {
		return err
	}
	if len(out) != len(raw) {
		return fmt.Errorf("%d bytes came out instead of %d", len(out), len(raw))
	}
	unshuffle(raw, out, size)
	return nil
}

// resize is b with length n, reallocated only when it is too small. Its content is undefined.
func resize(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
