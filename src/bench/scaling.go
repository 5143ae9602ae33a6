package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"

	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/grid"
	"cambium/src/pipeline"
	"cambium/src/report"
	"cambium/src/train"
)

// ScalingOptions say which grids a scaling bench measures, and where.
type ScalingOptions struct {
	Kind    string      // report.WeakScaling: the batch grows with the ranks; report.StrongScaling: it does not
	Grids   []grid.Grid // all of the bench; the configuration's batch is that of the smallest
	Element int         // only this one of Grids, when not negative: an element of a job array
	World   comm.World  // that a launcher has started, of processes with one rank: only grids of its size are measured; nil: ranks are goroutines
	Warmup  int         // steps before the clock starts
	Steps   int
	Dir     string // where points and, once there is one for every grid, the table go
	Version string // of the program
	Job     string // for the record
}

// ParseGrids reads grids separated by commas: "dp1,dp2,tp2dp2".
func ParseGrids(text string) ([]grid.Grid, error) {
	var out []grid.Grid
	for word := range strings.SplitSeq(text, ",") {
		g, err := grid.Parse(word)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, g) {
			return nil, fmt.Errorf("grid: %v is there twice", g)
		}
		out = append(out, g)
	}
	return out, nil
}

// Scaling measures steps of the first stage of cfg on the grids, one after the other, and leaves a file for each. When a rank
// of this process leads and every grid has its file, the table is drawn (Collect) and returned; else it is "".
func Scaling(ctx context.Context, cfg *config.Run, o ScalingOptions, progress io.Writer) (table string, err error) {
	todo, err := o.todo()
	if err != nil {
		return "", err
	}
	var runs []*config.Run
	for _, g := range todo { // all are checked before the first is measured
		run, err := o.configure(cfg, g)
		if err != nil {
			return "", fmt.Errorf("bench scaling, %v: %w", g, err)
		}
		runs = append(runs, run)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return "", err
	}
	leads := false
	each := func(rank comm.Communicator) error {
		for i, g := range todo {
			p, err := o.measure(ctx, runs[i], g, rank)
			if err != nil {
				return fmt.Errorf("bench scaling, %v: %w", g, err)
			}
			if p == nil {
				continue // another process leads
			}
			leads = true
			if err := writePoint(filepath.Join(o.Dir, o.file(g)), p); err != nil {
				return err
			}
			fmt.Fprintf(progress, "%v: %.1f ms a step, %.0f tokens/s\n", g, p.MedianMS, p.TokensPerSec)
		}
		return nil
	}
	if o.World == nil {
		err = each(nil)
	} else {
		err = o.World.Run(each)
	}
	if err != nil || !leads {
		return "", err
	}
	for _, g := range o.Grids {
		if _, err := os.Stat(filepath.Join(o.Dir, o.file(g))); err != nil {
			return "", nil
		}
	}
	return Collect(o.Dir)
}

// todo are the grids that this process is to measure.
func (o *ScalingOptions) todo() ([]grid.Grid, error) {
	switch {
	case len(o.Grids) == 0:
		return nil, errors.New("bench scaling: no grids: want a list such as dp1,dp2,tp2dp2")
	case o.Steps < 1 || o.Warmup < 0:
		return nil, fmt.Errorf("bench scaling: %d steps after %d warm-up steps: want at least 1 after at least 0", o.Steps, o.Warmup)
	case o.Kind != report.WeakScaling && o.Kind != report.StrongScaling:
		return nil, fmt.Errorf("bench scaling: %q is no kind of scaling: want %s or %s", o.Kind, report.WeakScaling, report.StrongScaling)
	case o.Element >= len(o.Grids):
		return nil, fmt.Errorf("bench scaling: there is no element %d of %d grids: want 0 to %d", o.Element, len(o.Grids), len(o.Grids)-1)
	}
	todo := o.Grids
	if o.Element >= 0 {
		todo = todo[o.Element : o.Element+1]
	}
	if o.World != nil {
		all := todo
		todo = slices.DeleteFunc(slices.Clone(all), func(g grid.Grid) bool { return g.World() != o.World.Size() })
		if len(todo) == 0 {
			return nil, fmt.Errorf("bench scaling: the launcher started %d ranks, and none of the grids %v is of that size", o.World.Size(), all)
		}
	}
	return todo, nil
}

// smallest is the grid whose batch is that of the configuration.
func (o *ScalingOptions) smallest() grid.Grid {
	return slices.MinFunc(o.Grids, func(a, b grid.Grid) int { return a.World() - b.World() })
}

