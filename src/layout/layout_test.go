package layout

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"cambium/src/arch"
	"cambium/src/grid"
	"pgregory.net/rapid"
)

func TestEveryElementLivesInOnePart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t, "l", drawModel(t, "m"))
		for i, tensor := range l.Tensors {
			count := make([]int, tensor.Len())
			for _, p := range l.Parts(i) {
				if len(p.Ranks) == 0 || p.Box.Empty() {
					t.Fatalf("%s: part %+v is empty", tensor.Name, p)
				}
				Runs(Whole(tensor.Shape), p.Box, func(first, n int) {
					for j := range n {
						count[first+j]++
					}
				})
			}
			for j, c := range count {
				if c != 1 {
					t.Fatalf("%s: element %d lies in %d parts", tensor.Name, j, c)
				}
			}
		}
	})
}

func TestEveryPartHasOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t, "l", drawModel(t, "m"))
		owned := make([]int, len(l.Tensors))
		for r := range l.Grid.World() {
			for _, s := range l.Owned(r) {
				owned[s.Tensor] += s.Box.Volume()
			}
		}
		for i, n := range owned {
			if n != l.Tensors[i].Len() {
				t.Fatalf("%s: %d elements are owned, want %d", l.Tensors[i].Name, n, l.Tensors[i].Len())
			}
		}
	})
}

func TestTheStagesOfAPipelineHoldWholeLayersAndTheEnds(t *testing.T) {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize = 4, 8, 2, 100
	m = m.Complete(16)
	g, _ := grid.New(8, 2, 2)
	l, err := Weights(m, g)
	if err != nil {
		t.Fatal(err)
	}
	where := func(name string) (ranks []int) {
		i, ok := l.Index(name)
		if !ok {
			t.Fatalf("no tensor %s", name)
		}
		for _, p := range l.Parts(i) {
			ranks = append(ranks, p.Ranks...)
		}
		return ranks
	}
	for _, c := range []struct {
		name string
		want string
	}{
		{arch.WordEmbeddings, "[0 2 4 6 1 3 5 7]"}, // tied: both ends; tp 0 then tp 1
		{arch.PositionEmbeddings, "[0 1 2 3]"},
		{"layers.1.mlp.fc1.weight", "[0 2 1 3]"},
		{"layers.2.mlp.fc2.bias", "[4 5 6 7]"},
		{arch.FinalNormGain, "[4 5 6 7]"},
	} {
		if got := strings.ReplaceAll(sprint(where(c.name)), ",", ""); got != c.want {
			t.Errorf("%s lives on ranks %s, want %s", c.name, got, c.want)
		}
	}
	i, _ := l.Index(arch.WordEmbeddings)
	if got, want := l.Tensors[i].Shape[0], m.PaddedVocab(2); got != want {
		t.Errorf("the table has %d rows, want %d", got, want)
	}
}

// Two chunks on two stages: layers 0 and 2 on the first stage, 1 and 3 on the second, the ends where they always are.
func TestInterleavedStagesHoldTheirChunks(t *testing.T) {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize = 4, 8, 2, 100
	m = m.Complete(16)
	g, _ := grid.New(2, 1, 2)
	l, err := Weights(m, g.Interleaved(2))
	if err != nil {
		t.Fatal(err)
	}
	for i, tensor := range l.Tensors {
		want := "[0]"
		switch {
		case tensor.Name == arch.WordEmbeddings:
			want = "[0 1]"
		case tensor.Layer == arch.LayerFinal || tensor.Layer == 1 || tensor.Layer == 3:
			want = "[1]"
		}
		if got := sprint(l.Parts(i)[0].Ranks); got != want {
			t.Errorf("%s lives on %s, want %s", tensor.Name, got, want)
		}
	}
}

func TestPlanAndInitialiserWriteEachElementOnceFromTheRightSource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := drawLayout(t, "from", drawModel(t, "old"))
		to := drawLayout(t, "to", drawModel(t, "new"))
		e := drawEmbedding(t, from.Model, to.Model)
		checkPlan(t, from, to, e)
	})
}

func TestGrowthPlansWriteEachElementOnceFromTheRightSource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := drawLayout(t, "from", drawModel(t, "old"))
		to := drawLayout(t, "to", drawGrown(t, from.Model))
		e, err := Grown(from.Model, to.Model, nil)
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, from, to, e)
	})
}

