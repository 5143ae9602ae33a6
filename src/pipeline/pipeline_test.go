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

// halves makes the passes that Costs splits equal to the whole.
var halves = Costs{Forward: 1, Backward: 2, BackwardInput: 1, BackwardWeight: 1}

// A transcript shows lists and timeline of a schedule, for people to read.
func TestTranscripts(t *testing.T) {
	for _, c := range []struct {
		name                  string
		stages, chunks, micro int
	}{
		{NameGPipe, 1, 1, 3}, {NameGPipe, 2, 1, 4}, {NameGPipe, 4, 1, 2}, {NameGPipe, 4, 1, 8},
		{Name1F1B, 1, 1, 3}, {Name1F1B, 2, 1, 4}, {Name1F1B, 4, 1, 2}, {Name1F1B, 4, 1, 8},
		{NameInterleaved, 2, 2, 4}, {NameInterleaved, 4, 2, 8}, {NameInterleaved, 2, 3, 2},
		{NameZeroBubble, 1, 1, 3}, {NameZeroBubble, 2, 1, 4}, {NameZeroBubble, 4, 1, 2}, {NameZeroBubble, 4, 1, 8},
	} {
		name := fmt.Sprintf("%s-%d-stages-%d-micro-batches", c.name, c.stages, c.micro)
		if c.chunks > 1 {
			name = fmt.Sprintf("%s-%d-stages-%d-chunks-%d-micro-batches", c.name, c.stages, c.chunks, c.micro)
		}
		t.Run(name, func(t *testing.T) {
			s, err := Make(c.name, c.stages, c.chunks, c.micro)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, transcript(t, s))
		})
	}
	t.Run("forward-only", func(t *testing.T) {
		golden(t, "forward-only-3-stages-2-chunks-4-micro-batches", transcript(t, ForwardOnly(3, 2, 4)))
	})
}

func transcript(t *testing.T, s Schedule) string {
	line, err := Simulate(s, halves)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(line.String())
	fmt.Fprintf(&b, "bubble share %.4f\n", line.BubbleShare())
	what := "micro-batches"
	if s.Chunks() > 1 {
		what = "passes"
	}
	for stage, list := range s {
		fmt.Fprintf(&b, "\nstage %d, at most %d %s alive:\n%v\n", stage, PeakActivations(list), what, list)
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
	return rapid.IntRange(1, 8).Draw(rt, "stages"), rapid.IntRange(1, 16).Draw(rt, "micro-batches")
}

func cost(rt *rapid.T, what string) int { return rapid.IntRange(1, 9).Draw(rt, what) }

// Simulate is the judge: every pass once, nothing before what it needs, every message meets its own, no stage waits for ever.
func TestEveryScheduleIsValidAndHasTheKnownBubble(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, rapid.MakeCheck(func(rt *rapid.T) {
			p, m := sizes(rt)
			v, split := 1, cost(rt, "half")
			f, b := cost(rt, "forward"), cost(rt, "backward")
			switch name {
			case NameInterleaved:
				v, m = rapid.IntRange(1, 4).Draw(rt, "chunks"), p*rapid.IntRange(1, 4).Draw(rt, "rounds")
			case NameZeroBubble:
				m, f, b = max(m, p), split, 2*split
			}
			line := judged(rt, name, p, v, m, Costs{f, b, split, split})
			if got, want := line.BubbleShare(), KnownBubble(name, p, v, m); math.Abs(got-want) > 1e-12 {
				rt.Fatalf("bubble share %v, want %v", got, want)
			}
		}))
	}
}

func judged(rt *rapid.T, name string, p, v, m int, c Costs) Timeline {
	s, err := Make(name, p, v, m)
	if err != nil {
		rt.Fatal(err)
	}
	line, err := Simulate(s, c)
	if err != nil {
		rt.Fatalf("%s of %d stages, %d chunks, %d micro-batches: %v", name, p, v, m, err)
	}
	if s.MicroBatches() != m || s.Chunks() != v || len(s) != p {
		rt.Fatalf("%s has %d micro-batches, %d chunks", name, s.MicroBatches(), s.Chunks())
	}
	return line
}

// The bubble of ZB-H1 where the halves differ (arXiv 2401.10241, table 1), in time units.
func TestZeroBubbleWaitsForTheInputHalfAlone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := rapid.IntRange(1, 8).Draw(rt, "stages")
		m := p + rapid.IntRange(0, 12).Draw(rt, "more")
		f, b := cost(rt, "forward"), cost(rt, "input half")
		w := rapid.IntRange(1, min(f, b)).Draw(rt, "weight half")
		line := judged(rt, NameZeroBubble, p, 1, m, Costs{BackwardInput: b, BackwardWeight: w, Forward: f})
		if want := m*(f+b+w) + (p-1)*(f+b-w); line.Length != want {
			rt.Fatalf("%d stages, %d micro-batches, f %d b %d w %d: takes %d, want %d", p, m, f, b, w, line.Length, want)
		}
	})
}

