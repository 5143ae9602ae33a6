package config

import (
	"cambium/src/arch"
	"cambium/src/flops"
	"cambium/src/grid"
	"cambium/src/schedule"
)

// Run is a whole training run. Stages are complete: what the file says once for all stages has been copied into each.
type Run struct {
	Seed           uint64     `yaml:"seed"`
	RunDir         string     `yaml:"run_dir"`
	LocalRanks     int        `yaml:"local_ranks"`      // ranks as goroutines of this process: the world, unless WorldSize says more
	WorldSize      int        `yaml:"world_size"`       // ranks of the job; 0: what the launcher started, LocalRanks without one
	Backend        string     `yaml:"backend"`          // what computes: cpu or cuda
	Comm           string     `yaml:"comm"`             // how ranks on GPUs reach each other
	Gemm           string     `yaml:"gemm"`             // who multiplies matrices on GPUs
	ThreadsPerRank int        `yaml:"threads_per_rank"` // workers of a rank's backend; 0: cores / local ranks
	FLOPsFormula   string     `yaml:"flops_formula"`    // how operations are counted: a name of flops.Formulas
	Tokenizer      Tokenizer  `yaml:"tokenizer"`
	Data           Data       `yaml:"data"`
	Precision      Precision  `yaml:"precision"`
	Optimizer      Optimizer  `yaml:"optimizer"`
	Checkpoint     Checkpoint `yaml:"checkpoint"`
	Exit           Exit       `yaml:"exit"`
	Stages         []Stage    `yaml:"stages"`
}

// The values of Run.Backend.
const (
	BackendCPU  = "cpu"
	BackendCUDA = "cuda"
)

// The values of Run.Comm.
const (
	CommAuto   = "auto"   // nccl where it is found and every rank has a GPU of its own, else staged
	CommNCCL   = "nccl"   // NCCL, or an error
	CommStaged = "staged" // through host memory
)

// The values of Run.Gemm.
const (
	GemmAuto     = "auto"     // cuBLASLt, where it is found, or own kernels: the faster one for a shape
	GemmOwn      = "own"      // own kernels
	GemmCublasLt = "cublaslt" // cuBLASLt, where it is found and supports a product
)

// Formula counts the run's operations.
func (r *Run) Formula() flops.Formula {
	f, err := flops.ByName(r.FLOPsFormula)
	if err != nil {
		return flops.PaLM() // of a run that was not loaded
	}
	return f
}

// World is the number of ranks.
func (r *Run) World() int {
	if r.WorldSize > 0 {
		return r.WorldSize
	}
	return r.LocalRanks
}

// Tokenizer says what turns text into token ids.
type Tokenizer struct {
	Type      string `yaml:"type"`       // bpe, gpt2, cl100k_base, bytes or none (token ids only)
	Path      string `yaml:"path"`       // bpe: a tokenizer.json, or a folder with vocab.json and merges.txt
	VocabSize int    `yaml:"vocab_size"` // entries; 0: what the tokenizer has
}

// The values of Tokenizer.Type.
const (
	TokenizerBPE    = "bpe"
	TokenizerGPT2   = "gpt2"
	TokenizerCL100K = "cl100k_base"
	TokenizerBytes  = "bytes"
	TokenizerNone   = "none"
)

// Data names the corpora: prefixes of Megatron's .bin/.idx pairs, or llm.c's .bin shards.
type Data struct {
	Train      Corpora `yaml:"train"`
	Validation Corpora `yaml:"validation"`
	Mock       bool    `yaml:"mock"` // synthetic tokens instead of files: timing, tests
}

// Corpora is a weighted blend.
type Corpora []Corpus

// Corpus is one part of a blend.
type Corpus struct {
	Path   string  `yaml:"path"`
	Weight float64 `yaml:"weight"` // relative to the others'; default 1
}

// Precision says in which element types weights and activations live, and how fp16's gradients are scaled. The loss scale is 0
// throughout for other types.
type Precision struct {
	ParamsDType      string  `yaml:"params_dtype"` // fp32, bf16 or fp16
	LossScale        float64 `yaml:"loss_scale"`   // a constant scale; 0: dynamic
	InitialLossScale float64 `yaml:"initial_loss_scale"`
	MinLossScale     float64 `yaml:"min_loss_scale"`
	LossScaleWindow  int     `yaml:"loss_scale_window"` // clean steps until the scale doubles
	Hysteresis       int     `yaml:"hysteresis"`        // overflows until it halves
}

// The values of Precision.ParamsDType.
const (
	FP32 = "fp32"
	BF16 = "bf16"
	FP16 = "fp16"
)

// LossScaling are the rules of the dynamic loss scale; only fp16 has one.
func (p Precision) LossScaling() schedule.LossScaling {
	return schedule.LossScaling{Static: p.LossScale, Initial: p.InitialLossScale, Min: p.MinLossScale, Window: p.LossScaleWindow, Hysteresis: p.Hysteresis}
}

