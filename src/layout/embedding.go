package layout

import (
	"fmt"
	"slices"

	"cambium/src/arch"
)

// Piece sends the old indices [Old, Old+Len) of an axis to the new indices [New, New+Len).
type Piece struct{ Old, New, Len int }

// Fresh stands in Embedding.Layers for a new layer that has no old one.
const Fresh = -1

// Embedding says where a model's indices go in another model. The zero Embedding is the identity: every axis keeps its common
// prefix, every layer its number.
type Embedding struct {
	// Axes[a] are the pieces of axis kind a, ascending and disjoint in New. Two pieces may read the same old indices
	// (clones). Nil means the common prefix. Pieces of the query and key/value axes count channels, not heads.
	Axes [arch.AxisCount][]Piece
	// Layers[n] is the old layer that new layer n is filled from, or Fresh. Several may name the same one (stacking). Nil
	// means that layer n comes from layer n.
	Layers []int
}

// Grown is the embedding of a model in a larger one: prefixes of the hidden and FFN axes, key/value groups as a prefix, and
// query heads by (group, slot): with r = heads/groups, old head h becomes (h/r) r' + h mod r. Layers says where
// each new layer comes from; nil keeps the numbers.
func Grown(from, to arch.Model, layers []int) (Embedding, error) {
	for _, c := range []struct {
		key      string
		from, to int
	}{
		{"hidden_size", from.HiddenSize, to.HiddenSize},
		{"ffn_hidden_size", from.FFNHiddenSize, to.FFNHiddenSize},
		{"num_attention_heads", from.NumAttentionHeads, to.NumAttentionHeads},
		{"num_query_groups", from.NumQueryGroups, to.NumQueryGroups},
		{"num_layers", from.NumLayers, to.NumLayers},
	} {
		if c.to < c.from {
			return Embedding{}, fmt.Errorf("layout: %s shrinks from %d to %d: a growth stage cannot be smaller than the one before", c.key, c.from, c.to)
		}
	}
	if from.KVChannels != to.KVChannels {
		return Embedding{}, fmt.Errorf("layout: kv_channels changes from %d to %d: the head size must stay", from.KVChannels, to.KVChannels)
	}
	r, s := from.NumAttentionHeads/from.NumQueryGroups, to.NumAttentionHeads/to.NumQueryGroups
	if s < r {
		return Embedding{}, fmt.Errorf("layout: query heads a group shrink from %d to %d: want num_attention_heads/num_query_groups to stay or grow", r, s)
	}
	e := Embedding{Layers: layers}
	d := from.KVChannels
	for g := range from.NumQueryGroups {
		e.Axes[arch.Query] = append(e.Axes[arch.Query], Piece{Old: g * r * d, New: g * s * d, Len: r * d})
	}
	return e.Resolve(from, to)
}

// Resolve makes every piece and layer explicit, merges neighbouring pieces, and checks that they fit both models.
func (e Embedding) Resolve(from, to arch.Model) (Embedding, error) {
	var out Embedding
	for i := range arch.AxisCount {
		a := arch.Axis(i)
		old, now := realSize(from, a), realSize(to, a)
		p := e.Axes[i]
		if p == nil {
			p = []Piece{{Len: min(old, now)}}
		}
		if err := checkPieces(a, p, old, now); err != nil {
			return Embedding{}, err
		}
		out.Axes[i] = merge(p)
	}
	out.Layers = slices.Clone(e.Layers)
	if e.Layers == nil {
		out.Layers = make([]int, to.NumLayers)
		for n := range out.Layers {
			if out.Layers[n] = n; n >= from.NumLayers {
				out.Layers[n] = Fresh
			}
		}
	}
	if len(out.Layers) != to.NumLayers {
		return Embedding{}, fmt.Errorf("layout: the embedding places %d layers: the new model has %d", len(out.Layers), to.NumLayers)
	}
	for n, o := range out.Layers {
		if o != Fresh && (o < 0 || o >= from.NumLayers) {
			return Embedding{}, fmt.Errorf("layout: new layer %d comes from layer %d: the old model has %d", n, o, from.NumLayers)
		}
	}
	return out, nil
}

// realSize is the size of an axis without the padding of the vocabulary.
func realSize(m arch.Model, a arch.Axis) int {
	if a == arch.Vocab {
		return m.VocabSize
	}
	return m.Size(a)
}

func checkPieces(a arch.Axis, pieces []Piece, old, now int) error {
	end := 0
	for _, p := range pieces {
		if p.Len < 0 || p.Old < 0 || p.Old+p.Len > old || p.New+p.Len > now {
			return fmt.Errorf("layout: %v piece %+v does not fit: the axis has %d old and %d new indices", a, p, old, now)
		}
		if p.New < end {
			return fmt.Errorf("layout: %v piece %+v overlaps the one before or is out of order", a, p)
		}
		end = p.New + p.Len
	}
	return nil
}

// merge joins pieces that follow each other on both sides and drops empty ones. The result is never nil.
func merge(pieces []Piece) []Piece {
	out := make([]Piece, 0, len(pieces))
	for _, p := range pieces {
		if n := len(out); n > 0 && out[n-1].New+out[n-1].Len == p.New && out[n-1].Old+out[n-1].Len == p.Old {
			out[n-1].Len += p.Len
		} else if p.Len > 0 {
			out = append(out, p)
		}
	}
	return out
}

// Compose is the embedding that a followed by b makes. Both must be resolved.
func Compose(a, b Embedding) Embedding {
	var out Embedding
	for i := range arch.AxisCount {
		pieces := []Piece{}
		for _, q := range b.Axes[i] {
			for _, p := range a.Axes[i] {
				lo, hi := max(q.Old, p.New), min(q.Old+q.Len, p.New+p.Len)
				if lo < hi {
					pieces = append(pieces, Piece{Old: p.Old + lo - p.New, New: q.New + lo - q.Old, Len: hi - lo})
				}
			}
		}
		out.Axes[i] = merge(pieces)
	}
	out.Layers = make([]int, len(b.Layers))
	for n, mid := range b.Layers {
		if out.Layers[n] = Fresh; mid != Fresh {
			out.Layers[n] = a.Layers[mid]
		}
	}
	return out
}
