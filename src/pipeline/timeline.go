package pipeline

import (
	"fmt"
	"strings"
)

// BubbleShare is the part of stages x time in which stages compute nothing. For GPipe and 1F1B with p stages and m
// micro-batches it is (p-1)/(m+p-1) (arXiv 2104.04473, section 2.2.1, gives it relative to the ideal time: (p-1)/m).
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
