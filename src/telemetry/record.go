package telemetry

import "time"

// Record is one thing that happened: a *Run, *Stage, *Iteration, *Growth, *Validation, *Checkpoint or *End.
type Record interface {
	// at is the moment and the iteration that the record belongs to.
	at() (time.Time, int)
	// event is the value of the key "event" in metrics.jsonl; empty for iterations, which have none.
	event() string
}

// Header begins every record.
type Header struct {
	Iteration      int       `json:"iteration"` // iterations done
	Time           time.Time `json:"time"`
	ConsumedTokens int64     `json:"consumed_tokens"`
}

func (h *Header) at() (time.Time, int) { return h.Time, h.Iteration }

// Run begins a run, or goes on with one.
type Run struct {
	Header
	Name       string  `json:"name"`
	Version    string  `json:"version"`
	Resumed    bool    `json:"resumed"` // Iteration is the one it resumes from
	World      int     `json:"world"`
	Backend    string  `json:"backend"` // "cpu avx512, 2 workers"
	Machine    string  `json:"machine"` // processor, cores, memory, in words
	Command    string  `json:"command"`
	TrainIters int     `json:"train_iters"`
	Tokens     int64   `json:"target_tokens"`
	FLOPs      float64 `json:"target_flops"` // of the whole run; progress and ETA follow it. 0: unknown
}

// Stage begins a growth stage.
type Stage struct {
	Header
	Index      int    `json:"growth_stage"` // from 0
	Count      int    `json:"growth_stages"`
	Name       string `json:"name"`
	Model      string `json:"model"` // "4 layers x 128, 4 heads"
	Parameters int64  `json:"parameters"`
	Grid       string `json:"grid"` // "tp1 pp1 dp2"
	Tokens     int64  `json:"target_tokens"`

	Schedule         string   `json:"pipeline_schedule"` // empty with one pipeline stage
	MicroBatches     int      `json:"micro_batches"`     // a replica in a step
	BubbleShare      float64  `json:"bubble_share"`      // of the schedule, when all passes of a kind take the same time
	SequenceParallel bool     `json:"sequence_parallel"`
	Recompute        string   `json:"recompute_granularity"`
	DType            string   `json:"params_dtype"`
	MemoryRank       int      `json:"memory_rank"`  // the rank that has most
	Memory           []Memory `json:"memory"`       // what it has allocated in the stage
	DeviceBytes      int64    `json:"device_bytes"` // memory of its device; 0 where that does not tell
	DeviceFree       int64    `json:"device_free"`  // what no program has of it when the stage begins
}

// MemoryBytes is all of Memory together.
func (s *Stage) MemoryBytes() (n int64) {
	for _, m := range s.Memory {
		n += m.Bytes
	}
	return n
}

// Memory is what a rank has allocated for one purpose.
type Memory struct {
	Label string `json:"label"` // "weights", "gradients", "optimizer", "activations", ...
	Bytes int64  `json:"bytes"`
}

// Iteration is one step of the optimizer.
type Iteration struct {
	Header
	ConsumedSamples int64   `json:"consumed_samples"`
	GrowthStage     int     `json:"growth_stage"`
	LMLoss          float64 `json:"lm_loss"` // nats a token, mean over the global batch
	LearningRate    float64 `json:"learning_rate"`
	GradNorm        float64 `json:"grad_norm"` // before clipping
	LossScale       float64 `json:"loss_scale"`
	GlobalBatchSize int     `json:"global_batch_size"`
	Skipped         bool    `json:"skipped"` // an overflow: no parameter changed
	ElapsedMS       float64 `json:"elapsed_ms"`
	TokensPerSec    float64 `json:"tokens_per_sec"`
	ModelTFLOPs     float64 `json:"model_tflops"`  // TFLOP/s a rank
	FLOPsFormula    string  `json:"flops_formula"` // the name of the formula that ModelTFLOPs and ModelFLOPs come from
	ModelFLOPs      float64 `json:"model_flops"`   // of all ranks, since the run began
}

// Growth is a step from one growth stage to the next.
type Growth struct {
	Header
	FromStage       int     `json:"from_stage"`
	ToStage         int     `json:"to_stage"`
	Operator        string  `json:"operator"`
	FromParameters  int64   `json:"from_parameters"`
	ToParameters    int64   `json:"to_parameters"`
	LossBefore      float64 `json:"loss_before"` // of the probe batch
	LossAfter       float64 `json:"loss_after"`
	Relative        float64 `json:"relative_difference"`
	Seconds         float64 `json:"seconds"`           // from the last step of the old model to the first of the new one
	BytesMoved      int64   `json:"bytes_moved"`       // between ranks
	BytesLowerBound int64   `json:"bytes_lower_bound"` // what had to change rank at least
	MoveSeconds     float64 `json:"move_seconds"`      // of Seconds: weights and optimizer state, without the probes
	FromGrid        string  `json:"from_grid"`
	ToGrid          string  `json:"to_grid"`
	ModelFLOPs      float64 `json:"model_flops"`
}

// Validation is a loss over held-out text.
type Validation struct {
	Header
	GrowthStage     int     `json:"growth_stage"`
	ConsumedSamples int64   `json:"consumed_samples"`
	LMLoss          float64 `json:"lm_loss"`
	BitsPerByte     float64 `json:"bits_per_byte"` // 0: unknown
	ModelFLOPs      float64 `json:"model_flops"`
	Seconds         float64 `json:"seconds"`
}

// Checkpoint is one that is complete.
type Checkpoint struct {
	Header
	Path    string  `json:"path"`
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes"`
}

// End is the end of the run, or of this part of it.
type End struct {
	Header
	Reason  string  `json:"reason"` // "finished", "signal: terminated", ...
	Seconds float64 `json:"seconds"`
}

func (*Run) event() string        { return "run" }
func (*Stage) event() string      { return "stage" }
func (*Iteration) event() string  { return "" }
func (*Growth) event() string     { return "growth" }
func (*Validation) event() string { return "validation" }
func (*Checkpoint) event() string { return "checkpoint" }
func (*End) event() string        { return "end" }
