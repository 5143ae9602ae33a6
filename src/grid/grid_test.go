package grid

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func draw(t *rapid.T) Grid {
	tp, pp, dp := rapid.IntRange(1, 5).Draw(t, "tp"), rapid.IntRange(1, 5).Draw(t, "pp"), rapid.IntRange(1, 5).Draw(t, "dp")
	g, err := New(tp*pp*dp, tp, pp)
	if err != nil {
		t.Fatal(err)
	}
	if g.DP != dp {
		t.Fatalf("dp %d, want %d", g.DP, dp)
	}
	return g.Interleaved(rapid.IntRange(0, 3).Draw(t, "chunks"))
}

// drawUneven is a grid whose first or last pipeline stage may have a number of layers of its own.
func drawUneven(t *rapid.T) Grid {
	return draw(t).Uneven(rapid.IntRange(0, 6).Draw(t, "first"), rapid.IntRange(0, 6).Draw(t, "last"))
}

func TestRanksAreNumberedAsMegatronNumbersThem(t *testing.T) {
	g, err := New(16, 2, 4) // the example of Megatron-LM's parallel_state.py
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dim  Dim
		want [][]int
	}{
		{TP, [][]int{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}, {10, 11}, {12, 13}, {14, 15}}},
		{DP, [][]int{{0, 2}, {1, 3}, {4, 6}, {5, 7}, {8, 10}, {9, 11}, {12, 14}, {13, 15}}},
		{PP, [][]int{{0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15}}},
		{Embedding, [][]int{{0, 12}, {1, 13}, {2, 14}, {3, 15}}},
		{Model, [][]int{{0, 1, 4, 5, 8, 9, 12, 13}, {2, 3, 6, 7, 10, 11, 14, 15}}},
	} {
		if got := g.Groups(c.dim); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v groups %v, want %v", c.dim, got, c.want)
		}
	}
	if got, want := g.Describe(7), "tp1/2 pp1/4 dp1/2 rank 7"; got != want {
		t.Errorf("Describe(7) = %q, want %q", got, want)
	}
}

func TestCoordinatesAndRanksAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := draw(t)
		for r := range g.World() {
			if back := g.Rank(g.Coord(r)); back != r {
				t.Fatalf("%v: rank %d at %v is rank %d", g, r, g.Coord(r), back)
			}
		}
	})
}

func TestGroupsOfAKindCoverTheWorldOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := draw(t)
		for _, d := range []Dim{TP, DP, PP, Embedding, Model} {
			seen := make([]int, g.World())
			for _, group := range g.Groups(d) {
				if !slices.IsSorted(group) {
					t.Fatalf("%v group %v is not in order", d, group)
				}
				for i, r := range group {
					seen[r]++
					if color, key := g.Split(d, r); color != group[0] || key != i {
						t.Fatalf("%v: rank %d splits as (%d, %d), want (%d, %d)", d, r, color, key, group[0], i)
					}
				}
			}
			for r, n := range seen {
				want := 1
				if d == Embedding && !g.FirstStage(r) && !g.LastStage(r) {
					want = 0
				}
				if n != want {
					t.Fatalf("%v %v: rank %d is in %d groups, want %d", g, d, r, n, want)
				}
			}
		}
	})
}

// Virtual stage v is chunk v / pp of stage v mod pp; together they hold every layer once, in order.
func TestVirtualStagesShareLayersEvenly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := draw(t)
		layers := rapid.IntRange(0, 40).Draw(t, "layers")
		at, n := 0, g.PP*max(g.Chunks, 1)
		for v := range n {
			stage, chunk := v%g.PP, v/g.PP
			lo, hi := g.Layers(stage, chunk, layers)
			if lo != at || hi-lo < layers/n || hi-lo > (layers+n-1)/n {
				t.Fatalf("chunk %d of stage %d of %d layers on %v is [%d, %d), want to begin at %d", chunk, stage, layers, g, lo, hi, at)
			}
			for l := lo; l < hi; l++ {
				if s, c := g.StageOf(l, layers), g.ChunkOf(l, layers); s != stage || c != chunk {
					t.Fatalf("layer %d is in chunk %d of stage %d, want chunk %d of stage %d", l, c, s, chunk, stage)
				}
			}
			at = hi
		}
		if at != layers {
			t.Fatalf("stages end at layer %d of %d", at, layers)
		}
	})
}

