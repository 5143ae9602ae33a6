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
