package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/rng"
	"cambium/src/tensor"
	"pgregory.net/rapid"
)

func layoutOf(t testing.TB, world, tp, pp int) layout.Layout {
	t.Helper()
	g, err := grid.New(world, tp, pp)
	if err != nil {
		t.Fatal(err)
	}
	l, err := layout.Optimizer(model(), g)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestACheckpointLoadsOnAnyGrid(t *testing.T) {
	type shape struct{ world, tp, pp int }
	shapes := []shape{{1, 1, 1}, {2, 1, 1}, {3, 1, 1}, {4, 2, 1}, {4, 2, 2}, {8, 4, 1}, {5, 1, 1}}
	rapid.Check(t, func(rt *rapid.T) {
		a, b := rapid.SampledFrom(shapes).Draw(rt, "from"), rapid.SampledFrom(shapes).Draw(rt, "to")
		opt := Options{
			noSync:      true,
			Compression: rapid.SampledFrom([]string{"", "none", "zstd"}).Draw(rt, "compression"),
			Writers:     rapid.IntRange(0, 3).Draw(rt, "writers"),
			EntryBytes:  rapid.SampledFrom([]int{0, 1, 100}).Draw(rt, "entry bytes"),
		}
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		stats := save(t, dir, layoutOf(t, a.world, a.tp, a.pp), 100, opt)
		if want := filepath.Join(dir, "iter_0000100"); stats.Path != want {
			rt.Fatalf("path %s, want %s", stats.Path, want)
		}
		if err := compare(stats.Path, layoutOf(t, b.world, b.tp, b.pp), 100); err != nil {
			rt.Fatal(err)
		}
		if rep := Verify(stats.Path); len(rep.Problems) != 0 || rep.Bytes != stats.Stored {
			rt.Fatalf("Verify of a sound checkpoint: %+v, stored %d", rep, stats.Stored)
		}
	})
}

func TestTheStateBesideTheTensorsComesBack(t *testing.T) {
	dir := t.TempDir()
	stats := save(t, dir, layoutOf(t, 2, 1, 1), 100, Options{})
	r, err := Open(stats.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Meta(), meta(100); !reflect.DeepEqual(got, want) {
		t.Errorf("meta %+v, want %+v", got, want)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "latest_checkpointed_iteration.txt"))
	if err != nil || strings.TrimSpace(string(b)) != "100" {
		t.Errorf("tracker %q, %v", b, err)
	}
	l := layoutOf(t, 1, 1, 1)
	n := l.Len(0)
	for _, s := range r.Manifest().Inspect() {
		if s.Tensors != len(l.Tensors) || s.Elements != int64(n) || s.RawBytes != int64(4*n) {
			t.Errorf("summary %+v, want %d tensors, %d elements", s, len(l.Tensors), n)
		}
	}
}

// A checkpoint that is written twice from the same state has the same bytes: it can be compared and cached.
func TestTheSameStateGivesTheSameBytes(t *testing.T) {
	l := layoutOf(t, 2, 1, 1)
	a := save(t, t.TempDir(), l, 1, Options{Compression: "zstd"}).Path
	b := save(t, t.TempDir(), l, 1, Options{Compression: "zstd"}).Path
	if !reflect.DeepEqual(folderBytes(t, a), folderBytes(t, b)) {
		t.Error("two checkpoints of one state differ")
	}
}

func folderBytes(t testing.TB, folder string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name()] = string(b)
	}
	return out
}

func TestAMistakeOfOneRankReachesEveryRankAndLeavesNothing(t *testing.T) {
	l := layoutOf(t, 3, 1, 1)
	for name, c := range map[string]struct {
		spoil func(rank int, p []Piece) []Piece
		want  string
	}{
		"a missing piece": {func(rank int, p []Piece) []Piece {
			if rank == 1 {
				return p[1:]
			}
			return p
		}, "would be saved with"},
		"a piece saved twice": {func(rank int, p []Piece) []Piece {
			if rank == 2 {
				return append(p, p[0])
			}
			return p
		}, "is saved twice"},
		"a device that fails": {func(rank int, p []Piece) []Piece {
			if rank == 2 {
				p[0].Data, p[0].Fetch = nil, func(layout.Box, []byte) error { return errors.New("the device is gone") }
			}
			return p
		}, "the device is gone"},
		"a wrong length": {func(rank int, p []Piece) []Piece {
			if rank == 0 {
				p[0].Fetch, p[0].Data = nil, make([]byte, 3)
			}
			return p
		}, "has 3 bytes"},
		"two shapes": {func(rank int, p []Piece) []Piece {
			if rank == 1 {
				p[1].DType, p[1].Data, p[1].Fetch = tensor.BF16, nil, func(layout.Box, []byte) error { return nil }
			}
			return p
		}, "ranks save"},
	} {
		dir := t.TempDir()
		for r, err := range together(3, func(g Group) error {
			_, err := Write(dir, g, meta(5), c.spoil(g.Rank(), pieces(l, g.Rank(), 5)), Options{})
			return err
		}) {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: rank %d: %v, want %q", name, r, err, c.want)
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: the folder holds %v (%v)", name, left, err)
		}
	}
}

