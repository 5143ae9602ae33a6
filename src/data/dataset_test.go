package data

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cambium/src/tokenizer"

	"pgregory.net/rapid"
)

// counting makes a corpus whose tokens are first, first+1, ...
func counting(t testing.TB, n, first int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shard.bin")
	shard := make([]byte, llmcHeader+4*n)
	put32 := func(at, v int) {
		shard[at], shard[at+1], shard[at+2], shard[at+3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
	}
	put32(0, llmcLlama3)
	put32(4, 7)
	put32(8, n)
	for i := range n {
		put32(llmcHeader+4*i, first+i)
	}
	return put(t, path, shard)
}

func open(t testing.TB, seqLength int, seed uint64, specs ...Corpus) *Dataset {
	t.Helper()
	d, err := Open(specs, seqLength, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func sample(t testing.TB, s Source, index uint64) []int32 {
	t.Helper()
	dst := make([]int32, s.SeqLength()+1)
	if err := s.Sample(index, dst); err != nil {
		t.Fatal(err)
	}
	return dst
}

func TestEveryEpochHasEverySampleOnceInItsOwnOrder(t *testing.T) {
	const n, length = 57, 8
	d := open(t, length, 3, Corpus{counting(t, n*length+5, 0), 1})
	if d.NumSamples() != n {
		t.Fatalf("%d samples, want %d", d.NumSamples(), n)
	}
	var orders [3][]int32
	for epoch := range orders {
		for i := range n {
			s := sample(t, d, uint64(epoch*n+i))
			for j := range s {
				if s[j] != s[0]+int32(j) {
					t.Fatalf("sample %d is not consecutive: %v", i, s)
				}
			}
			orders[epoch] = append(orders[epoch], s[0])
		}
		sorted := slices.Sorted(slices.Values(orders[epoch]))
		for i, first := range sorted {
			if first != int32(i*length) {
				t.Fatalf("epoch %d: sample number %d begins at token %d", epoch, i, first)
			}
		}
		if slices.Equal(orders[epoch], sorted) {
			t.Errorf("epoch %d is not shuffled", epoch)
		}
	}
	if slices.Equal(orders[0], orders[1]) || slices.Equal(orders[1], orders[2]) {
		t.Error("two epochs have one order")
	}
}

func TestTheOrderIsThatOfTheSeedAlone(t *testing.T) {
	paths := []Corpus{{counting(t, 5000, 0), 3}, {counting(t, 3000, 10000), 1}}
	a, b, other := open(t, 16, 1, paths...), open(t, 16, 1, paths...), open(t, 16, 2, paths...)
	same := 0
	for _, i := range []uint64{999, 0, 5, 1 << 40, 70000, 5, 12, 13, 14, 15} { // any order, any distance
		if !slices.Equal(sample(t, a, i), sample(t, b, i)) {
			t.Errorf("sample %d differs from one opening to the next", i)
		}
		if slices.Equal(sample(t, a, i), sample(t, other, i)) {
			same++
		}
	}
	if same > 3 {
		t.Errorf("%d of 10 samples are the same with another seed", same)
	}
}

func TestTheRanksOfAnyNumberReadTheSameBatches(t *testing.T) {
	d := open(t, 4, 9, Corpus{counting(t, 4001, 0), 1})
	const size, steps, first = 12, 5, 24
	batches := func(ranks, micro int) (all [][]int32) {
		loaders := make([]*Loader, ranks)
		for r := range loaders {
			loaders[r] = NewLoader(d, LoaderOptions{Order: Share(first, size, r, ranks), BatchSize: micro})
			defer loaders[r].Close()
		}
		for range steps {
			var batch []int32
			for _, l := range loaders {
				for range size / ranks / micro {
					part := make([]int32, micro*5)
					if err := l.Next(part); err != nil {
						t.Fatal(err)
					}
					batch = append(batch, part...)
				}
			}
			all = append(all, batch)
		}
		return all
	}
	want := batches(1, 12)
	for i, s := 0, uint64(first); i < steps; i++ {
		for j := range size {
			if !slices.Equal(want[i][j*5:j*5+5], sample(t, d, s)) {
				t.Fatalf("batch %d, row %d is not sample %d", i, j, s)
			}
			s++
		}
	}
	for _, c := range [][2]int{{1, 1}, {2, 3}, {3, 4}, {4, 1}, {12, 1}} {
		if !slices.EqualFunc(batches(c[0], c[1]), want, slices.Equal[[]int32]) {
			t.Errorf("%d ranks with micro-batches of %d read other batches", c[0], c[1])
		}
	}
}

func TestBlendingKeepsWeightsAndCountsWhatIsConsumed(t *testing.T) {
	weights := []float64{0.7, 0.2, 0.0999, 0.0001}
	var specs []Corpus
	for i, w := range weights {
		specs = append(specs, Corpus{counting(t, 1000, i*1_000_000), w})
	}
	d := open(t, 10, 5, specs...)
	const n = blendBlock + 3000
	counts := make([]uint64, len(weights))
	next := make([]map[uint64]bool, len(weights))
	for i := range next {
		next[i] = map[uint64]bool{}
	}
	for i := range uint64(n) {
		if i%1000 == 0 && !slices.Equal(d.Consumed(i), counts) {
			t.Fatalf("Consumed(%d) = %v, counted %v", i, d.Consumed(i), counts)
		}
		c, number := d.blend(i)
		if next[c][number] {
			t.Fatalf("sample %d of corpus %d comes twice", number, c)
		}
		next[c][number] = true
		counts[c]++
		if i%5000 == 0 && sample(t, d, i)[0]/1_000_000 != int32(c) {
			t.Errorf("sample %d is not of corpus %d", i, c)
		}
		if i == blendBlock-1 {
			for c, w := range weights {
				if diff := float64(counts[c]) - w*blendBlock; diff > 1 || diff < -1 {
					t.Errorf("corpus %d has %d of a block, want %.1f", c, counts[c], w*blendBlock)
				}
				for k := range counts[c] {
					if !next[c][k] {
						t.Fatalf("sample %d of corpus %d is left out", k, c)
					}
				}
			}
		}
	}
}

func TestPlacesAlwaysFillTheBlock(t *testing.T) {
	path := counting(t, 100, 0)
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Float64Range(1e-9, 1e9), 1, 12).Draw(t, "weights")
		var specs []Corpus
		for _, w := range weights {
			specs = append(specs, Corpus{path, w})
		}
		d, err := Open(specs, 10, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		sum := uint64(0)
		for _, c := range d.corpora {
			if c.places < 1 {
				t.Fatalf("a corpus without a place: %v", weights)
			}
			sum += c.places
		}
		if sum != blendBlock {
			t.Fatalf("%d places of %d", sum, blendBlock)
		}
	})
	for _, w := range []float64{0, -1} {
		if _, err := Open([]Corpus{{path, w}}, 10, 1); err == nil || !strings.Contains(err.Error(), "weight") {
			t.Errorf("weight %g: %v", w, err)
		}
	}
}

func TestSequentialReadsEverythingInOrder(t *testing.T) {
	d := open(t, 10, 5, Corpus{counting(t, 101, 0), 1}, Corpus{counting(t, 55, 1000), 1})
	var firsts []int32
	dst := make([]int32, 11)
	for i := range d.NumSamples() + 1 {
		if err := d.Sequential(i, dst); err != nil {
			t.Fatal(err)
		}
		firsts = append(firsts, dst[0])
	}
	if want := []int32{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 1000, 1010, 1020, 1030, 1040, 0}; !slices.Equal(firsts, want) {
		t.Errorf("windows begin at %v; want %v", firsts, want)
	}
}

func TestBytesPerTokenAndVocabularyComeFromPrep(t *testing.T) {
	dir := t.TempDir()
	in := put(t, filepath.Join(dir, "in.txt"), []byte(strings.Repeat("héllo ", 100)))
	out := filepath.Join(dir, "out")
	o := PrepOptions{Files: list(t, Filter{}, in), Output: out, Tokenizer: tokenizer.Bytes(), TokenizerName: "bytes", AppendEOD: true}
	if _, err := Prep(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	d := open(t, 10, 1, Corpus{out, 1})
	if got := d.BytesPerToken(); got != 700.0/701 {
		t.Errorf("%g bytes per token, want %g", got, 700.0/701)
	}
	if d.Tokens() != 701 || d.Documents() != 1 {
		t.Errorf("%d tokens, %d documents", d.Tokens(), d.Documents())
	}
	if err := d.CheckVocab(257); err != nil {
		t.Error(err)
	}
	if err := d.CheckVocab(256); err == nil || !strings.Contains(err.Error(), "257 entries") {
		t.Errorf("a vocabulary too small: %v", err)
	}
	if n := open(t, 4, 1, Corpus{"testdata/u16", 1}).BytesPerToken(); n != 0 {
		t.Errorf("%g bytes per token of a corpus that does not tell", n)
	}
}

func TestLoaderNamesTokensBeyondTheVocabulary(t *testing.T) {
	d := open(t, 4, 1, Corpus{"testdata/u16", 1})
	l := NewLoader(d, LoaderOptions{Order: Share(0, 1, 0, 1), BatchSize: 1, VocabSize: 400})
	defer l.Close()
	if err := l.Next(make([]int32, 5)); err == nil || !strings.Contains(err.Error(), "token 500") {
		t.Errorf("error %v", err)
	}
}

func TestLoaderEndsWithItsOrderAndCloses(t *testing.T) {
	m := NewMock(50, 7, 1)
	l := NewLoader(m, LoaderOptions{Order: slices.Values([]uint64{4, 2, 9, 1, 3}), BatchSize: 2, Depth: 3})
	dst := make([]int32, 16)
	for _, pair := range [][2]uint64{{4, 2}, {9, 1}} {
		if err := l.Next(dst); err != nil {
			t.Fatal(err)
		}
		if want := append(sample(t, m, pair[0]), sample(t, m, pair[1])...); !slices.Equal(dst, want) {
			t.Errorf("batch %v: %v", pair, dst)
		}
	}
	if err := l.Next(dst); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	l.Close()
	l.Close()

	endless := NewLoader(m, LoaderOptions{Order: Share(0, 2, 0, 1), BatchSize: 2})
	if err := endless.Next(make([]int32, 3)); err == nil {
		t.Error("a destination too small was accepted")
	}
	endless.Close()
	if err := endless.Next(dst); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after Close: %v", err)
	}
}

func TestLoaderDoesNotAllocateInTheSteadyState(t *testing.T) {
	d := open(t, 7, 1, Corpus{counting(t, 1000, 0), 3}, Corpus{counting(t, 500, 2000), 1})
	for _, src := range []Source{d, NewMock(50, 7, 1)} {
		l := NewLoader(src, LoaderOptions{Order: Share(0, 2, 0, 1), BatchSize: 2})
		dst := make([]int32, 16)
		if n := testing.AllocsPerRun(100, func() { _ = l.Next(dst) }); n > 0 {
			t.Errorf("%T: %g allocations a batch", src, n)
		}
		l.Close()
	}
}

func BenchmarkSample(b *testing.B) {
	d := open(b, 1024, 1, Corpus{counting(b, 5<<20, 0), 3}, Corpus{counting(b, 1<<20, 0), 1})
	dst := make([]int32, 1025)
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		if err := d.Sample(i, dst); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