// Where the first and the last stage have their own numbers of layers, all layers are dealt out once, in order, in chunks of a stage that
// differ by one at most; the stages between differ by one for all their chunks together.
func TestUnevenStages(t *testing.T) {
	dealt := 0
	rapid.Check(t, func(t *rapid.T) {
		g := drawUneven(t)
		layers := rapid.IntRange(0, 40).Draw(t, "layers")
		if !g.Deals(layers) {
			return
		}
		dealt++
		at, sizes := 0, make([]int, g.PP)
		for v := range g.VirtualStages() {
			stage, chunk := v%g.PP, v/g.PP
			lo, hi := g.Layers(stage, chunk, layers)
			if lo != at || hi <= lo {
				t.Fatalf("chunk %d of stage %d of %d layers on %v is [%d, %d), want to begin at %d and have a layer", chunk, stage, layers, g, lo, hi, at)
			}
			for l := lo; l < hi; l++ {
				if s, c := g.StageOf(l, layers), g.ChunkOf(l, layers); s != stage || c != chunk {
					t.Fatalf("layer %d is in chunk %d of stage %d, want chunk %d of stage %d", l, c, s, chunk, stage)
				}
			}
			at, sizes[stage] = hi, sizes[stage]+hi-lo
		}
		if at != layers {
			t.Fatalf("stages end at layer %d of %d", at, layers)
		}
		between := sizes
		if g.First > 0 {
			if sizes[0] != g.First {
				t.Fatalf("%v: the first stage has %d layers", g, sizes[0])
			}
			between = between[1:]
		}
		if g.Last > 0 && g.PP > 1 {
			if sizes[g.PP-1] != g.Last {
				t.Fatalf("%v: the last stage has %d layers", g, sizes[g.PP-1])
			}
			between = between[:len(between)-1]
		}
		if (g.First > 0 || g.Last > 0) && len(between) > 0 && slices.Max(between)-slices.Min(between) > 1 {
			t.Fatalf("%v of %d layers: stages between have %v", g, layers, between)
		}
	})
	if dealt == 0 {
		t.Error("no grid of those drawn could deal out its layers")
	}
}

func TestUnevenStagesByHand(t *testing.T) {
	for _, c := range []struct {
		grid   string
		layers int
		want   []int // of virtual stages; nil: the layers cannot be dealt out so
	}{
		{"pp4", 10, []int{2, 3, 3, 2}},
		{"pp4 last1", 10, []int{3, 3, 3, 1}},
		{"pp4 first4", 10, []int{4, 2, 2, 2}},
		{"pp4 first1 last2", 10, []int{1, 4, 3, 2}},
		{"pp4x2 first2 last2", 12, []int{1, 2, 2, 1, 1, 2, 2, 1}},
		{"pp2 first3 last1", 4, []int{3, 1}},
		{"pp2 first3 last1", 5, nil},
		{"pp2 first4", 4, nil},
		{"pp4x2 first1", 12, nil},
		{"pp3 first5 last5", 8, nil},
		{"pp1 first2", 4, nil},
		{"pp1 first4", 4, []int{4}},
	} {
		g, err := Parse(c.grid)
		if err != nil {
			t.Fatal(err)
		}
		if g.Deals(c.layers) != (c.want != nil) {
			t.Errorf("%s deals out %d layers: %v", c.grid, c.layers, g.Deals(c.layers))
		}
		if c.want == nil {
			continue
		}
		var got []int
		for v := range g.VirtualStages() {
			lo, hi := g.Layers(v%g.PP, v/g.PP, c.layers)
			got = append(got, hi-lo)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s of %d layers: %v, want %v", c.grid, c.layers, got, c.want)
		}
	}
}

func TestLargerStagesStandInTheMiddle(t *testing.T) {
	g := Grid{TP: 1, PP: 4, DP: 1}
	var sizes []int
	for p := range g.PP {
		lo, hi := g.Layers(p, 0, 10)
		sizes = append(sizes, hi-lo)
	}
	if !slices.Equal(sizes, []int{2, 3, 3, 2}) {
		t.Errorf("10 layers on 4 stages are %v, want 2 3 3 2", sizes)
	}
	if lo, hi := g.Interleaved(2).Layers(1, 1, 16); lo != 10 || hi != 12 {
		t.Errorf("chunk 1 of stage 1 is [%d, %d), want [10, 12)", lo, hi)
	}
}

func TestAGridThatDoesNotFitSaysWhy(t *testing.T) {
	for _, c := range []struct {
		world, tp, pp int
		want          string
	}{
		{8, 3, 1, "8 ranks cannot be arranged as tensor_model_parallel_size 3"},
		{0, 1, 1, "0 ranks"},
		{4, 0, 1, "tensor_model_parallel_size is 0"},
		{4, 1, -1, "pipeline_model_parallel_size is -1"},
	} {
		if _, err := New(c.world, c.tp, c.pp); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New(%d, %d, %d): %v, want %q", c.world, c.tp, c.pp, err, c.want)
		}
	}
}