func TestAnUnknownCompressionIsRefused(t *testing.T) {
	_, err := Write(t.TempDir(), Alone{}, meta(1), pieces(layoutOf(t, 1, 1, 1), 0, 1), Options{Compression: "lz4"})
	if err == nil || !strings.Contains(err.Error(), `compression "lz4" is unknown: want auto, none or zstd`) {
		t.Error(err)
	}
}

func TestReadingWhatIsNotThereSaysSo(t *testing.T) {
	r, err := Open(save(t, t.TempDir(), layoutOf(t, 1, 1, 1), 1, Options{}).Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // only read
	for _, c := range []struct {
		tensor string
		box    layout.Box
		bytes  int
		want   string
	}{
		{"nonsense", layout.Whole([]int{8}), 32, "holds no weight of nonsense"},
		{"final_norm.weight", layout.Whole([]int{8}), 31, "into 31 bytes"},
		{"final_norm.weight", layout.Whole([]int{8, 1}), 32, "is read as"},
		{"final_norm.weight", layout.Whole([]int{9}), 36, "does not hold all of"},
	} {
		if err := r.Read(Weight, c.tensor, c.box, make([]byte, c.bytes)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v, want %q", c.tensor, c.box, err, c.want)
		}
	}
}

// 64 MiB go through a writer and a reader with entries of 1 MiB: neither may ask for more than a few of them.
func TestMemoryDoesNotGrowWithTheCheckpoint(t *testing.T) {
	const rows, cols, limit = 64, 1 << 18, 1 << 20
	p := Piece{
		Tensor: "t", Kind: Weight, DType: tensor.F32, Shape: []int{rows, cols}, Box: layout.Whole([]int{rows, cols}),
		Fetch: func(b layout.Box, dst []byte) error {
			if len(dst) > limit {
				t.Errorf("%d bytes are fetched at once", len(dst))
			}
			dst[0] = byte(b.Lo[0])
			return nil
		},
	}
	dir := t.TempDir()
	var stats Stats
	allocated(t, "writing", 12*limit, func() (err error) {
		stats, err = Write(dir, Alone{}, meta(1), []Piece{p}, Options{Compression: "zstd", EntryBytes: limit, noSync: true})
		return err
	})
	allocated(t, "reading", 12*limit, func() error {
		r, err := Open(stats.Path)
		if err != nil {
			return err
		}
		defer r.Close() //nolint:errcheck // only read
		row := make([]byte, 4*cols)
		for i := range rows {
			if err := r.Read(Weight, "t", layout.Whole(p.Shape).Narrow(0, i, i+1), row); err != nil {
				return err
			}
			if row[0] != byte(i) {
				t.Errorf("row %d begins with %d", i, row[0])
			}
		}
		return nil
	})
}

func allocated(t *testing.T, what string, limit uint64, f func() error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := f(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	n := after.TotalAlloc - before.TotalAlloc
	t.Logf("%s allocated %.1f MiB", what, float64(n)/(1<<20))
	if n > limit {
		t.Errorf("%s allocated %d bytes, want at most %d", what, n, limit)
	}
}

func TestShuffledZstdMakesFp32Smaller(t *testing.T) {
	v := make([]float32, 1<<20)
	rng.NewKey(1, "w").FillNormal(v, 0, 0.02)
	raw := floatBytes(v)
	enc, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	packed := enc.encode(raw, 4)
	ratio := float64(len(raw)) / float64(len(packed))
	t.Logf("ratio %.3f", ratio)
	if ratio < 1.15 {
		t.Errorf("ratio %.3f, want 1.15", ratio)
	}
	dec := decoder{maxRaw: int64(len(raw))}
	back := make([]byte, len(raw))
	if err := dec.decode(back, packed, 4); err != nil || string(back) != string(raw) {
		t.Errorf("decoding gives other bytes (%v)", err)
	}
}

func TestBirthsAreKeptAsRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := Births{}
		for _, axis := range []string{"hidden", "ffn"} {
			v := []int32{}
			for range rapid.IntRange(0, 5).Draw(t, "runs") {
				step := rapid.Int32().Draw(t, "step")
				for range rapid.IntRange(0, 4).Draw(t, "count") {
					v = append(v, step)
				}
			}
			in[axis] = v
		}
		text, err := in.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var out Births
		if err := out.UnmarshalJSON(text); err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("%v became %s and %v (%v)", in, text, out, err)
		}
	})
	var b Births
	if err := b.UnmarshalJSON([]byte(`{"hidden":[[1,99999999999]]}`)); err == nil {
		t.Error("a run of 10^11 births was read")
	}
}