// Any number of micro-batches, unequal stages: slower perhaps, but every pass is made and nobody waits for ever.
func TestSchedulesAreValidForAnySizes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, m := sizes(rt)
		v := rapid.IntRange(1, 4).Draw(rt, "chunks")
		costs := func(v int) []Costs {
			out := make([]Costs, p*v)
			for i := range out {
				out[i] = Costs{cost(rt, "f"), cost(rt, "b"), cost(rt, "bi"), cost(rt, "w")}
			}
			return out
		}
		for _, s := range []Schedule{GPipe(p, m), OneFOneB(p, m), ZBH1(p, m)} {
			if _, err := Simulate(s, costs(1)...); err != nil {
				rt.Fatal(err)
			}
		}
		for _, s := range []Schedule{Interleaved(p, v, m*p), ForwardOnly(p, v, m)} {
			if _, err := Simulate(s, costs(v)...); err != nil {
				rt.Fatalf("%d stages, %d chunks, %d micro-batches: %v", p, v, m, err)
			}
		}
		if _, err := Simulate(OneFOneB(p, m), make([]Costs, p+1)...); err == nil {
			rt.Fatal("costs of more stages than there are were accepted")
		}
	})
}

func TestSchedulesThatCannotBeSayWhy(t *testing.T) {
	if _, err := Make("2f2b", 2, 1, 4); err == nil || !strings.Contains(err.Error(), `unknown schedule "2f2b": want one of [gpipe 1f1b interleaved zero-bubble]`) {
		t.Error(err)
	}
	if _, err := Make(NameInterleaved, 3, 2, 4); err == nil || !strings.Contains(err.Error(), "4 micro-batches on 3 stages: an interleaved schedule needs a multiple") {
		t.Error(err)
	}
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
		{"no send", 0, drop(SendForward), "RF0 meets SF1 of stage 0"},
		{"never sends", 0, func(l []Instruction) []Instruction {
			return slices.DeleteFunc(l, func(x Instruction) bool { return x.Op == SendForward })
		}, "wait for each other"},
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
			_, err := Simulate(s, Costs{Forward: 1, Backward: 1})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q in it", err, c.want)
			}
		})
	}
}

// The same for the halves of a split backward pass.
func TestSimulateFindsFaultsOfHalves(t *testing.T) {
	for _, c := range []struct {
		name  string
		stage int
		list  []Instruction
		want  string
	}{
		{"weights first", 0, []Instruction{{Op: Forward}, {Op: BackwardWeight}, {Op: BackwardInput}}, "W0 comes before the gradients of the activations"},
		{"weights never", 0, []Instruction{{Op: Forward}, {Op: BackwardInput}}, "never computes the gradients of the weights"},
		{"both halves and the whole", 0, []Instruction{{Op: Forward}, {Op: BackwardInput}, {Op: Backward}}, "B0 comes twice"},
		{"a half twice", 0, []Instruction{{Op: Forward}, {Op: Backward}, {Op: BackwardWeight}}, "W0 comes twice"},
	} {
		if _, err := Simulate(Schedule{c.list}, halves); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q in it", c.name, err, c.want)
		}
	}
}

// Two stages that talk in both directions over both wires: order is all that tells messages apart.
func TestSimulateFindsMessagesThatMeetOthers(t *testing.T) {
	s := Interleaved(2, 2, 4)
	list := s[1]
	i := slices.IndexFunc(list, func(x Instruction) bool { return x.Op == RecvBackward })
	list[i-1], list[i] = list[i], list[i-1]
	if _, err := Simulate(s, halves); err == nil || !strings.Contains(err.Error(), "meets") {
		t.Error(err)
	}
}

// The textbook deadlock: both neighbours send first, each in a group of its own.
func TestSimulateFindsSendsThatWaitForEachOther(t *testing.T) {
	s := Schedule{
		{{Op: Forward}, {Op: SendForward}, {Op: Forward, MicroBatch: 1}, {Op: SendForward, MicroBatch: 1}, {Op: Forward, MicroBatch: 2}, {Op: RecvBackward}, {Op: Backward}},
		{{Op: RecvForward}, {Op: Forward}, {Op: Backward}, {Op: SendBackward}, {Op: Forward, MicroBatch: 1}},
	}
	_, err := Simulate(s, Costs{Forward: 1, Backward: 1})
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
	line, err := Simulate(s, Costs{Forward: 1, Backward: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := "stage 0 | F0.0 .... F0.1 .... .... .... B0.1 ---- .... .... B0.0 ----\n" +
		"stage 1 | .... F0.0 .... F0.1 B0.1 ---- .... .... B0.0 ---- .... ....\n"
	if d := cmp.Diff(want, line.String()); d != "" {
		t.Error(d)
	}
}
