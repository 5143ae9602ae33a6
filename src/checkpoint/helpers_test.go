package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"sync"
	"testing"

	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// ranks is a Group of goroutines.
type ranks struct {
	mu    sync.Mutex
	ready *sync.Cond
	all   [][]byte
	done  [][]byte
	here  int
	round int
}

type member struct {
	*ranks
	rank int
}

func newRanks(n int) *ranks {
	r := &ranks{all: make([][]byte, n)}
	r.ready = sync.NewCond(&r.mu)
	return r
}

func (m member) Rank() int { return m.rank }
func (m member) Size() int { return len(m.all) }

func (m member) Gather(_ string, mine []byte) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[m.rank] = mine
	m.here++
	if m.here == len(m.all) {
		m.done, m.all = m.all, make([][]byte, len(m.all))
		m.here = 0
		m.round++
		m.ready.Broadcast()
		return m.done, nil
	}
	for round := m.round; round == m.round; {
		m.ready.Wait()
	}
	return m.done, nil
}

// together runs f on n ranks and returns their errors.
func together(n int, f func(g Group) error) []error {
	r, errs := newRanks(n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(member{r, i}) })
	}
	wg.Wait()
	return errs
}

// model is small, with a padded vocabulary.
func model() arch.Model {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize, m.VocabSizeDivisibleBy = 2, 8, 4, 13, 3
	m.SwiGLU = true
	m.FFNHiddenSize = 12
	return m.Complete(4)
}

func meta(iteration int) Meta {
	m := model()
	return Meta{
		Iteration: iteration, ConsumedSamples: 7, ConsumedTokens: 1 << 40, Stage: Stage{Index: 1, Iterations: 3, Tokens: 9, RampStep: 2},
		Model: m, Function: m.Function(), Mask: arch.Mask{V: 0.1, OldHidden: 4, NewHeads: []int{2, 3}}, Seed: 1 << 63,
		Births: Births{"hidden": {0, 0, 0, 0, 90, 90, 90, 90}, "layers": {0, 90}},
		Config: "model:\n  num_layers: 2 # two\n", Extra: map[string]json.RawMessage{"loss_scaler": json.RawMessage(`{"scale":65536}`)},
	}
}

// value is element i of a tensor of a kind at an iteration. Rows of padding are zero.
func values(t arch.Tensor, kind string, iteration int, vocab int) []byte {
	v := make([]float32, t.Len())
	rng.NewKey(uint64(iteration), kind+"/"+t.Name).FillNormal(v, 0, 0.02)
	if t.Axes[0] == arch.Vocab {
		clear(v[min(vocab*t.Shape[1], len(v)):])
	}
	b := make([]byte, 4*len(v))
	for i, x := range v {
		if _, err := binary.Encode(b[4*i:], binary.LittleEndian, x); err != nil {
			panic(err)
		}
	}
	return b
}

// part is a box of values.
func part(t arch.Tensor, kind string, iteration, vocab int, box layout.Box) []byte {
	b := make([]byte, 4*box.Volume())
	layout.Copy(b, box, box, values(t, kind, iteration, vocab), layout.Whole(t.Shape), box, 4)
	return b
}

// pieces is what a rank of a layout saves. Every second piece is fetched.
func pieces(l layout.Layout, rank, iteration int) []Piece {
	var out []Piece
	for _, kind := range []string{Weight, ExpAvg, ExpAvgSq} {
		for _, s := range l.Owned(rank) {
			t := l.Tensors[s.Tensor]
			p := Piece{Tensor: t.Name, Kind: kind, DType: tensor.F32, Shape: t.Shape, Box: s.Box}
			data := part(t, kind, iteration, l.Model.VocabSize, s.Box)
			if p.Data = data; s.Tensor%2 == 0 {
				p.Data = nil
				p.Fetch = func(b layout.Box, dst []byte) error {
					layout.Copy(dst, b, b, data, p.Box, b, 4)
					return nil
				}
			}
			out = append(out, p)
		}
	}
	return out
}

// save writes a checkpoint of layout l into dir on all ranks.
func save(t testing.TB, dir string, l layout.Layout, iteration int, opt Options) Stats {
	t.Helper()
	var stats Stats
	for r, err := range together(l.Grid.World(), func(g Group) error {
		s, err := Write(dir, g, meta(iteration), pieces(l, g.Rank(), iteration), opt)
		if g.Rank() == 0 {
			stats = s
		}
		return err
	}) {
		if err != nil {
			t.Fatalf("rank %d: %v", r, err)
		}
	}
	return stats
}

// compare reads everything that the ranks of l hold and compares it with values.
func compare(folder string, l layout.Layout, iteration int) error {
	r, err := Open(folder)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	for rank := range l.Grid.World() {
		for _, kind := range []string{Weight, ExpAvg, ExpAvgSq} {
			for _, s := range l.Local(rank) {
				t := l.Tensors[s.Tensor]
				got := make([]byte, 4*s.Box.Volume())
				for i := range got {
					got[i] = 0xaa
				}
				if err := r.Read(kind, t.Name, s.Box, got); err != nil {
					return err
				}
				if string(got) != string(part(t, kind, iteration, l.Model.VocabSize, s.Box)) {
					return &Damage{File: folder, Entry: t.Name + s.Box.String(), What: "was read wrong"}
				}
			}
		}
	}
	return nil
}
