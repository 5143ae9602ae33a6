package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"cambium/src/arch"
	"cambium/src/flops"
	"cambium/src/pipeline"
)

// Key is one setting: its place in the file, its flag, what it may be and what it does. The table of keys is the one
// source of flags, help, completion, checks and of the hash.
type Key struct {
	Path   string   // train.lr
	Flag   string   // lr; "" when there is none
	Help   string   // one line
	Values []string // the words it may be, when only some are right
	Type   string   // int, float, bool, text, count or list: as help shows it

	rule   rule
	learns bool // the learned weights depend on it, so a resumed run must have the same
}

// rule says which numbers are possible.
type rule struct {
	want string
	ok   func(x float64) bool
}

func from(lo, hi float64, want string) rule {
	return rule{want, func(x float64) bool { return x >= lo && x <= hi }}
}

var (
	anyValue  = rule{}
	positive  = rule{"more than 0", func(x float64) bool { return x > 0 }}
	notBelow0 = rule{"0 or more", func(x float64) bool { return x >= 0 }}
	size      = from(1, 1<<31-1, "1 to 2147483647")
	sizeOr0   = from(0, 1<<31-1, "0 to 2147483647")
	layers    = from(1, 1<<16, "1 to 65536")
	layersOr0 = from(0, 1<<16, "0 to 65536")
	fraction  = from(0, 1, "0 to 1")
	below1    = rule{"at least 0 and less than 1", func(x float64) bool { return x >= 0 && x < 1 }}
	small     = from(1, 1<<12, "1 to 4096")
	smallOr0  = from(0, 1<<12, "0 to 4096")
)

// stageSections are the tables that a stage has, and that the top of the file has for all stages.
var stageSections = []string{"model", "train", "parallel", "growth"}

// groups are settings of which at most one may be given; setting one replaces the others.
var groups = [][]string{
	{"train_iters", "train_samples", "train_tokens"},
	{"lr_warmup_iters", "lr_warmup_samples", "lr_warmup_fraction"},
	{"mock", "train"}, // of data
}

func alternatives(a, b string) bool {
	for _, g := range groups {
		if slices.Contains(g, a) && slices.Contains(g, b) {
			return true
		}
	}
	return false
}

const (
	learns = true
	steers = false // where, how fast, how often: not what is learned
)

func key(path, flag string, learns bool, r rule, help string, values ...string) Key {
	k := Key{Path: path, Flag: flag, Help: help, Values: values, rule: r, learns: learns, Type: typeOf(path)}
	if flag == "" {
		_, last := k.split()
		k.Flag = strings.ReplaceAll(last, "_", "-")
	}
	if flag == "-" {
		k.Flag = ""
	}
	return k
}

