package conformance

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// cases is the suite: one entry an operation, or a group of them. Those of all types of weights and activations run once for
// each, and again with aligned tensors.
var cases = []struct {
	name string
	run  func(l *lab)
	all  bool
}{
	{"Stream", caseStream, false},
	{"Fill", caseFill, false},
	{"FillNormal", caseFillNormal, true},
	{"Copy", caseCopy, false},
	{"CopyOfEveryHalf", caseCopyEveryHalf, false},
	{"Overflow", caseOverflow, false},
	{"Axpy", caseAxpy, true},
	{"Scale", caseScale, true},
	{"ScaleColumns", caseScaleColumns, true},
	{"ColumnSum", caseColumnSum, true},
	{"SumSquares", caseSumSquares, true},
	{"Gemm", caseGemm, true},
	{"GemmActivations", caseGemmActivations, true},
	{"Embedding", caseEmbedding, true},
	{"NormForward", caseNormForward, true},
	{"NormBackward", caseNormBackward, true},
	{"Rotary", caseRotary, true},
	{"AttentionForward", caseAttentionForward, true},
	{"AttentionLargeScores", caseAttentionLargeScores, true},
	{"AttentionBackward", caseAttentionBackward, true},
	{"SwiGLU", caseSwiGLU, true},
	{"CrossEntropy", caseCrossEntropy, true},
	{"VocabularyShards", caseVocabularyShards, true},
	{"AdamW", caseAdamW, false},
	{"AdamWLists", caseAdamWLists, false},
	{"GELU", caseGELU, true},
}

// Run tests a backend. Open makes a new one; Run closes it. With -short it takes fewer sizes.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	run(t, open, 2)
}

// RunOnly is Run for the cases of these names.
func RunOnly(t *testing.T, open func(t *testing.T) backend.Backend, names ...string) {
	run(t, open, 2, names...)
}

// Fingerprints is Run, with nothing aligned, that also returns a hash of all results of every case: two backends that must
// agree bit by bit (the same processor with another number of workers) have the same.
func Fingerprints(t *testing.T, open func(t *testing.T) backend.Backend) map[string]uint64 {
	return run(t, open, 1)
}

// run takes the first, or both, of: nothing is aligned, everything is; for the cases of these names, or for all.
func run(t *testing.T, open func(t *testing.T) backend.Backend, alignments int, names ...string) map[string]uint64 {
	prints := map[string]uint64{}
	for _, c := range cases {
		if len(names) > 0 && !slices.Contains(names, c.name) {
			continue
		}
		for i := range alignments * len(floats) {
			d, aligned, name := floats[i%len(floats)], i >= len(floats), c.name
			if !c.all && (d != tensor.F32 || aligned) {
				continue
			}
			if d != tensor.F32 {
				name += " in " + d.String()
			}
			if aligned {
				name += ", aligned"
			}
			t.Run(name, func(t *testing.T) {
				b := open(t)
				l := &lab{T: t, stored: d, aligned: aligned, b: b, s: b.NewStream("conformance"), rng: rand.New(rand.NewPCG(7, seed(name))), sum: fnv.New64a()}
				c.run(l)
				if err := b.Close(); err != nil {
					t.Error(err)
				}
				prints[name] = l.sum.Sum64()
			})
		}
	}
	return prints
}

// seed is a case's own, whatever other cases there are.
func seed(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// short tells whether fewer sizes will do.
func (l *lab) short() bool { return testing.Short() }
