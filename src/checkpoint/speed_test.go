package checkpoint

import (
	"testing"

	"cambium/src/layout"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// 64 MiB of weights, written and synced, and read back with all checksums.
func BenchmarkWriteAndRead(b *testing.B) {
	const rows, cols = 16, 1 << 20
	v := make([]float32, rows*cols)
	rng.NewKey(1, "w").FillNormal(v, 0, 0.02)
	data := floatBytes(v)
	p := []Piece{{Tensor: "t", Kind: Weight, DType: tensor.F32, Shape: []int{rows, cols}, Box: layout.Whole([]int{rows, cols}), Data: data}}
	for _, c := range []string{"none", "zstd"} {
		dir := b.TempDir()
		b.Run("write "+c, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := Write(dir, Alone{}, Meta{Iteration: 1}, p, Options{Compression: c}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("read "+c, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			r, err := Open(dir + "/iter_0000001")
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close() //nolint:errcheck // only read
			for b.Loop() {
				if err := r.Read(Weight, "t", p[0].Box, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The codec alone, on one core, by bytes of weights.
func BenchmarkCodec(b *testing.B) {
	v := make([]float32, 4<<20)
	rng.NewKey(1, "w").FillNormal(v, 0, 0.02)
	raw := floatBytes(v)
	enc, err := newEncoder()
	if err != nil {
		b.Fatal(err)
	}
	packed := append([]byte(nil), enc.encode(raw, 4)...)
	shuffled := make([]byte, len(raw))
	dec := decoder{maxRaw: int64(len(raw))}
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"shuffle", func() error { shuffle(shuffled, raw, 4); return nil }},
		{"unshuffle", func() error { unshuffle(raw, shuffled, 4); return nil }},
		{"encode", func() error { enc.encode(raw, 4); return nil }},
		{"decode", func() error { return dec.decode(raw, packed, 4) }},
		{"checksum", func() error { checksum(raw); return nil }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if err := c.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
