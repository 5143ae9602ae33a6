package layout

import (
	"encoding/binary"
	"slices"

	"cambium/src/arch"
	"cambium/src/grid"
	"pgregory.net/rapid"
)

// world holds the data of all ranks of a layout: one 32-bit number an element.
type world struct {
	l    Layout
	data map[slot][]byte
}

type slot struct{ tensor, rank int }

func newWorld(l Layout) world {
	w := world{l: l, data: map[slot][]byte{}}
	for r := range l.Grid.World() {
		for _, s := range l.Local(r) {
			w.data[slot{s.Tensor, r}] = make([]byte, 4*s.Box.Volume())
		}
	}
	return w
}

// numbered is a world whose element holds a number of its own, the same on all replicas: never 0. Padding holds 0.
func numbered(l Layout) world {
	w := newWorld(l)
	next := uint32(1)
	for i, t := range l.Tensors {
		whole := make([]byte, 4*t.Len())
		for j := range t.Len() {
			if t.Axes[0] == arch.Vocab && j/t.Shape[1] >= l.Model.VocabSize {
				break
			}
			binary.NativeEndian.PutUint32(whole[4*j:], next+uint32(j))
		}
		next += uint32(t.Len())
		for _, p := range l.Parts(i) {
			for _, r := range p.Ranks {
				Copy(w.data[slot{i, r}], p.Box, p.Box, whole, Whole(t.Shape), p.Box, 4)
			}
		}
	}
	return w
}

// box is what a rank holds of a tensor.
func (w world) box(s slot) (Box, bool) {
	for _, p := range w.l.Parts(s.tensor) {
		if slices.Contains(p.Ranks, s.rank) {
			return p.Box, true
		}
	}
	return Box{}, false
}

// apply carries out a plan: from w to a new world of layout to. Every transfer's boxes must be held where it says.
func (w world) apply(t *rapid.T, plan []Transfer, to Layout) world {
	out := newWorld(to)
	for _, x := range plan {
		src, dst := slot{x.SrcTensor, x.SrcRank}, slot{x.DstTensor, x.DstRank}
		sb, ok1 := w.box(src)
		db, ok2 := out.box(dst)
		if !ok1 || !ok2 || !sb.Contains(x.Src) || !db.Contains(x.Dst) || x.Src.Empty() {
			t.Fatalf("transfer %+v: source holds %v, destination %v", x, sb, db)
		}
		Copy(out.data[dst], db, x.Dst, w.data[src], sb, x.Src, 4)
	}
	return out
}

// global is a whole tensor put together from the replicas; it fails when they differ.
func (w world) global(t *rapid.T, tensor int) []byte {
	shape := w.l.Tensors[tensor].Shape
	whole := make([]byte, 4*Whole(shape).Volume())
	for _, p := range w.l.Parts(tensor) {
		for _, r := range p.Ranks {
			mine, first := w.data[slot{tensor, r}], w.data[slot{tensor, p.Ranks[0]}]
			if !slices.Equal(mine, first) {
				t.Fatalf("%s %v: rank %d differs from rank %d", w.l.Tensors[tensor].Name, p.Box, r, p.Ranks[0])
			}
		}
		Copy(whole, Whole(shape), p.Box, w.data[slot{tensor, p.Ranks[0]}], p.Box, p.Box, 4)
	}
	return whole
}

// drawModel is a random small model that tp up to 4 can split.
func drawModel(t *rapid.T, name string) arch.Model {
	m := arch.Defaults()
	i := func(what string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, name+" "+what) }
	m.NumLayers = i("layers", 1, 5)
	m.HiddenSize = i("hidden", 1, 9)
	m.FFNHiddenSize = 4 * i("ffn", 1, 3)
	m.NumQueryGroups = 4 * i("groups", 1, 2)
	m.NumAttentionHeads = m.NumQueryGroups * i("heads a group", 1, 3)
	m.KVChannels = i("head size", 1, 3)
	m.VocabSize, m.VocabSizeDivisibleBy, m.MaxPositions = i("vocab", 1, 20), i("divisible", 1, 4), i("positions", 1, 5)
	b := func(what string) bool { return rapid.Bool().Draw(t, name+" "+what) }
	m.SwiGLU, m.LinearBias, m.UntieOutput = b("swiglu"), b("bias"), b("untie")
	if b("rms") {
		m.Normalization = arch.RMSNorm
	}
	if b("rope") {
		m.Position = arch.PositionRope
	}
	return m
}

// drawGrown is a model that m can grow to.
func drawGrown(t *rapid.T, m arch.Model) arch.Model {
	i := func(what string, hi int) int { return rapid.IntRange(0, hi).Draw(t, "grow "+what) }
	m.NumLayers += i("layers", 3)
	m.HiddenSize += i("hidden", 5)
	m.FFNHiddenSize += 4 * i("ffn", 2)
	r := m.NumAttentionHeads/m.NumQueryGroups + i("heads a group", 2)
	m.NumQueryGroups += 4 * i("groups", 1)
	m.NumAttentionHeads = m.NumQueryGroups * r
	return m
}

// drawGrid is a grid that can hold a model with at least the given number of layers.
func drawGrid(t *rapid.T, name string, layers int) grid.Grid {
	tp := rapid.SampledFrom([]int{1, 2, 4}).Draw(t, name+" tp")
	pp := rapid.IntRange(1, min(layers, 3)).Draw(t, name+" pp")
	dp := rapid.IntRange(1, 4).Draw(t, name+" dp")
	g, err := grid.New(tp*pp*dp, tp, pp)
	if err != nil {
		t.Fatal(err)
	}
	return g.Interleaved(rapid.IntRange(1, max(layers/pp, 1)).Draw(t, name+" chunks"))
}

// drawLayout is a layout of weights or of optimizer state.
func drawLayout(t *rapid.T, name string, m arch.Model) Layout {
	make := Weights
	if rapid.Bool().Draw(t, name+" sharded") {
		make = Optimizer
	}
	l, err := make(m, drawGrid(t, name, m.NumLayers))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// drawEmbedding is a random embedding of from in to, in no way restricted to growth: pieces in any old order, clones, dropped
// and repeated layers.
func drawEmbedding(t *rapid.T, from, to arch.Model) Embedding {
	var e Embedding
	for a := range arch.AxisCount {
		if rapid.Bool().Draw(t, "identity axis") {
			continue
		}
		old, now := realSize(from, arch.Axis(a)), realSize(to, arch.Axis(a))
		e.Axes[a] = []Piece{}
		for at := 0; at < now; {
			at += rapid.IntRange(0, 3).Draw(t, "gap")
			p := Piece{Old: rapid.IntRange(0, old-1).Draw(t, "old"), New: at}
			p.Len = min(rapid.IntRange(0, 6).Draw(t, "len"), old-p.Old, now-at)
			if p.Len > 0 {
				e.Axes[a] = append(e.Axes[a], p)
			}
			at += max(p.Len, 0)
		}
	}
	if rapid.Bool().Draw(t, "layers move") {
		for range to.NumLayers {
			e.Layers = append(e.Layers, rapid.IntRange(Fresh, from.NumLayers-1).Draw(t, "layer"))
		}
	}
	e, err := e.Resolve(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
