package pipeline

import (
	"fmt"
	"strings"
)

// Span is a computation in a Timeline: it runs in [Start, End).
type Span struct {
	Instruction
	Start, End int
}

// Timeline is when each stage computes what.
type Timeline struct {
	Spans  [][]Span // by stage
	Length int      // when the last span ends
	chunks int
}

// KnownBubble is the bubble share of a schedule on p equal stages with v chunks each and m micro-batches, by its paper's formula:
//
//	gpipe, 1f1b   (p-1)/(m+p-1)       arXiv 2104.04473, section 2.2.1, which divides by the ideal time: (p-1)/m
//	interleaved   (p-1)/(v m+p-1)     section 2.2.2; m a multiple of p
//	zero-bubble   (p-1)/(3 m+p-1)     arXiv 2401.10241, table 1: (p-1)(f+b-w) with f = b = w; m at least p
func KnownBubble(name string, stages, chunks, microBatches int) float64 {
	p, m := float64(stages), float64(microBatches)
	switch name {
	case NameInterleaved:
		m *= float64(chunks)
	case NameZeroBubble:
		m *= 3
	}
	return (p - 1) / (m + p - 1)
}

// BubbleShare is the part of stages x time in which stages compute nothing.
func (t Timeline) BubbleShare() float64 {
	if t.Length == 0 {
		return 0
	}
	busy := 0
	for _, spans := range t.Spans {
		for _, s := range spans {
			busy += s.End - s.Start
		}
	}
	return 1 - float64(busy)/float64(t.Length*len(t.Spans))
}

// String draws one row a stage and one column a unit of time: "F3" where the forward pass of micro-batch 3 begins, "B3"
// where its backward pass does, "--" while it goes on, ".." where the stage idles.
func (t Timeline) String() string {
	width := 0
	for _, spans := range t.Spans {
		for _, s := range spans {
			width = max(width, len(t.label(s)))
		}
	}
	var b strings.Builder
	for stage, spans := range t.Spans {
		fmt.Fprintf(&b, "stage %-2d|", stage)
		now := 0
		for _, s := range spans {
			cells(&b, now, s.Start, width, ".")
			if s.End > s.Start {
				fmt.Fprintf(&b, " %-*s", width, t.label(s))
				cells(&b, s.Start+1, s.End, width, "-")
			}
			now = s.End
		}
		cells(&b, now, t.Length, width, ".")
		b.WriteString("\n")
	}
	return b.String()
}

func (t Timeline) label(s Span) string {
	if t.chunks > 1 {
		return fmt.Sprintf("%v%d.%d", s.Op, s.MicroBatch, s.Chunk)
	}
	return s.Instruction.String()
}

func cells(b *strings.Builder, from, to, width int, fill string) {
	for ; from < to; from++ {
		b.WriteString(" " + strings.Repeat(fill, width))
	}
}
