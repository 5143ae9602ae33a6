package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cambium/src/comm/local"
	"cambium/src/config"
	"cambium/src/telemetry"
)

// small is a run of 24 steps that grows twice, on tokens with something to learn: see corpusOf.
const small = `
seed: 7
run_dir: %s
local_ranks: %d
threads_per_rank: 1
tokenizer: {type: none}
data: {mock: true}
model: {vocab_size: 96, make_vocab_size_divisible_by: 32, kv_channels: 8, position_embedding_type: rope, mup_base_width: 16}
optimizer: {adam_beta2: 0.95}
train: {seq_length: 16, micro_batch_size: 1, global_batch_size: 4, lr: 1.0e-2, min_lr: 1.0e-3, lr_warmup_iters: 3}
growth: {operator: %s, ramp_iters: 5, rewarm_iters: 2, rewarm_from: 0.1}
checkpoint: {keep_checkpoints: 0}
stages:
  - {name: a, model: {num_layers: 1, hidden_size: 16, num_attention_heads: 2}, train: {train_iters: 8}}
  - {name: b, model: {num_layers: 2, hidden_size: 24, num_attention_heads: 3}, train: {train_iters: 8}}
  - {name: c, model: {num_layers: 3, hidden_size: 40, num_attention_heads: 5}, train: {train_iters: 8}}
`

