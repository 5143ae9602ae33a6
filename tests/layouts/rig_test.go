package layouts

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cambium/src/config"
	"cambium/src/telemetry"
	"cambium/src/train"
)

// models are tiny ones of every family, with 8 layers and 8 heads, so that they can be cut into 8 parts in every way.
var models = map[string]string{
	"gpt2":  "{position_embedding_type: learned_absolute}",
	"llama": "{position_embedding_type: rope, normalization: RMSNorm, swiglu: true, add_bias_linear: false, untie_embeddings_and_output_weights: true, num_attention_heads: 16, num_query_groups: 8, kv_channels: 2}",
	"flm":   "{position_embedding_type: xpos, mup_base_width: 16, input_mult: 2, output_mult: 3}",
}

const file = `
seed: 7
run_dir: %s
local_ranks: %d
threads_per_rank: 1
tokenizer: {type: none}
data: {mock: true}
precision: {params_dtype: %s}
optimizer: {adam_beta2: 0.95}
checkpoint: {checkpoint_at_end: false}
train: {seq_length: 8, micro_batch_size: 1, global_batch_size: 8, lr: 1.0e-2, min_lr: 1.0e-3, lr_warmup_iters: 3, train_iters: 5, eval_iters: 1}
model: {num_layers: 8, hidden_size: 16, num_attention_heads: 8, kv_channels: 4, ffn_hidden_size: 32, vocab_size: 61, make_vocab_size_divisible_by: 3, init_method_std: 0.1}
`

// cut is a way to spread a run over ranks.
type cut struct {
	tp, pp, dp, virtual int
	first, last         int    // layers of the first and the last pipeline stage; 0: as many as the others
	schedule            string // "": by default
	sequence            bool
	recompute           string // "": none
}

func (c cut) world() int { return c.tp * c.pp * c.dp }

func (c cut) String() string {
	text := fmt.Sprintf("tp%d pp%d dp%d", c.tp, c.pp, c.dp)
	if c.schedule != "" {
		text += " " + c.schedule
	}
	if c.virtual > 0 {
		text += fmt.Sprint(" ", c.virtual)
	}
	if c.first > 0 || c.last > 0 {
		text += fmt.Sprintf(" first%d last%d", c.first, c.last)
	}
	if c.sequence {
		text += " sequence"
	}
	if c.recompute != "" {
		text += " " + c.recompute
	}
	return text
}

// sets are the settings of a cut.
func (c cut) sets() []string {
	out := []string{
		fmt.Sprint("parallel.tensor_model_parallel_size=", c.tp), fmt.Sprint("parallel.pipeline_model_parallel_size=", c.pp),
		fmt.Sprint("parallel.num_layers_per_virtual_pipeline_stage=", c.virtual), fmt.Sprint("parallel.sequence_parallel=", c.sequence),
		fmt.Sprint("parallel.decoder_first_pipeline_num_layers=", c.first), fmt.Sprint("parallel.decoder_last_pipeline_num_layers=", c.last),
	}
	if c.schedule != "" {
		out = append(out, "parallel.pipeline_schedule="+c.schedule)
	}
	if c.recompute != "" {
		out = append(out, "parallel.recompute_granularity="+c.recompute)
	}
	return out
}

// one is the single rank that everything is compared with.
var one = cut{tp: 1, pp: 1, dp: 1}

// configure is the run of a model on a cut.
func configure(t *testing.T, dir, model, dtype string, c cut, sets ...string) *config.Run {
	t.Helper()
	all := c.sets()
	for word := range strings.SplitSeq(strings.Trim(models[model], "{}"), ", ") {
		all = append(all, "model."+strings.Replace(word, ": ", "=", 1))
	}
	cfg, err := config.Parse("layouts.yaml", fmt.Appendf(nil, file, dir, c.world(), dtype), append(all, sets...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// run trains in a folder and returns all that it tells of itself.
func run(t *testing.T, cfg *config.Run) *telemetry.History {
	t.Helper()
	if _, err := train.Run(t.Context(), cfg, train.Options{}); err != nil {
		t.Fatal(err)
	}
	h, err := telemetry.ReadHistory(filepath.Join(cfg.RunDir, train.MetricsName))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// bounds are the largest relative differences of losses and gradient norms.
type bounds struct{ loss, norm float64 }

// apart is how far layouts are from one rank.
type apart struct {
	mu   sync.Mutex
	n    int
	most bounds
}

func (a *apart) add(b bounds) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	a.most = bounds{max(a.most.loss, b.loss), max(a.most.norm, b.norm)}
}

func (a *apart) String() string {
	return fmt.Sprintf("%d layouts, losses differ by %.1e at most, gradient norms by %.1e", a.n, a.most.loss, a.most.norm)
}

// compare wants the iterations of a run to be those of another within bounds, and returns how far they are apart.
func compare(t *testing.T, got, want *telemetry.History, b bounds) (far bounds) {
	t.Helper()
	if len(got.Iterations) != len(want.Iterations) {
		t.Errorf("%d iterations, want %d", len(got.Iterations), len(want.Iterations))
		return
	}
	for i, w := range want.Iterations {
		g := got.Iterations[i]
		loss, norm := relative(g.LMLoss, w.LMLoss), relative(g.GradNorm, w.GradNorm)
		if !(loss <= b.loss) || !(norm <= b.norm) || g.LearningRate != w.LearningRate || g.ConsumedTokens != w.ConsumedTokens {
			t.Errorf("iteration %d: loss %.8f, gradient norm %.7f; want %.8f, %.7f", i+1, g.LMLoss, g.GradNorm, w.LMLoss, w.GradNorm)
			return
		}
		far.loss, far.norm = max(far.loss, loss), max(far.norm, norm)
	}
	return far
}

func relative(a, b float64) float64 { return math.Abs(a-b) / math.Abs(b) }
