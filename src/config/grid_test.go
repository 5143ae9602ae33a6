package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cambium/src/pipeline"
)

// spread is a run of two stages on two grids of 24 ranks in which nothing is wrong.
const spread = `run_dir: runs/test
world_size: 24
tokenizer: {type: none}
data: {mock: true}
precision: {params_dtype: fp16, hysteresis: 3}
model: {kv_channels: 16, vocab_size: 512, num_query_groups: 4}
train:
  seq_length: 63
  micro_batch_size: 2
  global_batch_size: 48
  lr: 1.0e-3
  train_iters: 100
parallel: {sequence_parallel: true}
stages:
  - name: small
    model: {num_layers: 2, hidden_size: 64, num_attention_heads: 4}
    parallel: {tensor_model_parallel_size: 2}
  - name: large
    model: {num_layers: 12, hidden_size: 128, num_attention_heads: 8}
    parallel: {tensor_model_parallel_size: 2, pipeline_model_parallel_size: 3, num_layers_per_virtual_pipeline_stage: 2}
`

func TestAGridAndAScheduleOfEveryStage(t *testing.T) {
	r := mustParse(t, spread, nil)
	small, large := r.Stages[0], r.Stages[1]
	if small.Parallel.PipelineSchedule != pipeline.Name1F1B || large.Parallel.PipelineSchedule != pipeline.NameInterleaved {
		t.Errorf("schedules %s and %s", small.Parallel.PipelineSchedule, large.Parallel.PipelineSchedule)
	}
	for i, want := range []string{"tp2 pp1 dp12", "tp2 pp3x2 dp4"} {
		if g, err := r.Stages[i].Grid(r.World()); err != nil || g.String() != want {
			t.Errorf("stage %d is on %v (%v), want %s", i, g, err, want)
		}
	}
	uneven := mustParse(t, strings.Replace(spread, "stage: 2}", "stage: 2, decoder_first_pipeline_num_layers: 5, decoder_last_pipeline_num_layers: 3}", 1), nil)
	if g, err := uneven.Stages[1].Grid(uneven.World()); err != nil || g.String() != "tp2 pp3x2 dp4 first5 last3" {
		t.Errorf("the large stage is on %v (%v)", g, err)
	}
	if l := r.Precision.LossScaling(); l.Initial != 1<<32 || l.Hysteresis != 3 || l.Window != 1000 || l.Min != 1 {
		t.Errorf("loss scaling %+v", l)
	}
	if again := mustParse(t, string(r.Resolved()), nil); cmp.Diff(r, again) != "" {
		t.Errorf("the resolved form reads back differently: %s", cmp.Diff(r, again))
	}
	if p := mustParse(t, good, nil).Precision; p != (Precision{ParamsDType: FP32}) {
		t.Errorf("fp32 has a loss scale: %+v", p)
	}
}

func TestFlagsOfMegatronSayTheSame(t *testing.T) {
	r := mustParse(t, good, nil, Setting{"--bf16", "precision.params_dtype", "bf16"}, Setting{"--ddp-bucket-size", "parallel.ddp_bucket_size", "40M"})
	if r.Precision.ParamsDType != BF16 || r.Stages[1].Parallel.BucketSize != 40_000_000 {
		t.Errorf("%+v %+v", r.Precision, r.Stages[1].Parallel)
	}
}

