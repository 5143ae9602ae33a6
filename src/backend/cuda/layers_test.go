//go:build cuda

package cuda

import (
	"encoding/binary"
	"math"
	"testing"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// Tables and batches beyond the workspace are gone through in parts: it is the same gradient.
func TestEmbeddingGradientInPartsIsThatOfTheWhole(t *testing.T) {
	b, err := Open(0)
	if err != nil {
		t.Skipf("no device: %v", err)
	}
	defer b.Close()
	s := b.NewStream("test").(*stream)
	const n, rows, cols, start = 150, 11, 3, 2
	var x, table, ids tensor.Tensor
	mem, err := backend.Plan(b, "test", func(a *backend.Arena) {
		x, table, ids = a.Tensor(tensor.F32, n, cols), a.Tensor(tensor.F32, rows, cols), a.Tensor(tensor.I32, n)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free(mem)
	want := make([]float64, rows*cols)
	dx, tokens := make([]float32, n*cols), make([]int32, n)
	for i := range tokens {
		tokens[i] = int32(i * i % (rows + 4)) // some rows never, some often, some tokens of other shards
		for j := range cols {
			dx[i*cols+j] = float32(math.Sin(float64(i*cols + j)))
			if r := int(tokens[i]) - start; r >= 0 && r < rows {
				want[r*cols+j] += 0.5 * float64(dx[i*cols+j])
			}
		}
	}
	for _, part := range [][2]int{{rows, n}, {4, n}, {rows, 40}, {4, 40}, {1, 1}} {
		s.Upload(x, tensor.HostBytes(dx))
		s.Upload(ids, tensor.HostBytes(tokens))
		s.Fill(table, 0)
		s.embeddingTable(backend.Embedding{X: x, Table: table, Tokens: ids, SeqLen: n, Scale: 0.5, VocabStart: start}, part[0], part[1])
		got := make([]byte, 4*rows*cols)
		s.Download(got, table)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if g := float64(math.Float32frombits(binary.NativeEndian.Uint32(got[4*i:]))); math.Abs(g-w) > 1e-5 {
				t.Fatalf("%d rows and %d tokens at a time: element %d is %g, want %g", part[0], part[1], i, g, w)
			}
		}
	}
}