// configure is a run of the first stage of cfg on one grid, checked as if it came from a file.
func (o *ScalingOptions) configure(cfg *config.Run, g grid.Grid) (*config.Run, error) {
	run, s := *cfg, cfg.Stages[0]
	p, t := &s.Parallel, &s.Train
	p.TensorSize, p.PipelineSize, p.VirtualLayers = g.TP, g.PP, 0
	p.FirstLayers, p.LastLayers = g.First, g.Last
	p.SequenceParallel = p.SequenceParallel && g.TP > 1
	if g.Chunks > 1 {
		p.PipelineSchedule, p.VirtualLayers = pipeline.NameInterleaved, max(s.Model.NumLayers/(g.PP*g.Chunks), 1)
	} else if p.PipelineSchedule == pipeline.NameInterleaved {
		p.PipelineSchedule = pipeline.Name1F1B
	}
	if o.Kind == report.WeakScaling {
		n := t.GlobalBatchSize * g.World()
		if n%o.smallest().World() != 0 {
			return nil, fmt.Errorf("a batch of %d for %d ranks is no whole one for %d: give another --global-batch-size", t.GlobalBatchSize, o.smallest().World(), g.World())
		}
		t.GlobalBatchSize = n / o.smallest().World()
	}
	t.TrainIters, t.TrainSamples, t.TrainTokens = config.Count(o.Warmup+o.Steps), 0, 0
	t.DecayStyle, t.DecayIters, t.WarmupIters, t.WarmupSamples, t.WarmupFraction = config.DecayConstant, 0, 0, 0, 0
	run.Stages, run.Data, run.Tokenizer = []config.Stage{s}, config.Data{Mock: true}, config.Tokenizer{Type: config.TokenizerNone}
	if run.WorldSize, run.LocalRanks = g.World(), 1; o.World == nil {
		run.WorldSize, run.LocalRanks = 0, g.World()
		if run.ThreadsPerRank == 0 { // the same for every grid, or the larger ones would have less of a processor
			largest := slices.MaxFunc(o.Grids, func(a, b grid.Grid) int { return a.World() - b.World() })
			run.ThreadsPerRank = max(runtime.GOMAXPROCS(0)/largest.World(), 1)
		}
	}
	return config.Parse("bench scaling", run.Resolved(), nil, nil)
}

// measure is nil in a process without rank 0. rank is this process's in a world that runs, nil for goroutines.
func (o *ScalingOptions) measure(ctx context.Context, cfg *config.Run, g grid.Grid, rank comm.Communicator) (*report.ScalingPoint, error) {
	var world comm.World
	places := 1
	if rank != nil {
		world = held{o.World, rank}
		var err error
		if places, err = nodes(rank); err != nil {
			return nil, err
		}
	}
	peak, m, err := measureWithPeak(ctx, cfg, world, train.MeasureOptions{Warmup: o.Warmup, Steps: o.Steps})
	if err != nil || m == nil {
		return nil, err
	}
	s, f := &cfg.Stages[0], cfg.Formula()
	p := &report.ScalingPoint{
		Scaling: o.Kind, Nodes: places, Ranks: g.World(), TP: g.TP, PP: g.PP, Chunks: max(g.Chunks, 1), DP: g.DP,
		MicroSize: s.Train.MicroBatchSize, BatchSize: s.Train.GlobalBatchSize, SeqLength: s.Train.SeqLength,
		PeakTFLOPs: peak / 1e12, MemoryBytes: int64(m.Most), Bubble: m.Bubble, BubbleForetold: m.BubbleForetold,
		Model: describe(cfg), Parameters: int64(s.Model.ParameterCount()), FLOPsFormula: f.Name,
		Backend: m.Backend, Precision: cfg.Precision.ParamsDType, ThreadsPerRank: m.Threads,
		Machine: fmt.Sprintf("%s, %d processors", cpuid.CPU.BrandName, processors()), Program: "cambium " + o.Version, Job: o.Job,
	}
	if g.PP > 1 {
		p.Schedule = s.Parallel.PipelineSchedule
	}
	p.Options = strings.Join(options(s.Parallel), ", ")
	p.Oversubscribed = o.oversubscribed(p)
	for _, d := range m.Steps {
		p.StepMS = append(p.StepMS, round(1e3*d.Seconds(), 3))
	}
	lower, upper := report.Quartiles(p.StepMS)
	p.MedianMS, p.IQRMS = median(p.StepMS), round(upper-lower, 3)
	p.TokensPerSec = 1e3 * float64(s.TokensPerIteration()) / p.MedianMS
	p.TFLOPs = p.TokensPerSec * f.PerToken(s.Model, s.Train.SeqLength) / float64(p.Ranks) / 1e12
	return p, nil
}

func options(p config.Parallel) []string {
	var out []string
	if p.SequenceParallel {
		out = append(out, "sequence parallel")
	}
	if p.Recompute != config.RecomputeNone {
		out = append(out, p.Recompute+" recomputation")
	}
	if p.FirstLayers > 0 {
		out = append(out, fmt.Sprintf("first stage of %d layers", p.FirstLayers))
	}
	if p.LastLayers > 0 {
		out = append(out, fmt.Sprintf("last stage of %d layers", p.LastLayers))
	}
	return out
}

func describe(cfg *config.Run) string {
	m := cfg.Stages[0].Model
	return fmt.Sprintf("%d layers x %d, %d heads, FFN %d", m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.FFNHiddenSize)
}

// oversubscribed tells whether threads of the point's ranks share processors. A launcher may have bound a process to some of them.
func (o *ScalingOptions) oversubscribed(p *report.ScalingPoint) bool {
	if bound := runtime.NumCPU() < processors(); o.World != nil && bound {
		return p.ThreadsPerRank > runtime.NumCPU()
	}
	return (p.Ranks+p.Nodes-1)/p.Nodes*p.ThreadsPerRank > min(processors(), runtime.NumCPU())
}

// processors are those of the machine, whatever this process may use of them.
func processors() int {
	text, err := os.ReadFile("/proc/cpuinfo")
	if n := strings.Count("\n"+string(text), "\nprocessor"); err == nil && n > 0 {
		return n
	}
	return runtime.NumCPU()
}