// A grid that cannot be is one sentence with file, line, key and reason, before anything is allocated.
func TestEveryBadGridIsOneSentence(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"world_size: 24", "world_size: 16", `run.yaml:20: stages.1.parallel.tensor_model_parallel_size: 2 x pipeline_model_parallel_size 3 does not divide the 16 ranks (stage "large")`},
		{"world_size: 24", "local_ranks: 16", `run.yaml:20: stages.1.parallel.tensor_model_parallel_size: 2 x pipeline_model_parallel_size 3 does not divide the 16 ranks (stage "large")`},
		{"world_size: 24", "world_size: -1", `run.yaml:2: world_size: -1 is impossible: want 0 to 1048576`},
		{"{tensor_model_parallel_size: 2}", "{tensor_model_parallel_size: 3, sequence_parallel: false}", `run.yaml:17: stages.0.parallel.tensor_model_parallel_size: 3 does not divide num_attention_heads (4) (stage "small"): every rank of a tensor-parallel group takes an equal part`},
		{"{tensor_model_parallel_size: 2, pipe", "{tensor_model_parallel_size: 8, pipe", `run.yaml:20: stages.1.parallel.tensor_model_parallel_size: 8 does not divide num_query_groups (4) (stage "large"): every rank of a tensor-parallel group takes an equal part`},
		{"hidden_size: 64,", "hidden_size: 64, ffn_hidden_size: 81,", `run.yaml:17: stages.0.parallel.tensor_model_parallel_size: 2 does not divide ffn_hidden_size (81) (stage "small"): every rank of a tensor-parallel group takes an equal part`},
		{"    parallel: {tensor_model_parallel_size: 2}\n", "", `run.yaml:13: parallel.sequence_parallel: it splits among the ranks of a tensor-parallel group, and tensor_model_parallel_size is 1 (stage "small"): leave it out there`},
		{"micro_batch_size: 2", "micro_batch_size: 1", `run.yaml:13: parallel.sequence_parallel: micro_batch_size x seq_length (1 x 63) cannot be split among 2 tensor-parallel ranks (stage "small")`},
		{"num_layers: 2,", "num_layers: 13,", `run.yaml:19: stages.1.model.num_layers: 12 is less than the 13 of the stage before: a model cannot shrink`},
		{"num_layers: 12,", "num_layers: 9,", `run.yaml:20: stages.1.parallel.num_layers_per_virtual_pipeline_stage: 2 layers a virtual stage on 3 pipeline stages do not divide num_layers (9) (stage "large")`},
		{"{tensor_model_parallel_size: 2}", "{tensor_model_parallel_size: 2, pipeline_model_parallel_size: 3}", `run.yaml:17: stages.0.parallel.pipeline_model_parallel_size: 3 pipeline stages are more than num_layers (2) (stage "small"): every one needs a layer`},
		{"{tensor_model_parallel_size: 2}", "{tensor_model_parallel_size: 2, num_layers_per_virtual_pipeline_stage: 1}", `run.yaml:17: stages.0.parallel.num_layers_per_virtual_pipeline_stage: virtual stages need more than one pipeline stage, and pipeline_model_parallel_size is 1 (stage "small")`},
		{"virtual_pipeline_stage: 2}", "virtual_pipeline_stage: 2, pipeline_schedule: zero-bubble}", `run.yaml:20: stages.1.parallel.pipeline_schedule: zero-bubble has no virtual stages (stage "large"): leave num_layers_per_virtual_pipeline_stage out, or take interleaved`},
		{"{tensor_model_parallel_size: 2}", "{tensor_model_parallel_size: 2, pipeline_schedule: interleaved}", `run.yaml:17: stages.0.parallel.pipeline_schedule: interleaved needs virtual stages (stage "small"): give num_layers_per_virtual_pipeline_stage`},
		{"{tensor_model_parallel_size: 2}", "{tensor_model_parallel_size: 2, pipeline_schedule: 1f1f}", `run.yaml:17: stages.0.parallel.pipeline_schedule: "1f1f" is none of gpipe, 1f1b, interleaved or zero-bubble, did you mean 1f1b?`},
		{"{tensor_model_parallel_size: 2}", "{tensor_model_parallel_size: 2, recompute_granularity: half}", `run.yaml:17: stages.0.parallel.recompute_granularity: "half" is none of none, selective or full`},
		{"{tensor_model_parallel_size: 2}", "{tensor_model_parallel_size: 2, recompute_granularity: full, pipeline_schedule: zero-bubble}", `run.yaml:17: stages.0.parallel.recompute_granularity: full: zero-bubble computes gradients of weights late and keeps what they need (stage "small"): want none, or another pipeline_schedule`},
		{"global_batch_size: 48", "global_batch_size: 60", `run.yaml:10: train.global_batch_size: 60 is not a multiple of micro_batch_size x data-parallel size (2 x 12 = 24) (stage "small")`},
		{"num_layers_per_virtual_pipeline_stage: 2}", "num_layers_per_virtual_pipeline_stage: 2}\n    train: {global_batch_size: 40}", `run.yaml:21: stages.1.train.global_batch_size: 40 samples are 5 micro-batches a replica (stage "large"): an interleaved schedule needs a multiple of pipeline_model_parallel_size (3)`},
		{"num_layers_per_virtual_pipeline_stage: 2}", "num_layers_per_virtual_pipeline_stage: 2}\n    train: {global_batch_size: 16}", `run.yaml:21: stages.1.train.global_batch_size: 16 samples are 2 micro-batches a replica (stage "large"): an interleaved schedule needs a multiple of pipeline_model_parallel_size (3)`},
		{"{tensor_model_parallel_size: 2}", "{tensor_model_parallel_size: 2, decoder_last_pipeline_num_layers: 1}", `run.yaml:17: stages.0.parallel.decoder_last_pipeline_num_layers: pipeline stages of different sizes need more than one, and pipeline_model_parallel_size is 1 (stage "small"): leave it out there`},
		{"num_layers_per_virtual_pipeline_stage: 2}", "decoder_first_pipeline_num_layers: 6, decoder_last_pipeline_num_layers: 6}", `run.yaml:20: stages.1.parallel.decoder_first_pipeline_num_layers: num_layers (12) cannot be dealt out to 3 pipeline stages with 6 on the first and 6 on the last (stage "large"): every one needs a layer, and no layer may be left over`},
		{"virtual_pipeline_stage: 2}", "virtual_pipeline_stage: 2, decoder_last_pipeline_num_layers: 1}", `run.yaml:20: stages.1.parallel.decoder_last_pipeline_num_layers: num_layers (12) cannot be dealt out to 2 virtual stages on each of 3 pipeline stages with 1 on the last (stage "large"): every one needs a layer, and no layer may be left over`},
		{"params_dtype: fp16,", "params_dtype: bf16,", `run.yaml:5: precision.hysteresis: only fp16 has a loss scale, and params_dtype is bf16: leave it out`},
		{"hysteresis: 3", "hysteresis: 0", `run.yaml:5: precision.hysteresis: loss_scale_window 1000 and hysteresis 0: want at least 1 each`},
		{"hysteresis: 3", "min_loss_scale: 8.0, initial_loss_scale: 4.0", `run.yaml:5: precision.initial_loss_scale: initial_loss_scale 4 and min_loss_scale 8: want 0 < min_loss_scale <= initial_loss_scale`},
	} {
		bad := strings.Replace(spread, c.from, c.to, 1)
		if bad == spread {
			t.Fatalf("%q does not occur", c.from)
		}
		if got := faultsOf(t, bad, nil); got != c.want {
			t.Errorf("%q -> %q\n got %s\nwant %s", c.from, c.to, got, c.want)
		}
	}
}