// Optimizer holds what AdamW keeps through the whole run.
type Optimizer struct {
	WeightDecay float64 `yaml:"weight_decay"` // decoupled; muP multiplies it by the width for matrices
	Beta1       float64 `yaml:"adam_beta1"`
	Beta2       float64 `yaml:"adam_beta2"`
	Eps         float64 `yaml:"adam_eps"`
	ClipGrad    float64 `yaml:"clip_grad"` // global gradient norm; 0: no clipping
}

// Checkpoint says how checkpoints are written and how many are kept.
type Checkpoint struct {
	Compression  string `yaml:"compression"`              // auto, none or zstd
	Keep         int    `yaml:"keep_checkpoints"`         // the newest so many stay; 0: all
	BeforeGrowth bool   `yaml:"checkpoint_before_growth"` // save at a stage's end, before the model grows
	AtEnd        bool   `yaml:"checkpoint_at_end"`        // save when the last stage is done
}

// The values of Checkpoint.Compression.
const (
	CompressionAuto = "auto"
	CompressionNone = "none"
	CompressionZstd = "zstd"
)

// Exit ends a run before its last iteration, with a checkpoint.
type Exit struct {
	Interval       int     `yaml:"exit_interval"`         // stop when the iteration is a multiple of it; 0: never
	DurationInMins float64 `yaml:"exit_duration_in_mins"` // stop after so many minutes; 0: never
}

// Stage is a part of a run with one model shape, one grid and one learning-rate schedule.
type Stage struct {
	Name     string     `yaml:"name"`
	Model    arch.Model `yaml:"model"`
	Train    Train      `yaml:"train"`
	Parallel Parallel   `yaml:"parallel"`
	Growth   Growth     `yaml:"growth"` // how this stage's model came from the one before; of no meaning in the first
}

// Train holds the settings of the loop in one stage. Of each group of alternatives at most one is set.
type Train struct {
	SeqLength       int `yaml:"seq_length"`
	MicroBatchSize  int `yaml:"micro_batch_size"`  // samples a rank takes at once
	GlobalBatchSize int `yaml:"global_batch_size"` // samples a step takes over all ranks

	// The length of the stage, by one of the three. Iterations, Samples and Tokens of Stage give all of them.
	TrainIters   Count `yaml:"train_iters"`
	TrainSamples Count `yaml:"train_samples"`
	TrainTokens  Count `yaml:"train_tokens"`

	LR         float64 `yaml:"lr"` // peak; with muP that of the base width
	MinLR      float64 `yaml:"min_lr"`
	DecayStyle string  `yaml:"lr_decay_style"` // constant, linear, cosine or WSD
	DecayIters Count   `yaml:"lr_decay_iters"` // length of the curve, warm-up included; 0: to the end of the last stage that continues it

	// Warm-up of the first stage (later stages: Growth.RewarmIters), by one of the three.
	WarmupIters    Count   `yaml:"lr_warmup_iters"`
	WarmupSamples  Count   `yaml:"lr_warmup_samples"`
	WarmupFraction float64 `yaml:"lr_warmup_fraction"` // of the length of the curve
	WarmupInit     float64 `yaml:"lr_warmup_init"`     // learning rate at which warm-up begins

	WSDDecayStyle    string  `yaml:"lr_wsd_decay_style"`    // linear, cosine or minus_sqrt
	WSDDecayFraction float64 `yaml:"lr_wsd_decay_fraction"` // the last part of the curve, in which WSD decays

	EvalInterval int `yaml:"eval_interval"` // iterations between validations; 0: only at the end of a stage
	EvalIters    int `yaml:"eval_iters"`    // global batches a validation takes; 0: no validation
	LogInterval  int `yaml:"log_interval"`  // iterations between log lines
	SaveInterval int `yaml:"save_interval"` // iterations between checkpoints; 0: only where others ask for one
}

// The values of Train.DecayStyle.
const (
	DecayConstant = "constant"
	DecayLinear   = "linear"
	DecayCosine   = "cosine"
	DecayWSD      = "WSD"
)

// Parallel is the grid of a stage and how its ranks work together. The data-parallel size follows from the world.
type Parallel struct {
	TensorSize       int    `yaml:"tensor_model_parallel_size"`
	PipelineSize     int    `yaml:"pipeline_model_parallel_size"`
	VirtualLayers    int    `yaml:"num_layers_per_virtual_pipeline_stage"` // of an interleaved schedule; 0: one run of layers a stage
	FirstLayers      int    `yaml:"decoder_first_pipeline_num_layers"`     // layers of the first pipeline stage; 0: as many as the others
	LastLayers       int    `yaml:"decoder_last_pipeline_num_layers"`      // the same of the last one
	PipelineSchedule string `yaml:"pipeline_schedule"`                     // gpipe, 1f1b, interleaved or zero-bubble
	SequenceParallel bool   `yaml:"sequence_parallel"`                     // split norms and the residual stream among tp ranks too
	Recompute        string `yaml:"recompute_granularity"`                 // none, selective or full

	OverlapGradReduce  bool  `yaml:"overlap_grad_reduce"`  // reduce gradients while the backward pass goes on
	OverlapParamGather bool  `yaml:"overlap_param_gather"` // gather updated weights while the forward pass begins
	BucketSize         Count `yaml:"ddp_bucket_size"`      // parameters a bucket of gradients; 0: chosen by size
}