// checkPlan compares a plan with the definition, element by element.
func checkPlan(t *rapid.T, from, to Layout, e Embedding) {
	plan, err := Plan(from, to, e)
	if err != nil {
		t.Fatal(err)
	}
	fills, err := Uncovered(from, to, e)
	if err != nil {
		t.Fatal(err)
	}
	src := numbered(from)
	got := src.apply(t, plan, to)

	writes := map[slot][]int{}
	count := func(s slot, b Box) {
		held, _ := got.box(s)
		if writes[s] == nil {
			writes[s] = make([]int, held.Volume())
		}
		if !held.Contains(b) {
			t.Fatalf("rank %d writes %v of %s and holds %v", s.rank, b, to.Tensors[s.tensor].Name, held)
		}
		Runs(held, b, func(first, n int) {
			for j := range n {
				writes[s][first+j]++
			}
		})
	}
	for _, x := range plan {
		count(slot{x.DstTensor, x.DstRank}, x.Dst)
	}
	for _, f := range fills {
		count(slot{f.Tensor, f.Rank}, f.Box)
		axis0 := to.Tensors[f.Tensor].Axes[0]
		if f.Padding != (axis0 == arch.Vocab && f.Box.Lo[0] >= to.Model.VocabSize) {
			t.Fatalf("fill %+v of %s: wrong about padding", f, to.Tensors[f.Tensor].Name)
		}
	}
	for s, b := range got.data {
		for j := range len(b) / 4 {
			if writes[s] == nil || writes[s][j] != 1 {
				t.Fatalf("%s on rank %d: element %d is not written exactly once", to.Tensors[s.tensor].Name, s.rank, j)
			}
		}
	}
	for i, tensor := range to.Tensors {
		checkValues(t, src, got.global(t, i), tensor, from, e)
	}
	checkTraffic(t, from, to, e, plan)
}

// checkValues compares a redistributed tensor with the definition of the embedding. Elements without a source are 0.
func checkValues(t *rapid.T, src world, got []byte, tensor arch.Tensor, from Layout, e Embedding) {
	var whole []byte
	var shape []int
	if i, ok := from.Index(sourceName(tensor, e)); ok {
		whole, shape = src.global(t, i), from.Tensors[i].Shape
	}
	for j := range tensor.Len() {
		want := uint32(0)
		if x, ok := oldIndex(j, tensor, shape, e); ok {
			want = binary.NativeEndian.Uint32(whole[4*x:])
		}
		if v := binary.NativeEndian.Uint32(got[4*j:]); v != want {
			t.Fatalf("%s: element %d is %d, want %d", tensor.Name, j, v, want)
		}
	}
}

// oldIndex is the flat index in a tensor of the old shape that new element j comes from.
func oldIndex(j int, tensor arch.Tensor, shape []int, e Embedding) (int, bool) {
	if shape == nil {
		return 0, false
	}
	x, stride := 0, 1
	for d := len(shape) - 1; d >= 0; d-- {
		at, found := j%tensor.Shape[d], false
		j /= tensor.Shape[d]
		for _, p := range e.Axes[tensor.Axes[d]] {
			if at >= p.New && at < p.New+p.Len {
				x, found = x+stride*(at-p.New+p.Old), true
			}
		}
		if !found {
			return 0, false
		}
		stride *= shape[d]
	}
	return x, true
}

func checkTraffic(t *rapid.T, from, to Layout, e Embedding, plan []Transfer) {
	bound, err := LowerBound(from, to, e, 4)
	if err != nil {
		t.Fatal(err)
	}
	if moved := BytesMoved(plan, 4); moved != bound {
		t.Fatalf("%d bytes are moved, the bound is %d", moved, bound)
	}
}

func TestIdentityOnTheSameLayoutMovesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t, "l", drawModel(t, "m"))
		plan, err := Plan(l, l, Embedding{})
		if err != nil {
			t.Fatal(err)
		}
		if n := BytesMoved(plan, 4); n != 0 {
			t.Fatalf("%d bytes are moved", n)
		}
		fills, err := Uncovered(l, l, Embedding{})
		for _, f := range fills {
			if err != nil || !f.Padding {
				t.Fatalf("%+v is not covered (%v)", f, err)
			}
		}
	})
}

