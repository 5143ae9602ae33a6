package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/klauspost/cpuid/v2"

	"cambium/src/config"
	"cambium/src/flops"
	"cambium/src/grid"
	"cambium/src/pipeline"
	"cambium/src/report"
)

// ScalingOptions say which grids a scaling bench measures, and where.
type ScalingOptions struct {
	Kind    string      // report.WeakScaling: the batch grows with the ranks; report.StrongScaling: it does not
	Grids   []grid.Grid // all of the bench; the configuration's batch is that of the smallest
	Element int         // only this one of Grids, when not negative: an element of a job array
	World   int         // ranks that a launcher has started, and only grids of that size are measured; 0: ranks are goroutines
	Nodes   int         // that those ranks are on
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
	for i, g := range todo {
		p, err := o.measure(ctx, runs[i], g)
		if err != nil {
			return "", fmt.Errorf("bench scaling, %v: %w", g, err)
		}
		if p == nil {
			continue // another process leads
		}
		leads = true
		if err := writePoint(filepath.Join(o.Dir, o.file(g)), p); err != nil {
			return "", err
		}
		fmt.Fprintf(progress, "%v: %.1f ms a step, %.0f tokens/s\n", g, p.MedianMS, p.TokensPerSec)
	}
	for _, g := range o.Grids {
		if _, err := os.Stat(filepath.Join(o.Dir, o.file(g))); err != nil || !leads {
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
	if o.World > 0 {
		all := todo
		todo = slices.DeleteFunc(slices.Clone(all), func(g grid.Grid) bool { return g.World() != o.World })
		if len(todo) == 0 {
			return nil, fmt.Errorf("bench scaling: the launcher started %d ranks, and none of the grids %v is of that size", o.World, all)
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
	if run.WorldSize = g.World(); o.World == 0 {
		run.WorldSize, run.LocalRanks = 0, g.World()
		if run.ThreadsPerRank == 0 { // the same for every grid, or the larger ones would have less of a processor
			largest := slices.MaxFunc(o.Grids, func(a, b grid.Grid) int { return a.World() - b.World() })
			run.ThreadsPerRank = max(runtime.GOMAXPROCS(0)/largest.World(), 1)
		}
	}
	return config.Parse("bench scaling", run.Resolved(), nil, nil)
}

// measure is nil in a process none of whose ranks leads.
func (o *ScalingOptions) measure(ctx context.Context, cfg *config.Run, g grid.Grid) (*report.ScalingPoint, error) {
	threads := threadsPerRank(cfg)
	peak, m, err := measureWithPeak(ctx, cfg, threads*cfg.LocalRanks, o.Warmup, o.Steps)
	if err != nil || len(m.Steps) == 0 {
		return nil, err
	}
	s, f := &cfg.Stages[0], flops.PaLM()
	p := &report.ScalingPoint{
		Scaling: o.Kind, Nodes: max(o.Nodes, 1), Ranks: g.World(), TP: g.TP, PP: g.PP, Chunks: max(g.Chunks, 1), DP: g.DP,
		MicroSize: s.Train.MicroBatchSize, BatchSize: s.Train.GlobalBatchSize, SeqLength: s.Train.SeqLength,
		PeakTFLOPs: peak / float64(cfg.LocalRanks) / 1e12,
		Model:      describe(cfg), Parameters: int64(s.Model.ParameterCount()), FLOPsFormula: f.Name,
		Backend: m.Backend, Precision: cfg.Precision.ParamsDType, ThreadsPerRank: threads,
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
	for _, bytes := range m.Peak {
		p.MemoryBytes += int64(bytes)
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
	return out
}

func describe(cfg *config.Run) string {
	m := cfg.Stages[0].Model
	return fmt.Sprintf("%d layers x %d, %d heads, FFN %d", m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.FFNHiddenSize)
}

// oversubscribed tells whether threads of the point's ranks share processors. A launcher may have bound a process to some of them.
func (o *ScalingOptions) oversubscribed(p *report.ScalingPoint) bool {
	if bound := runtime.NumCPU() < processors(); o.World > 0 && bound {
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

// pointFormat marks the files of points among others.
const pointFormat = "cambium scaling point 1"

type pointFile struct {
	Format string `json:"format"`
	*report.ScalingPoint
}

func (o *ScalingOptions) file(g grid.Grid) string {
	return fmt.Sprintf("%s-%04d-tp%d-pp%dx%d-dp%d.json", o.Kind, g.World(), g.TP, g.PP, max(g.Chunks, 1), g.DP)
}

func writePoint(path string, p *report.ScalingPoint) error {
	text, err := json.MarshalIndent(pointFile{pointFormat, p}, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(text, '\n'), 0o644)
}

// Collect reads all points in and below dir and draws a table and figures of each kind of scaling there is (weak-scaling.* and
// strong-scaling.*, report.Scaling) into dir. It returns the tables as text.
func Collect(dir string) (string, error) {
	kinds := map[string][]*report.ScalingPoint{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		p, err := readPoint(path)
		if err != nil || p == nil {
			return err
		}
		if all := kinds[p.Scaling]; len(all) > 0 {
			if q := all[0]; p.Backend != q.Backend || p.Precision != q.Precision || p.FLOPsFormula != q.FLOPsFormula {
				return fmt.Errorf("%s was measured with %s, %s, formula %s, others with %s, %s, %s: they cannot stand in one table, so want a folder for each",
					path, p.Backend, p.Precision, p.FLOPsFormula, q.Backend, q.Precision, q.FLOPsFormula)
			}
		}
		kinds[p.Scaling] = append(kinds[p.Scaling], p)
		return nil
	})
	if err != nil {
		return "", err
	}
	var tables []string
	for _, kind := range []string{report.StrongScaling, report.WeakScaling} {
		if points := kinds[kind]; len(points) > 0 {
			table, err := report.Scaling(dir, kind+"-scaling", points)
			if err != nil {
				return "", err
			}
			tables = append(tables, table)
		}
	}
	if len(tables) == 0 {
		return "", fmt.Errorf("%s: no points of a scaling bench are here: want a folder that cambium bench scaling has written to", dir)
	}
	return strings.Join(tables, "\n"), nil
}

// readPoint is nil for a file of something else.
func readPoint(path string) (*report.ScalingPoint, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := pointFile{ScalingPoint: &report.ScalingPoint{}}
	if json.Unmarshal(text, &f) != nil || f.Format != pointFormat {
		return nil, nil
	}
	p := f.ScalingPoint
	if p.Ranks < 1 || len(p.StepMS) == 0 || !(p.MedianMS > 0) || !(p.TFLOPs > 0) || p.Scaling != report.WeakScaling && p.Scaling != report.StrongScaling {
		return nil, fmt.Errorf("%s: not a whole point: want one as cambium bench scaling writes it", path)
	}
	return p, nil
}