// keys is the table, in the order in which help shows it.
var keys = []Key{
	key("seed", "", learns, notBelow0, "seed of initial weights and of the order of samples"),
	key("run_dir", "", steers, anyValue, "folder for metrics, checkpoints and the report"),
	key("local_ranks", "", steers, small, "ranks of this process, where no launcher starts several"),
	key("world_size", "", steers, from(0, 1<<20, "0 to 1048576"), "ranks of the whole job; 0: as many as the launcher starts, or local ranks"),
	key("backend", "", steers, anyValue, "what computes; cuda needs a program built by make cuda", BackendCPU, BackendCUDA),
	key("comm", "", steers, anyValue, "how ranks on GPUs reach each other: nccl, staged (through host memory); auto: nccl where it is found and each rank has a GPU", CommAuto, CommNCCL, CommStaged),
	key("gemm", "", steers, anyValue, "who multiplies matrices on GPUs: own kernels, cublaslt; auto: the faster one for a shape, timed when it is first met", GemmAuto, GemmOwn, GemmCublasLt),
	key("threads_per_rank", "", steers, smallOr0, "worker threads a rank; 0: cores / ranks"),
	key("flops_formula", "", steers, anyValue, "how operations are counted, for TFLOP/s, MFU and loss over operations", flops.Names()...),

	key("tokenizer.type", "tokenizer-type", learns, anyValue, "kind of tokenizer", TokenizerBPE, TokenizerGPT2, TokenizerCL100K, TokenizerBytes, TokenizerNone),
	key("tokenizer.path", "tokenizer-model", steers, anyValue, "tokenizer.json, or a folder with vocab.json and merges.txt"),
	key("tokenizer.vocab_size", "tokenizer-vocab-size", learns, sizeOr0, "entries of the tokenizer; 0: as it has"),

	key("data.train", "train-data-path", learns, anyValue, "training corpora: PATH or \"WEIGHT PATH WEIGHT PATH ...\""),
	key("data.validation", "valid-data-path", steers, anyValue, "validation corpora, written as those for training"),
	key("data.mock", "mock-data", learns, anyValue, "train on synthetic tokens"),

	key("model.num_layers", "", learns, layers, "transformer blocks"),
	key("model.hidden_size", "", learns, size, "width of the residual stream"),
	key("model.ffn_hidden_size", "", learns, sizeOr0, "units of a block's MLP; 0: 4 x hidden, 8/3 x hidden with swiglu"),
	key("model.num_attention_heads", "", learns, size, "query heads"),
	key("model.num_query_groups", "", learns, sizeOr0, "key and value heads; 0: as many as query heads"),
	key("model.kv_channels", "", learns, sizeOr0, "size of a head; 0: hidden size / heads"),
	key("model.vocab_size", "", learns, sizeOr0, "entries of the vocabulary; 0: the tokenizer's"),
	key("model.make_vocab_size_divisible_by", "", learns, size, "the embedding table is padded to a multiple of it"),
	key("model.max_position_embeddings", "", learns, sizeOr0, "longest sequence; 0: seq-length"),
	key("model.position_embedding_type", "", learns, anyValue, "how positions are told", arch.PositionLearned, arch.PositionRope, arch.PositionXPos, arch.PositionNone),
	key("model.rotary_base", "", learns, positive, "base of the rotary frequencies"),
	key("model.rotary_xpos_scale_base", "", learns, positive, "xPos: positions over which its scale acts"),
	key("model.normalization", "", learns, anyValue, "norm in front of attention, MLP and head", arch.LayerNorm, arch.RMSNorm),
	key("model.norm_epsilon", "", learns, positive, "added to the variance in norms"),
	key("model.swiglu", "", learns, anyValue, "SwiGLU in the MLP instead of GELU"),
	key("model.add_bias_linear", "", learns, anyValue, "biases in linear layers"),
	key("model.untie_embeddings_and_output_weights", "", learns, anyValue, "an output layer of its own"),
	key("model.init_method_std", "", learns, positive, "standard deviation of initial weights"),
	key("model.embedding_init_method_std", "", learns, notBelow0, "the same of embeddings; 0: init-method-std"),
	key("model.mup_base_width", "", learns, sizeOr0, "muP: hidden size for which rates and deviations are given; 0: no muP"),
	key("model.input_mult", "", learns, positive, "muP: factor on the embedding output"),
	key("model.output_mult", "", learns, positive, "muP: factor on the logits"),

	key("precision.params_dtype", "", learns, anyValue, "element type of weights and activations", FP32, BF16, FP16),
	key("precision.loss_scale", "", learns, notBelow0, "fp16: constant loss scale; 0: dynamic"),
	key("precision.initial_loss_scale", "", learns, notBelow0, "fp16: loss scale at the start"),
	key("precision.min_loss_scale", "", learns, notBelow0, "fp16: least loss scale"),
	key("precision.loss_scale_window", "", learns, notBelow0, "fp16: steps without overflow until the loss scale doubles"),
	key("precision.hysteresis", "", learns, notBelow0, "fp16: overflows until the loss scale halves"),

	key("optimizer.weight_decay", "", learns, notBelow0, "decoupled weight decay of matrices"),
	key("optimizer.adam_beta1", "", learns, below1, "decay of Adam's first moment"),
	key("optimizer.adam_beta2", "", learns, below1, "decay of Adam's second moment"),
	key("optimizer.adam_eps", "", learns, positive, "added to Adam's denominator"),
	key("optimizer.clip_grad", "", learns, notBelow0, "largest global gradient norm; 0: any"),

	key("train.seq_length", "", learns, size, "tokens of a sample"),
	key("train.micro_batch_size", "", steers, size, "samples that a rank takes at once"),
	key("train.global_batch_size", "", learns, sizeOr0, "samples of a step; 0: micro-batch x data-parallel size"),
	key("train.train_iters", "", learns, notBelow0, "length of the stage in steps"),
	key("train.train_samples", "", learns, notBelow0, "length of the stage in samples"),
	key("train.train_tokens", "", learns, notBelow0, "length of the stage in tokens"),
	key("train.lr", "", learns, positive, "peak learning rate; with muP that of the base width"),
	key("train.min_lr", "", learns, notBelow0, "learning rate at the end of the decay"),
	key("train.lr_decay_style", "", learns, anyValue, "shape of the decay", DecayConstant, DecayLinear, DecayCosine, DecayWSD),
	key("train.lr_decay_iters", "", learns, notBelow0, "length of the curve in steps; 0: to the end of the last stage that continues it"),
	key("train.lr_warmup_iters", "", learns, notBelow0, "warm-up of the first stage in steps"),
	key("train.lr_warmup_samples", "", learns, notBelow0, "the same in samples"),
	key("train.lr_warmup_fraction", "", learns, fraction, "the same as a share of the curve"),
	key("train.lr_warmup_init", "", learns, notBelow0, "learning rate at which warm-up begins"),
	key("train.lr_wsd_decay_style", "", learns, anyValue, "WSD: shape of the last part", "linear", "cosine", "minus_sqrt"),
	key("train.lr_wsd_decay_fraction", "", learns, fraction, "WSD: last share of the curve, in which it decays"),
	key("train.eval_interval", "", steers, notBelow0, "steps between validations; 0: at the end of a stage only"),
	key("train.eval_iters", "", steers, notBelow0, "global batches of a validation; 0: none"),
	key("train.log_interval", "", steers, size, "steps between log lines"),
	key("train.save_interval", "", steers, notBelow0, "steps between checkpoints; 0: none on the way"),

	key("parallel.tensor_model_parallel_size", "", steers, small, "ranks that share a layer"),
	key("parallel.pipeline_model_parallel_size", "", steers, small, "ranks among which layers are dealt out"),
	key("parallel.num_layers_per_virtual_pipeline_stage", "", steers, layersOr0, "interleaved schedule: layers a virtual stage; 0: one run of layers a stage"),
	key("parallel.decoder_first_pipeline_num_layers", "", steers, layersOr0, "layers of the first pipeline stage, which also has the embedding; 0: as many as the others"),
	key("parallel.decoder_last_pipeline_num_layers", "", steers, layersOr0, "layers of the last pipeline stage, which also has the output layer; 0: as many as the others"),
	key("parallel.pipeline_schedule", "", steers, anyValue, "order of forward and backward passes; by default interleaved with virtual stages, else 1f1b", pipeline.Names()...),
	key("parallel.sequence_parallel", "", steers, anyValue, "split norms and residuals along the sequence among tensor-parallel ranks"),
	key("parallel.recompute_granularity", "", steers, anyValue, "activations that are computed again in the backward pass", RecomputeNone, RecomputeSelective, RecomputeFull),
	key("parallel.overlap_grad_reduce", "", steers, anyValue, "reduce gradients while the backward pass goes on"),
	key("parallel.overlap_param_gather", "", steers, anyValue, "gather updated weights while the forward pass begins"),
	key("parallel.ddp_bucket_size", "", steers, notBelow0, "parameters of a gradient bucket; 0: chosen by size"),

	key("growth.operator", "growth-operator", learns, anyValue, "how the model grows into a stage", OperatorZero, OperatorMask, OperatorStack),
	key("growth.statistics", "growth-statistics", learns, anyValue, "mask: statistics of norms", StatisticsFolded, StatisticsMSG),
	key("growth.ramp_iters", "growth-ramp-iters", learns, size, "mask: steps until the new part is fully in"),
	key("growth.layer_placement", "growth-layer-placement", learns, anyValue, "where new layers go", PlacementTop, PlacementSpread),
	key("growth.new_layers", "growth-new-layers", learns, anyValue, "weights of new layers", LayersRandom, LayersCopy),
	key("growth.lr_schedule", "growth-lr-schedule", learns, anyValue, "the learning-rate curve of the stage before goes on, or a new one begins", ScheduleContinue, ScheduleRestart),
	key("growth.rewarm_iters", "growth-rewarm-iters", learns, notBelow0, "learning-rate warm-up after a growth, in steps"),
	key("growth.rewarm_from", "growth-rewarm-from", learns, fraction, "share of the peak from which it warms up"),
	key("growth.tolerance", "growth-tolerance", steers, notBelow0, "largest relative change of the loss at a growth; 0: the operator's"),

	key("checkpoint.compression", "checkpoint-compression", steers, anyValue, "how shards are packed", CompressionAuto, CompressionNone, CompressionZstd),
	key("checkpoint.keep_checkpoints", "", steers, notBelow0, "newest checkpoints that stay; 0: all"),
	key("checkpoint.checkpoint_before_growth", "", steers, anyValue, "save at the end of a stage, before the model grows"),
	key("checkpoint.checkpoint_at_end", "", steers, anyValue, "save when the last stage is done"),

	key("exit.exit_interval", "", steers, notBelow0, "save and stop at a multiple of so many steps; 0: never"),
	key("exit.exit_duration_in_mins", "", steers, notBelow0, "save and stop after so many minutes; 0: never"),
}