func TestARoundTripOverAnotherGridGivesTheSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t, "m")
		a, b := drawLayout(t, "a", m), drawLayout(t, "b", m)
		there, err := Plan(a, b, Embedding{})
		if err != nil {
			t.Fatal(err)
		}
		back, err := Plan(b, a, Embedding{})
		if err != nil {
			t.Fatal(err)
		}
		start := numbered(a)
		end := start.apply(t, there, b).apply(t, back, a)
		for s, want := range start.data {
			if !bytes.Equal(end.data[s], want) {
				t.Fatalf("%s on rank %d changed", a.Tensors[s.tensor].Name, s.rank)
			}
		}
	})
}

func TestPlansCompose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawLayout(t, "a", drawModel(t, "ma")), drawLayout(t, "b", drawModel(t, "mb")), drawLayout(t, "c", drawModel(t, "mc"))
		// A tensor that only b lacks stops the long way alone.
		b.Model.SwiGLU, b.Model.LinearBias, b.Model.UntieOutput = true, true, true
		b.Model.Normalization, b.Model.Position = arch.LayerNorm, arch.PositionLearned
		b, err := Weights(b.Model, b.Grid)
		if err != nil {
			t.Fatal(err)
		}
		e1, e2 := drawEmbedding(t, a.Model, b.Model), drawEmbedding(t, b.Model, c.Model)
		p1, _ := Plan(a, b, e1)
		p2, _ := Plan(b, c, e2)
		p12, err := Plan(a, c, Compose(e1, e2))
		if err != nil {
			t.Fatal(err)
		}
		start := numbered(a)
		long, short := start.apply(t, p1, b).apply(t, p2, c), start.apply(t, p12, c)
		for s, want := range short.data {
			if !bytes.Equal(long.data[s], want) {
				t.Fatalf("%s on rank %d: two steps and one step differ", c.Tensors[s.tensor].Name, s.rank)
			}
		}
	})
}

func TestANewModelIsAllInitialisers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t, "l", drawModel(t, "m"))
		fills, err := Uncovered(Layout{}, l, Embedding{})
		if err != nil {
			t.Fatal(err)
		}
		n, want := 0, 0
		for _, f := range fills {
			n += f.Box.Volume()
		}
		for r := range l.Grid.World() {
			want += l.Len(r)
		}
		if n != want {
			t.Fatalf("%d elements are initialised, want %d", n, want)
		}
	})
}

func TestOldHeadsGoByGroupAndSlot(t *testing.T) {
	from := arch.Model{NumAttentionHeads: 4, NumQueryGroups: 2, KVChannels: 8, NumLayers: 1, HiddenSize: 1, FFNHiddenSize: 1}
	to := from
	to.NumAttentionHeads = 6
	e, err := Grown(from, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Heads 0 1 | 2 3 become 0 1 . | 3 4 .
	want := "[{Old:0 New:0 Len:16} {Old:16 New:24 Len:16}]"
	if got := sprint(e.Axes[arch.Query]); got != want {
		t.Errorf("query pieces %s, want %s", got, want)
	}
}

func TestBadEmbeddingsAndSplitsSayWhy(t *testing.T) {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize = 2, 12, 6, 10
	m = m.Complete(4)
	small := m
	small.HiddenSize = 8
	fewer := m
	fewer.NumAttentionHeads, fewer.NumQueryGroups = 6, 2
	more := fewer
	more.NumQueryGroups = 6
	tp4, _ := grid.New(4, 4, 1)
	pp3, _ := grid.New(3, 1, 3)
	piece := func(p ...Piece) error {
		e := Embedding{}
		e.Axes[arch.Hidden] = p
		_, err := e.Resolve(m, m)
		return err
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{second(Grown(m, small, nil)), "hidden_size shrinks from 12 to 8"},
		{second(Grown(fewer, more, nil)), "query heads a group shrink from 3 to 1"},
		{second(Weights(m, tp4)), "num_attention_heads 6 cannot be split by tensor_model_parallel_size 4"},
		{second(Weights(m, grid.Grid{TP: 1, PP: 2, DP: 1, Chunks: 2})), "2 virtual stages on each of 2 pipeline stages are more than num_layers 2"},
		{second(Weights(m, pp3)), "pipeline_model_parallel_size 3 is more than num_layers 2"},
		{second(Embedding{Layers: []int{0}}.Resolve(m, m)), "places 1 layers: the new model has 2"},
		{second(Embedding{Layers: []int{0, 5}}.Resolve(m, m)), "new layer 1 comes from layer 5"},
		{piece(Piece{Old: 4, Len: 9}), "hidden piece {Old:4 New:0 Len:9} does not fit"},
		{piece(Piece{Len: 4}, Piece{New: 3, Len: 1}), "overlaps the one before"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
}
