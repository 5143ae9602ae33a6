package cpu

import (
	"fmt"

	"cambium/src/backend"
)

func (s *stream) embed(name string, run func(*worker, *task), a backend.Embedding) {
	mustBePresent(name, a.X, a.Table)
	mustBeI32(name, a.Tokens, a.X.Rows())
	if a.Table.Cols() != a.X.Cols() {
		panic(fmt.Sprintf("cpu: %s: table %v for %v", name, a.Table, a.X))
	}
	if a.Positions.Present() {
		if a.Positions.Cols() != a.X.Cols() || a.SeqLen < 1 || a.Positions.Rows() < a.SeqLen {
			panic(fmt.Sprintf("cpu: %s: positions %v for %v and sequences of %d tokens", name, a.Positions, a.X, a.SeqLen))
		}
	}
	t := s.begin(name, run)
	t.embedding = a
	s.commit()
}

// EmbeddingForward is X[n] = Scale (Table[Tokens[n]] + Positions[n mod SeqLen]).
func (s *stream) EmbeddingForward(a backend.Embedding) {
	const name = "embedding forward"
	mustBeStored(name, a.X, a.Table)
	mustBeStoredToo(name, a.X, a.Positions)
	s.embed(name, runEmbeddingForward, a)
}

func runEmbeddingForward(w *worker, t *task) {
	a, k := &t.embedding, w.kernels()
	tokens, l := a.Tokens.I32(), w.lanes(a.X, a.Table, a.Positions)
	all, table, positions := l.matrix(a.X), l.matrix(a.Table), l.matrix(a.Positions)
	lo, hi := w.part(a.X.Rows(), 1)
	for n := lo; n < hi; n++ {
		x := all.slot(n)
		if id := int(tokens[n]) - a.VocabStart; id >= 0 && id < a.Table.Rows() {
			copy(x, table.row(id))
		} else {
			clear(x)
		}
		if a.Positions.Present() {
			k.axpy(x, positions.row(n%a.SeqLen), 1)
		}
		if a.Scale != 1 {
			k.scale(x, a.Scale)
		}
		all.keep(n)
	}
}

// EmbeddingBackward adds Scale dX to the rows of both tables.
func (s *stream) EmbeddingBackward(a backend.Embedding) {
	const name = "embedding backward"
	mustBeStored(name, a.X)
	mustBeF32(name, a.Table)
	if a.Positions.Present() {
		mustBeF32(name, a.Positions)
	}
	s.embed(name, runEmbeddingBackward, a)
}

// runEmbeddingBackward gives every worker a range of columns: a token that occurs twice is added in the order of the
// tokens, and no two workers meet in a row.
func runEmbeddingBackward(w *worker, t *task) {
	a, k := &t.embedding, w.kernels()
	lo, hi := w.part(a.X.Cols(), 16)
	if lo == hi {
		return
	}
	mine := a.X.Columns(lo, hi)
	tokens, l := a.Tokens.I32(), w.lanes(mine)
	all, table, positions := l.matrix(mine), l.matrix(a.Table), l.matrix(a.Positions)
	for n := range a.X.Rows() {
		x := all.row(n)
		if id := int(tokens[n]) - a.VocabStart; id >= 0 && id < a.Table.Rows() {
			k.axpy(table.row(id)[lo:hi], x, a.Scale)
		}
		if a.Positions.Present() {
			k.axpy(positions.row(n % a.SeqLen)[lo:hi], x, a.Scale)
		}
	}
}