func smallRun(t *testing.T, dir string, ranks int, operator string, sets ...string) *config.Run {
	t.Helper()
	cfg, err := config.Parse("small.yaml", fmt.Appendf(nil, small, dir, ranks, operator), sets, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// history is what a run's folder tells of its iterations and growths.
func history(t *testing.T, dir string) *telemetry.History {
	t.Helper()
	h, err := telemetry.ReadHistory(filepath.Join(dir, MetricsName))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func run(t *testing.T, cfg *config.Run) *Summary {
	t.Helper()
	return runWith(t, cfg, Options{})
}

func runWith(t *testing.T, cfg *config.Run, o Options) *Summary {
	t.Helper()
	s, err := Run(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func losses(t *testing.T, dir string) (out []float64) {
	t.Helper()
	for _, it := range history(t, dir).Iterations {
		out = append(out, it.LMLoss)
	}
	return out
}

func TestARunGrowsTwiceAndKeepsItsLoss(t *testing.T) {
	for _, operator := range []string{"zero", "mask"} {
		t.Run(operator, func(t *testing.T) {
			dir := t.TempDir()
			s := runWith(t, smallRun(t, dir, 2, operator), Options{Report: true})
			if !s.Finished || s.Iterations != 24 || len(s.Stages) != 3 {
				t.Fatalf("finished %v after %d iterations in %d stages", s.Finished, s.Iterations, len(s.Stages))
			}
			h := history(t, dir)
			if len(h.Growths) != 2 {
				t.Fatalf("%d growth events, want 2", len(h.Growths))
			}
			for i, g := range h.Growths {
				if g.FromStage != i || g.ToStage != i+1 || g.FromParameters >= g.ToParameters {
					t.Errorf("growth %d leads from stage %d with %d parameters to stage %d with %d", i, g.FromStage, g.FromParameters, g.ToStage, g.ToParameters)
				}
				if d := math.Abs(g.LossAfter-g.LossBefore) / g.LossBefore; !(d < 1e-5) || g.LossBefore <= 0 {
					t.Errorf("growth %d: loss %.8f before, %.8f after", i, g.LossBefore, g.LossAfter)
				}
				if g.BytesMoved <= 0 {
					t.Errorf("growth %d on two ranks moved %d bytes of optimizer state", i, g.BytesMoved)
				}
			}
			for _, name := range []string{ResolvedName, MetricsName, "report.html", "checkpoints/latest_checkpointed_iteration.txt"} {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The gradient of a batch is a sum, which ranks and micro-batches only cut differently: losses may differ by rounding
// (fp32 sums in another order, amplified over 24 steps), by far less than by another sample order.
func TestRanksAndMicroBatchesDoNotChangeWhatIsLearned(t *testing.T) {
	dir := t.TempDir()
	run(t, smallRun(t, dir, 1, "mask"))
	want := losses(t, dir)
	for _, c := range []struct {
		ranks, micro int
	}{{1, 4}, {2, 1}, {2, 2}, {4, 1}} {
		dir := t.TempDir()
		run(t, smallRun(t, dir, c.ranks, "mask", fmt.Sprintf("train.micro_batch_size=%d", c.micro)))
		for i, l := range losses(t, dir) {
			if !(math.Abs(l-want[i]) < 1e-4*want[i]) {
				t.Fatalf("%d ranks, micro-batch %d: iteration %d has loss %.7f, one rank %.7f", c.ranks, c.micro, i+1, l, want[i])
			}
		}
	}
}

// 24 steps straight are k steps, a new process life, and the rest, bit for bit: inside a stage, inside a ramp, at a
// boundary before growth, right after it.
func TestAResumedRunIsBitIdentical(t *testing.T) {
	for _, operator := range []string{"zero", "mask"} {
		straight := t.TempDir()
		run(t, smallRun(t, straight, 2, operator))
		want := history(t, straight)
		for _, k := range []int{5, 8, 9, 10, 16, 23} {
			dir := t.TempDir()
			s := run(t, smallRun(t, dir, 2, operator, fmt.Sprintf("exit.exit_interval=%d", k)))
			if s.Finished || s.Iterations != int64(k) {
				t.Fatalf("%s: exit_interval %d ended at iteration %d", operator, k, s.Iterations)
			}
			run(t, smallRun(t, dir, 2, operator))
			got := history(t, dir)
			if len(got.Iterations) != len(want.Iterations) || len(got.Growths) != len(want.Growths) {
				t.Fatalf("%s, resumed at %d: %d iterations and %d growths, want %d and %d", operator, k, len(got.Iterations), len(got.Growths), len(want.Iterations), len(want.Growths))
			}
			for i, w := range want.Iterations {
				g := got.Iterations[i]
				if g.LMLoss != w.LMLoss || g.GradNorm != w.GradNorm || g.LearningRate != w.LearningRate || g.ConsumedTokens != w.ConsumedTokens {
					t.Fatalf("%s, resumed at %d: iteration %d has loss %v, gradient norm %v; straight %v, %v", operator, k, i+1, g.LMLoss, g.GradNorm, w.LMLoss, w.GradNorm)
				}
			}
			for i, w := range want.Growths {
				if g := got.Growths[i]; g.LossBefore != w.LossBefore || g.LossAfter != w.LossAfter {
					t.Fatalf("%s, resumed at %d: growth %d %v -> %v; straight %v -> %v", operator, k, i, g.LossBefore, g.LossAfter, w.LossBefore, w.LossAfter)
				}
			}
		}
	}
}

func TestACheckpointResumesAtAnotherNumberOfRanks(t *testing.T) {
	straight := t.TempDir()
	run(t, smallRun(t, straight, 2, "mask"))
	want := losses(t, straight)
	for _, ranks := range []int{1, 4} {
		dir := t.TempDir()
		run(t, smallRun(t, dir, 2, "mask", "exit.exit_interval=10"))
		run(t, smallRun(t, dir, ranks, "mask"))
		for i, l := range losses(t, dir) {
			if !(math.Abs(l-want[i]) < 1e-4*want[i]) {
				t.Fatalf("2 ranks, then %d: iteration %d has loss %.7f, want %.7f", ranks, i+1, l, want[i])
			}
		}
	}
}

func TestAStoppedRunSavesAndGoesOn(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, smallRun(t, dir, 2, "zero"), Options{}); !errors.Is(err, ErrStopped) {
		t.Fatalf("a run that was asked to stop returned %v", err)
	}
	if n := len(losses(t, dir)); n != 1 {
		t.Fatalf("it took %d steps before it stopped, want the one at hand", n)
	}
	if s := run(t, smallRun(t, dir, 2, "zero")); !s.Finished {
		t.Fatal("it did not go on")
	}
	if n := len(losses(t, dir)); n != 24 {
		t.Fatalf("%d steps in all, want 24", n)
	}
	again := run(t, smallRun(t, dir, 2, "zero"))
	if !again.Finished || len(losses(t, dir)) != 24 {
		t.Fatalf("a finished run, run again: finished %v, %d steps", again.Finished, len(losses(t, dir)))
	}
}

func TestAnotherConfigurationIsNotResumed(t *testing.T) {
	dir := t.TempDir()
	run(t, smallRun(t, dir, 1, "zero", "exit.exit_interval=5"))
	_, err := Run(t.Context(), smallRun(t, dir, 1, "zero", "train.lr=0.02"), Options{})
	if err == nil || !strings.Contains(err.Error(), "lr: 0.01 there, 0.02 here") {
		t.Fatalf("another learning rate: %v", err)
	}
	if _, err := Run(t.Context(), smallRun(t, dir, 1, "zero"), Options{Resume: ResumeNever}); err == nil || !strings.Contains(err.Error(), "--resume never") {
		t.Fatalf("resume never in a folder with a checkpoint: %v", err)
	}
	if _, err := Run(t.Context(), smallRun(t, t.TempDir(), 1, "zero"), Options{Resume: ResumeMust}); err == nil || !strings.Contains(err.Error(), "finds no checkpoint") {
		t.Fatalf("resume must in an empty folder: %v", err)
	}
}

func TestARunThatDivergesEndsWithOneSentence(t *testing.T) {
	dir := t.TempDir()
	_, err := Run(t.Context(), smallRun(t, dir, 2, "zero", "stages.0.train.train_iters=30", "train.lr=1e30", "optimizer.clip_grad=0"), Options{})
	if err == nil || !strings.Contains(err.Error(), "not finite in 10 steps in a row") {
		t.Fatalf("diverged: %v", err)
	}
}

func TestAWorldOfAnotherSizeIsRefused(t *testing.T) {
	cfg := smallRun(t, t.TempDir(), 2, "zero")
	_, err := Run(t.Context(), cfg, Options{World: local.NewWorld(4)})
	if err == nil || !strings.Contains(err.Error(), "4 ranks were started, and world_size is 2") {
		t.Fatalf("four ranks for a run of two: %v", err)
	}
	cfg.WorldSize = 6
	if _, err := Run(t.Context(), cfg, Options{}); err == nil || !strings.Contains(err.Error(), "world_size is 6, and this process has 2 ranks") {
		t.Fatalf("two ranks for a run of six: %v", err)
	}
}
