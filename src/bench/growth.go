package bench

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"cambium/src/config"
	"cambium/src/report"
	"cambium/src/telemetry"
	"cambium/src/train"
)

// Variant is one way to spend the operations of a growth run.
type Variant struct {
	Name   string
	Config config.Run
}

// Variants are the growth run of cfg itself, its last model trained from scratch, and every smaller one alone, all with
// the same number of operations (by the run's formula). A model trained alone takes the settings of the stage that it comes
// from, the warm-up of the first stage, and the run's learning-rate curve stretched over its own length; where that
// curve ends in WSD's decay, the decay takes the same share of the operations, which in the growth run are spent late.
func Variants(cfg *config.Run) []Variant {
	f, budget := cfg.Formula(), 0.0
	for i := range cfg.Stages {
		s := &cfg.Stages[i]
		budget += float64(s.Tokens()) * f.PerToken(s.Model, s.Train.SeqLength)
	}
	out := []Variant{{Name: "grown", Config: *cfg}}
	last := len(cfg.Stages) - 1
	for i := last; i >= 0; i-- {
		name := cfg.Stages[i].Name + " alone"
		if i == last {
			name = cfg.Stages[i].Name + " from scratch"
		}
		out = append(out, Variant{Name: name, Config: alone(cfg, i, budget/f.PerToken(cfg.Stages[i].Model, cfg.Stages[i].Train.SeqLength))})
	}
	return out
}

// alone is the run of one stage's model over so many tokens.
func alone(cfg *config.Run, stage int, tokens float64) config.Run {
	run, s, first := *cfg, cfg.Stages[stage], cfg.Stages[0].Train
	curve := s.Train
	if s.Growth.LRSchedule == config.ScheduleContinue && stage > 0 {
		curve = first // the curve of the run goes on through the stage
		curve.LR = s.Train.LR
	}
	t := &s.Train
	t.TrainIters, t.TrainSamples, t.TrainTokens = 0, 0, config.Count(tokens)
	t.LR, t.MinLR, t.DecayStyle, t.WSDDecayStyle, t.WSDDecayFraction = curve.LR, curve.MinLR, curve.DecayStyle, curve.WSDDecayStyle, curve.WSDDecayFraction
	if curve.DecayStyle == config.DecayWSD && oneCurve(cfg) {
		t.WSDDecayFraction = decayShare(cfg)
	}
	t.DecayIters = 0
	t.WarmupIters, t.WarmupSamples, t.WarmupFraction, t.WarmupInit = first.WarmupIters, first.WarmupSamples, first.WarmupFraction, first.WarmupInit
	s.Growth = cfg.Stages[0].Growth
	run.Stages = []config.Stage{s}
	return run
}

// oneCurve tells whether the first stage's learning-rate curve goes on to the end of the run.
func oneCurve(cfg *config.Run) bool {
	for i := range cfg.Stages[1:] {
		if cfg.Stages[1+i].Growth.LRSchedule != config.ScheduleContinue {
			return false
		}
	}
	return true
}

// decayShare is the share of all operations that lie in the last WSDDecayFraction of all tokens.
func decayShare(cfg *config.Run) float64 {
	f, tokens := cfg.Formula(), 0.0
	for i := range cfg.Stages {
		tokens += float64(cfg.Stages[i].Tokens())
	}
	level := tokens * (1 - cfg.Stages[0].Train.WSDDecayFraction) // tokens before the decay
	all, decay := 0.0, 0.0
	for i := range cfg.Stages {
		s := &cfg.Stages[i]
		n, each := float64(s.Tokens()), f.PerToken(s.Model, s.Train.SeqLength)
		all += n * each
		decay += (n - min(max(level, 0), n)) * each
		level -= n
	}
	return decay / all
}

// Runs are the folders of the runs of one variant, one a seed.
type Runs struct {
	Name    string
	Folders []string
}

// Growth trains every variant with every seed, each in a folder of its own below dir, and returns the folders. A run that
// is finished already is not repeated; one that was interrupted goes on. Progress is one line a run.
func Growth(ctx context.Context, cfg *config.Run, version, dir string, seeds []uint64, progress io.Writer) ([]Runs, error) {
	variants := Variants(cfg)
	out := make([]Runs, len(variants))
	for _, seed := range seeds { // seed by seed, so that an interrupted bench has whole comparisons
		for i, v := range variants {
			run := v.Config
			run.Seed = seed
			run.RunDir = filepath.Join(dir, fmt.Sprintf("%02d-%s-seed%d", i, slug(v.Name), seed))
			s, err := train.Run(ctx, &run, train.Options{Version: version})
			if err != nil {
				return nil, fmt.Errorf("%s, seed %d: %w", v.Name, seed, err)
			}
			out[i].Name = v.Name
			out[i].Folders = append(out[i].Folders, run.RunDir)
			if x := s.Stages; len(x) > 0 {
				fmt.Fprintf(progress, "%s, seed %d: validation %.4f after %v\n", v.Name, seed, x[len(x)-1].Validation, s.Took.Round(1e9))
			}
		}
	}
	return out, nil
}

// Compare draws the loss of all runs over operations, as NAME.html, NAME.png and NAME.md in dir, and returns the table.
func Compare(dir, name string, runs []Runs) (markdown string, err error) {
	var arms []report.Arm
	for _, r := range runs {
		a := report.Arm{Name: r.Name}
		for _, folder := range r.Folders {
			h, err := telemetry.ReadHistory(filepath.Join(folder, train.MetricsName))
			if err != nil {
				return "", err
			}
			if n := len(h.Stages); n > 0 {
				a.Parameters = h.Stages[n-1].Parameters
			}
			a.Runs = append(a.Runs, h)
		}
		arms = append(arms, a)
	}
	return report.Compare(dir, name, "Growth at equal FLOPs", arms)
}

// slug makes a folder name of a variant's.
func slug(name string) string {
	b := []byte(name)
	for i, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') {
			b[i] = '-'
		}
	}
	return string(b)
}
