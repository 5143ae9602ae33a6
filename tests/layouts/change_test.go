package layouts

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"cambium/src/checkpoint"
	"cambium/src/telemetry"
)

// longer bounds 20 steps: rounding grows with them, as weights drift apart.
var longer = bounds{loss: 1e-5, norm: 2e-4}

// A run of 20 steps, stopped after 10 and resumed on another grid, goes on as if it had been there from the beginning: with
// weights, moments, step count and place in the data. On its own grid it goes on bit for bit.
func TestARunResumesOnAnyGrid(t *testing.T) {
	for _, c := range []struct {
		model, dtype string
		from         cut
		to           []cut
		bounds       bounds
	}{
		{"gpt2", "fp32", cut{tp: 2, pp: 2, dp: 2, sequence: true}, []cut{one, {tp: 4, pp: 1, dp: 2}, {tp: 1, pp: 4, dp: 2, schedule: "zero-bubble"}}, longer},
		{"llama", "fp32", cut{tp: 1, pp: 2, dp: 1, schedule: "interleaved", virtual: 2}, []cut{one, {tp: 8, pp: 1, dp: 1, sequence: true}, {tp: 2, pp: 3, dp: 1, first: 4, last: 1}}, longer},
		{"flm", "bf16", cut{tp: 1, pp: 1, dp: 4}, []cut{one, {tp: 2, pp: 4, dp: 1, schedule: "gpipe"}, {tp: 2, pp: 2, dp: 2, recompute: "full"}}, bounds{5e-3, 5e-2}},
	} {
		dir := t.TempDir()
		twenty := "train.train_iters=20"
		straight := run(t, configure(t, filepath.Join(dir, "straight"), c.model, c.dtype, c.from, twenty))
		for _, to := range append(c.to, c.from) {
			t.Run(fmt.Sprint(c.model, " ", c.dtype, " ", c.from, " to ", to), func(t *testing.T) {
				at := t.TempDir()
				run(t, configure(t, at, c.model, c.dtype, c.from, twenty, "exit.exit_interval=10"))
				h := run(t, configure(t, at, c.model, c.dtype, to, twenty))
				b := c.bounds
				if to == c.from {
					b = bounds{}
				}
				apart := compare(t, h, straight, b)
				t.Logf("losses differ by %.1e at most, gradient norms by %.1e", apart.loss, apart.norm)
			})
		}
	}
}

// Two runs on one grid are the same to the last bit, in every number they tell and in every byte of their checkpoints, with
// any number of processors.
func TestOneLayoutIsDeterministic(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, c := range []cut{{tp: 2, pp: 2, dp: 2, sequence: true}, {tp: 1, pp: 4, dp: 2, schedule: "zero-bubble"}, {tp: 4, pp: 2, dp: 1, schedule: "interleaved", virtual: 2}} {
		for _, dtype := range []string{"fp32", "bf16"} {
			t.Run(fmt.Sprint(c, " ", dtype), func(t *testing.T) {
				var want *telemetry.History
				var sums []string
				for _, processors := range []int{1, 2, 5} {
					runtime.GOMAXPROCS(processors)
					dir := t.TempDir()
					h := run(t, configure(t, dir, "flm", dtype, c, "checkpoint.checkpoint_at_end=true"))
					got := checksums(t, dir)
					if want == nil {
						want, sums = h, got
						continue
					}
					compare(t, h, want, bounds{})
					if fmt.Sprint(got) != fmt.Sprint(sums) {
						t.Errorf("%d processors: another checkpoint", processors)
					}
				}
			})
		}
	}
}

// checksums are those of everything in a run's newest checkpoint.
func checksums(t *testing.T, dir string) (out []string) {
	t.Helper()
	found, err := checkpoint.Latest(filepath.Join(dir, "checkpoints"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := checkpoint.Open(found.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, e := range r.Manifest().Entries {
		out = append(out, e.String()+" "+e.Sum)
	}
	if len(out) < 100 {
		t.Fatalf("%d entries in the checkpoint", len(out))
	}
	return out
}
