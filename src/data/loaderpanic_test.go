package data

import (
	"strings"
	"testing"
)

// broken is a source that panics at a sample.
type broken struct {
	Source
	at uint64
}

func (b broken) Sample(index uint64, dst []int32) error {
	if index == b.at {
		panic("what nobody thought of")
	}
	return b.Source.Sample(index, dst)
}

func TestAPanicWhileReadingIsAnErrorOfTheLoader(t *testing.T) {
	const seq = 4
	l := NewLoader(broken{NewMock(10, seq, 1), 2}, LoaderOptions{Order: Share(0, 1, 0, 1), BatchSize: 1})
	defer l.Close()
	dst := make([]int32, seq+1)
	for i := range 2 {
		if err := l.Next(dst); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
	if err := l.Next(dst); err == nil || !strings.Contains(err.Error(), "what nobody thought of") {
		t.Fatalf("the batch that panics gives %v", err)
	}
}
