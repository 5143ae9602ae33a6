package conformance

import (
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"cambium/src/backend"
)

// cases is the suite: one entry an operation, or a group of them.
var cases = []struct {
	name string
	run  func(l *lab)
}{
	{"Stream", caseStream},
	{"Fill", caseFill},
	{"Copy", caseCopy},
	{"CopyOfEveryHalf", caseCopyEveryHalf},
	{"Axpy", caseAxpy},
	{"Scale", caseScale},
	{"ScaleColumns", caseScaleColumns},
	{"ColumnSum", caseColumnSum},
	{"SumSquares", caseSumSquares},
	{"Gemm", caseGemm},
	{"GemmActivations", caseGemmActivations},
	{"Embedding", caseEmbedding},
	{"NormForward", caseNormForward},
	{"NormBackward", caseNormBackward},
	{"Rotary", caseRotary},
	{"AttentionForward", caseAttentionForward},
	{"AttentionLargeScores", caseAttentionLargeScores},
	{"AttentionBackward", caseAttentionBackward},
	{"SwiGLU", caseSwiGLU},
	{"CrossEntropy", caseCrossEntropy},
	{"VocabularyShards", caseVocabularyShards},
	{"AdamW", caseAdamW},
	{"GELU", caseGELU},
}

// Run tests a backend. Open makes a new one; Run closes it. With -short it takes fewer sizes.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	Fingerprints(t, open)
}

// Fingerprints is Run that also returns a hash of all results of every case: two backends that must agree bit by bit
// (the same processor with another number of workers) have the same.
func Fingerprints(t *testing.T, open func(t *testing.T) backend.Backend) map[string]uint64 {
	prints := map[string]uint64{}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := open(t)
			l := &lab{T: t, b: b, s: b.NewStream("conformance"), rng: rand.New(rand.NewPCG(7, uint64(i))), sum: fnv.New64a()}
			c.run(l)
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			prints[c.name] = l.sum.Sum64()
		})
	}
	return prints
}

// short tells whether fewer sizes will do.
func (l *lab) short() bool { return testing.Short() }
