package train

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"

	"cambium/src/arch"
	"cambium/src/checkpoint"
	"cambium/src/flops"
	"cambium/src/grid"
	"cambium/src/growth"
	"cambium/src/schedule"
	"cambium/src/telemetry"
)

// observer is the leading rank's account of the run: records for the sinks, and the summary.
type observer struct {
	*job
	sink    telemetry.Multi
	formula flops.Formula
	stage   telemetry.Stage // the live one
	begun   time.Time
	result  Summary
	work    float64        // operations since the run began
	last    schedule.Place // where the run has come to
}

// growthEvent is what growth has to tell.
type growthEvent struct {
	before, after, change float64
	took                  time.Duration // probes included
	stats                 growth.Stats
	from                  grid.Grid
}

func newObserver(j *job) *observer {
	return &observer{job: j, formula: j.cfg.Formula(), begun: time.Now()}
}

// begin opens the sinks at the iteration where the run takes up: what a run that was killed wrote after its last
// checkpoint is dropped, because it happens again.
func (o *observer) begin(r *rank, memory memoryUse) (err error) {
	resumed := o.resume != nil
	at := int(r.place.Iteration)
	if o.sink, err = o.openSinks(resumed, at); err != nil {
		return err
	}
	o.work, o.last = o.flopsBefore(r.place), r.place
	run := &telemetry.Run{
		Header: o.header(r.place), Name: filepath.Base(o.cfg.RunDir), Version: o.options.Version, Resumed: resumed, World: r.world.Size(),
		Backend: described(r.backend), Machine: Machine(), Command: strings.Join(os.Args, " "),
		TrainIters: int(o.timeline.TotalSteps()), Tokens: o.timeline.Begin(o.timeline.Stages()), FLOPs: o.flopsBefore(o.end()),
	}
	if err := o.sink.Write(run); err != nil {
		return err
	}
	if resumed && r.stage != r.place.Stage || r.place.Stage == o.timeline.Stages() {
		return nil // the next stage begins with its growth, or the run is over
	}
	return o.enterStage(r, memory)
}

// end is the place after the last step.
func (o *observer) end() schedule.Place {
	n := o.timeline.Stages()
	return schedule.Place{Stage: n, Tokens: o.timeline.Begin(n), Iteration: o.timeline.TotalSteps()}
}

// flopsBefore is the work of all steps up to a place, by the observer's formula.
func (o *observer) flopsBefore(p schedule.Place) float64 {
	sum := 0.0
	for i := range o.cfg.Stages {
		s := &o.cfg.Stages[i]
		tokens := min(p.Tokens, o.timeline.Begin(i+1)) - o.timeline.Begin(i)
		if tokens > 0 {
			sum += float64(tokens) * o.formula.PerToken(s.Model, s.Train.SeqLength)
		}
	}
	return sum
}

func (o *observer) header(p schedule.Place) telemetry.Header {
	return telemetry.Header{Time: time.Now(), Iteration: int(p.Iteration), ConsumedTokens: p.Tokens}
}

func (o *observer) enterStage(r *rank, memory memoryUse) error {
	s := &o.cfg.Stages[r.stage]
	bubble, err := r.bubble()
	if err != nil {
		return err
	}
	o.stage = telemetry.Stage{
		Header: o.header(r.place), Index: r.stage, Count: len(o.cfg.Stages), Name: s.Name, Model: describe(s.Model),
		Parameters: int64(s.Model.ParameterCount()), Tokens: s.Tokens(), Grid: r.groups.grid.String(),
		MicroBatches: s.MicroBatches(r.world.Size()), SequenceParallel: s.Parallel.SequenceParallel, Recompute: s.Parallel.Recompute,
		DType: o.cfg.Precision.ParamsDType, BubbleShare: bubble, MemoryRank: memory.Rank,
		DeviceBytes: int64(memory.Device), DeviceFree: int64(memory.Free),
	}
	if r.groups.grid.PP > 1 {
		o.stage.Schedule = s.Parallel.PipelineSchedule
	}
	for _, label := range slices.Sorted(maps.Keys(memory.Bytes)) {
		if n := memory.Bytes[label]; n > 0 {
			o.stage.Memory = append(o.stage.Memory, telemetry.Memory{Label: label, Bytes: int64(n)})
		}
	}
	return o.sink.Write(&o.stage)
}

