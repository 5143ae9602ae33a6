package pipeline

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden transcripts")

var makers = []struct {
	name string
	make func(stages, microBatches int) Schedule
}{{"gpipe", GPipe}, {"1f1b", OneFOneB}}

// A transcript shows lists and timeline of a schedule, for people to read.
func TestTranscripts(t *testing.T) {
	for _, m := range makers {
		for _, size := range [][2]int{{1, 3}, {2, 4}, {4, 2}, {4, 8}} {
			name := fmt.Sprintf("%s-%d-stages-%d-micro-batches", m.name, size[0], size[1])
			t.Run(name, func(t *testing.T) { golden(t, name, transcript(t, m.make(size[0], size[1]))) })
		}
	}
}

func transcript(t *testing.T, s Schedule) string {
	line, err := Simulate(s, Costs{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(line.String())
	fmt.Fprintf(&b, "bubble share %.4f\n", line.BubbleShare())
	for stage, list := range s {
		fmt.Fprintf(&b, "\nstage %d, at most %d micro-batches alive:\n%v\n", stage, PeakActivations(list), list)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

func sizes(rt *rapid.T) (stages, microBatches int) {
	return rapid.IntRange(1, 12).Draw(rt, "stages"), rapid.IntRange(1, 24).Draw(rt, "micro-batches")
}

// Simulate is the judge: every pass once, nothing before what it needs, no stage waits for ever.
func TestEveryScheduleIsValidAndHasTheKnownBubble(t *testing.T) {
	for _, m := range makers {
		t.Run(m.name, rapid.MakeCheck(func(rt *rapid.T) {
			p, n := sizes(rt)
			costs := Costs{rapid.IntRange(1, 5).Draw(rt, "forward"), rapid.IntRange(1, 9).Draw(rt, "backward")}
			line, err := Simulate(m.make(p, n), costs)
			if err != nil {
				rt.Fatal(err)
			}
			want := float64(p-1) / float64(n+p-1)
			if got := line.BubbleShare(); math.Abs(got-want) > 1e-12 {
				rt.Fatalf("bubble share %v, want %v", got, want)
			}
			if want := (n + p - 1) * (costs.Forward + costs.Backward); line.Length != want {
				rt.Fatalf("takes %d, want %d", line.Length, want)
			}
		}))
	}
}

func TestPeakActivations(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, n := sizes(rt)
		for stage, list := range OneFOneB(p, n) {
			if got, want := PeakActivations(list), min(p-stage, n); got != want {
				rt.Fatalf("1F1B stage %d of %d: %d alive, want %d", stage, p, got, want)
			}
		}
		for stage, list := range GPipe(p, n) {
			if got := PeakActivations(list); got != n {
				rt.Fatalf("GPipe stage %d of %d: %d alive, want %d", stage, p, got, n)
			}
		}
	})
}

// A judge that accepts everything is worth nothing: any single change to a valid schedule must be found out, or leave a
// valid schedule behind (two neighbouring sends in the other order).
func TestSimulateFindsFaults(t *testing.T) {
	drop := func(op Op) func([]Instruction) []Instruction {
		return func(list []Instruction) []Instruction {
			i := slices.IndexFunc(list, func(x Instruction) bool { return x.Op == op })
			return slices.Delete(list, i, i+1)
		}
	}
	swap := func(op Op, with int) func([]Instruction) []Instruction {
		return func(list []Instruction) []Instruction {
			i := slices.IndexFunc(list, func(x Instruction) bool { return x.Op == op })
			list[i], list[i+with] = list[i+with], list[i]
			return list
		}
	}
	for _, c := range []struct {
		name   string
		stage  int
		change func([]Instruction) []Instruction
		want   string
	}{
		{"no receive", 1, drop(RecvForward), "before its activations were received"},
		{"no gradients", 1, drop(RecvBackward), "before its gradients were received"},
		{"no send", 0, drop(SendForward), "wait for each other"},
		{"no forward", 0, drop(Forward), "SF0 comes before the forward pass"},
		{"no backward", 1, drop(Backward), "SB0 comes before the backward pass"},
		{"no backward at the end", 2, drop(Backward), "SB0 comes before the backward pass"},
		{"no backward at the start", 0, drop(Backward), "never computes micro-batch 0"},
		{"send too early", 0, swap(SendForward, -1), "SF0 comes before the forward pass"},
		{"twice", 2, func(l []Instruction) []Instruction { return slices.Insert(l, 1, l[1]) }, "F0 comes twice"},
		{"beyond the end", 2, func(l []Instruction) []Instruction { return append(l, Instruction{Op: SendForward}) }, "nobody behind"},
		{"before the start", 0, func(l []Instruction) []Instruction { return append(l, Instruction{Op: SendBackward}) }, "nobody before"},
		{"backward first", 2, func([]Instruction) []Instruction { return []Instruction{{Op: Backward}} }, "before the forward pass"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := OneFOneB(3, 4)
			s[c.stage] = c.change(s[c.stage])
			_, err := Simulate(s, Costs{1, 1})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q in it", err, c.want)
			}
		})
	}
}

// The textbook deadlock: both neighbours send first, each in a group of its own.
func TestSimulateFindsSendsThatWaitForEachOther(t *testing.T) {
	s := Schedule{
		{{Op: Forward}, {Op: SendForward}, {Op: Forward, MicroBatch: 1}, {Op: SendForward, MicroBatch: 1}, {Op: Forward, MicroBatch: 2}, {Op: RecvBackward}, {Op: Backward}},
		{{Op: RecvForward}, {Op: Forward}, {Op: Backward}, {Op: SendBackward}, {Op: Forward, MicroBatch: 1}},
	}
	_, err := Simulate(s, Costs{1, 1})
	if err == nil || !strings.Contains(err.Error(), "wait for each other: stage 0 in SF1, stage 1 in SB0") {
		t.Error(err)
	}
}

// Two chunks a stage, written by hand: activations go 0.0, 1.0, 0.1, 1.1.
func TestSimulateKnowsChunks(t *testing.T) {
	i := func(o Op, chunk int) Instruction { return Instruction{Op: o, Chunk: chunk} }
	s := Schedule{
		{i(Forward, 0), i(SendForward, 0), i(RecvForward, 1), i(Forward, 1), i(SendForward, 1), i(RecvBackward, 1), i(Backward, 1), i(SendBackward, 1), i(RecvBackward, 0), i(Backward, 0)},
		{i(RecvForward, 0), i(Forward, 0), i(SendForward, 0), i(RecvForward, 1), i(Forward, 1), i(Backward, 1), i(SendBackward, 1), i(RecvBackward, 0), i(Backward, 0), i(SendBackward, 0)},
	}
	line, err := Simulate(s, Costs{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	want := "stage 0 | F0.0 .... F0.1 .... .... .... B0.1 ---- .... .... B0.0 ----\n" +
		"stage 1 | .... F0.0 .... F0.1 B0.1 ---- .... .... B0.0 ---- .... ....\n"
	if d := cmp.Diff(want, line.String()); d != "" {
		t.Error(d)
	}
}