// Keys is the table of settings.
func Keys() []Key { return slices.Clone(keys) }

// split gives the table of a key and its last word.
func (k Key) split() (section, last string) {
	if i := strings.LastIndexByte(k.Path, '.'); i >= 0 {
		return k.Path[:i], k.Path[i+1:]
	}
	return "", k.Path
}

// staged tells whether every stage has the key.
func (k Key) staged() bool {
	section, _ := k.split()
	return slices.Contains(stageSections, section)
}

// field finds the value of a key in a Run or a Stage.
func field(v reflect.Value, path string) (reflect.Value, bool) {
	for word := range strings.SplitSeq(path, ".") {
		if v.Kind() != reflect.Struct {
			return v, false
		}
		i, ok := fieldsOf(v.Type()).index[word]
		if !ok {
			return v, false
		}
		v = v.Field(i)
	}
	return v, true
}

func typeOf(path string) string {
	v, ok := field(reflect.ValueOf(Run{}), path)
	if !ok {
		if v, ok = field(reflect.ValueOf(Stage{}), path); !ok {
			panic(fmt.Sprintf("config: the key table has %s, but no type has", path)) // at program start: a test runs into it
		}
	}
	switch v.Interface().(type) {
	case Count:
		return "count"
	case Corpora:
		return "list"
	case string:
		return "text"
	case bool:
		return "bool"
	case float64:
		return "float"
	}
	return "int"
}