func describe(m arch.Model) string {
	return fmt.Sprintf("%d layers x %d, %d heads, FFN %d", m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.FFNHiddenSize)
}

// step tells of one step, which ended at r.place.
func (o *observer) step(r *rank, out outcome) error {
	s := &o.cfg.Stages[r.stage]
	tokens := float64(s.TokensPerIteration())
	work := tokens * o.formula.PerToken(s.Model, s.Train.SeqLength)
	o.work += work
	o.last = r.place
	seconds := out.took.Seconds()
	o.result.add(r.stage, out, int64(tokens))
	return o.sink.Write(&telemetry.Iteration{
		Header: o.header(r.place), ConsumedSamples: r.place.Samples, GrowthStage: r.stage, LMLoss: out.loss, LearningRate: out.lr,
		GradNorm: out.gradNorm, LossScale: out.scale, GlobalBatchSize: s.Train.GlobalBatchSize, Skipped: out.skipped,
		ElapsedMS: 1e3 * seconds, TokensPerSec: tokens / seconds, ModelTFLOPs: work / seconds / float64(r.world.Size()) / 1e12,
		FLOPsFormula: o.formula.Name, ModelFLOPs: o.work,
	})
}

// grown tells of a growth into the live stage, and of the stage.
func (o *observer) grown(r *rank, g growthEvent, memory memoryUse) error {
	from, to := o.cfg.Stages[r.stage-1].Model, o.cfg.Stages[r.stage].Model
	e := &telemetry.Growth{
		Header: o.header(r.place), FromStage: r.stage - 1, ToStage: r.stage, Operator: o.cfg.Stages[r.stage].Growth.Operator,
		FromParameters: int64(from.ParameterCount()), ToParameters: int64(to.ParameterCount()), LossBefore: g.before, LossAfter: g.after,
		Relative: g.change, Seconds: g.took.Seconds(), BytesMoved: g.stats.BytesMoved,
		BytesLowerBound: g.stats.BytesLowerBound, MoveSeconds: g.stats.Seconds, FromGrid: g.from.String(), ToGrid: r.groups.grid.String(),
		ModelFLOPs: o.work,
	}
	o.result.Growths = append(o.result.Growths, *e)
	if err := o.sink.Write(e); err != nil {
		return err
	}
	return o.enterStage(r, memory)
}

// validated tells of a validation.
func (o *observer) validated(r *rank, loss float64, took time.Duration) error {
	v := &telemetry.Validation{
		Header: o.header(r.place), GrowthStage: r.stage, ConsumedSamples: r.place.Samples, LMLoss: loss,
		BitsPerByte: o.corpus.bitsPerByte(loss), ModelFLOPs: o.work, Seconds: took.Seconds(),
	}
	o.result.validated(r.stage, v)
	return o.sink.Write(v)
}

// saved tells of a checkpoint.
func (o *observer) saved(r *rank, s checkpoint.Stats, took time.Duration) error {
	o.result.Checkpoint = s.Path
	return o.sink.Write(&telemetry.Checkpoint{Header: o.header(r.place), Path: s.Path, Seconds: took.Seconds(), Bytes: s.Stored})
}

// finish tells of the end, or of this part's end.
func (o *observer) finish(r *rank, reason string) error {
	return o.sink.Write(&telemetry.End{Header: o.header(r.place), Reason: reason, Seconds: time.Since(o.begun).Seconds()})
}

func (o *observer) close() error {
	if o.sink == nil {
		return nil
	}
	return o.sink.Close()
}

// processor is the name of the processor.
func processor() string {
	if name := cpuid.CPU.BrandName; name != "" {
		return name
	}
	return runtime.GOARCH
}

// Machine is the computer in words, for the record.
func Machine() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s: %s, %d cores, %s %s/%s", host, processor(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