// The values of Parallel.Recompute.
const (
	RecomputeNone      = "none"
	RecomputeSelective = "selective"
	RecomputeFull      = "full"
)

// Chunks is the number of runs of layers a pipeline stage holds.
func (s *Stage) Chunks() int {
	if s.Parallel.VirtualLayers == 0 {
		return 1
	}
	return s.Model.NumLayers / (s.Parallel.PipelineSize * s.Parallel.VirtualLayers)
}

// Grid is the stage's grid of so many ranks.
func (s *Stage) Grid(world int) (grid.Grid, error) {
	g, err := grid.New(world, s.Parallel.TensorSize, s.Parallel.PipelineSize)
	return g.Interleaved(s.Chunks()).Uneven(s.Parallel.FirstLayers, s.Parallel.LastLayers), err
}

// Growth says how a stage's model comes from the one before.
type Growth struct {
	Operator       string  `yaml:"operator"`        // zero, mask or stack
	Statistics     string  `yaml:"statistics"`      // of masked norms: folded or msg
	RampIters      int     `yaml:"ramp_iters"`      // mask: steps over which the mask rises from 1/K to 1
	LayerPlacement string  `yaml:"layer_placement"` // new layers on top, or spread among the old
	NewLayers      string  `yaml:"new_layers"`      // mask: random weights, or a copy of an old layer
	LRSchedule     string  `yaml:"lr_schedule"`     // continue the curve of the stage before, or restart with this stage's own
	RewarmIters    int     `yaml:"rewarm_iters"`    // learning-rate warm-up after the growth
	RewarmFrom     float64 `yaml:"rewarm_from"`     // ... from this share of the peak
	Tolerance      float64 `yaml:"tolerance"`       // largest relative change of the probe loss; 0: the operator's own
}

// The values of Growth's words.
const (
	OperatorZero     = "zero"
	OperatorMask     = "mask"
	OperatorStack    = "stack"
	StatisticsFolded = "folded"
	StatisticsMSG    = "msg"
	PlacementTop     = "top"
	PlacementSpread  = "spread"
	LayersRandom     = "random"
	LayersCopy       = "copy"
	ScheduleContinue = "continue"
	ScheduleRestart  = "restart"
)

// Iterations is the number of steps of the stage; a length in samples or tokens is rounded up to whole steps. It is 0 while batch
// or sequence length are (a run that is still being checked).
func (s *Stage) Iterations() int64 {
	t := s.Train
	switch batch := int64(t.GlobalBatchSize); {
	case batch <= 0 || t.SeqLength <= 0:
		return 0
	case t.TrainSamples > 0:
		return ceilDiv(int64(t.TrainSamples), batch)
	case t.TrainTokens > 0:
		return ceilDiv(int64(t.TrainTokens), batch*int64(t.SeqLength))
	}
	return int64(t.TrainIters)
}

// Samples is the number of sequences that the stage consumes.
func (s *Stage) Samples() int64 { return s.Iterations() * int64(s.Train.GlobalBatchSize) }

// Tokens is the number of tokens that the stage consumes.
func (s *Stage) Tokens() int64 { return s.Samples() * int64(s.Train.SeqLength) }

// DataParallelSize is the number of replicas of the model in a world of that many ranks.
func (s *Stage) DataParallelSize(world int) int {
	return world / (s.Parallel.TensorSize * s.Parallel.PipelineSize)
}

// MicroBatches is the number of micro-batches a rank runs through in a step.
func (s *Stage) MicroBatches(world int) int {
	return s.Train.GlobalBatchSize / (s.Train.MicroBatchSize * s.DataParallelSize(world))
}

func ceilDiv(a, b int64) int64 { return (a-1)/b + 1 }

// Spec is what tokenizer.Open wants: the path of a bpe tokenizer, the name of a built-in one, "" for none.
func (t Tokenizer) Spec() string {
	switch t.Type {
	case TokenizerBPE:
		return t.Path
	case TokenizerNone:
		return ""
	}
	return t.Type
}

// FillVocab gives the models that say no vocabulary size that of their tokenizer.
func (r *Run) FillVocab(entries int) {
	for i := range r.Stages {
		if r.Stages[i].Model.VocabSize == 0 {
			r.Stages[i].Model.VocabSize = entries
		}
	}
}
