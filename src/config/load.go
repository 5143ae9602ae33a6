package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"

	"cambium/src/arch"
	"cambium/src/flops"
	"cambium/src/schedule"
)

// Load reads the description of a run from a file, puts sets (KEY=VALUE) and then settings (flags) over it, and checks
// the whole. An empty path means that everything comes from sets and settings. The error is a Faults unless the file
// cannot be read.
func Load(path string, sets []string, settings []Setting) (*Run, error) {
	if path == "" {
		return build(&node{kind: table, file: "flags"}, sets, settings, newReport())
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file; --config wants a YAML file such as configs/quickstart.yaml", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	return Parse(path, data, sets, settings)
}

// Parse is Load of a file's contents; name stands for the file in faults.
func Parse(name string, data []byte, sets []string, settings []Setting) (*Run, error) {
	r := newReport()
	root := parseFile(name, data, r)
	if err := r.faults.err(); err != nil {
		return nil, err
	}
	return build(root, sets, settings, r)
}

// build makes a Run of a tree: edits, decoding, completion, checks.
func build(root *node, sets []string, settings []Setting, r *report) (*Run, error) {
	settings = checkSettings(root, settings, r)
	applySets(root, sets, r)
	applySettings(root, settings, r)
	root.setPaths("")
	run := defaults()
	checkAlternatives(root.get("data"), r)
	decodeRun(root, run, r)
	stages := mergeStages(root, r)
	for _, s := range stages {
		run.Stages = append(run.Stages, decodeStage(s, r))
	}
	c := checker{run: run, root: root, stages: stages, implicit: root.get("stages") == nil, r: r}
	c.complete()
	c.check()
	if err := r.faults.err(); err != nil {
		return nil, err
	}
	run.Stages[0].Growth = Growth{} // it grows from nothing
	return run, nil
}

// defaults is a run before anything was said. They are GPT-2's options and the optimizer settings of FLM-101B
// (arXiv 2309.03852), which are those of most large models.
func defaults() *Run {
	return &Run{
		Seed: 1234, RunDir: "runs/default", LocalRanks: 1, Backend: BackendCPU, Comm: CommAuto, Gemm: GemmAuto, FLOPsFormula: flops.PaLM().Name,
		Precision:  precisionDefaults(),
		Optimizer:  Optimizer{WeightDecay: 0.1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, ClipGrad: 1},
		Checkpoint: Checkpoint{Compression: CompressionAuto, BeforeGrowth: true, AtEnd: true},
	}
}

func precisionDefaults() Precision {
	l := schedule.DefaultLossScaling()
	return Precision{ParamsDType: FP32, InitialLossScale: l.Initial, MinLossScale: l.Min, LossScaleWindow: l.Window, Hysteresis: l.Hysteresis}
}

func stageDefaults() Stage {
	return Stage{
		Model: arch.Defaults(),
		Train: Train{
			DecayStyle: DecayCosine, WSDDecayStyle: "linear", WSDDecayFraction: 0.2,
			EvalIters: 10, LogInterval: 10,
		},
		Parallel: Parallel{TensorSize: 1, PipelineSize: 1, Recompute: RecomputeNone, OverlapGradReduce: true, OverlapParamGather: true},
		Growth: Growth{
			Operator: OperatorZero, Statistics: StatisticsFolded, RampIters: 100, LayerPlacement: PlacementTop,
			NewLayers: LayersRandom, LRSchedule: ScheduleContinue, RewarmIters: 20, RewarmFrom: 0.1,
		},
	}
}

// decodeRun reads all that is not a stage's.
func decodeRun(root *node, run *Run, r *report) {
	rest := *root
	rest.entries = slices.DeleteFunc(slices.Clone(root.entries), func(e entry) bool {
		return e.key == "stages" || slices.Contains(stageSections, e.key)
	})
	v := reflect.ValueOf(run).Elem()
	fields := fieldsOf(v.Type())
	for _, e := range rest.entries {
		if i, known := fields.index[e.key]; known {
			decode(e.value, v.Field(i), r)
			continue
		}
		r.unknown(root, e, append(slices.Clone(stageSections), fields.names...))
	}
}

// mergeStages lays every stage over what the file says for all of them. A file without stages has one.
func mergeStages(root *node, r *report) []*node {
	shared := &node{kind: table, file: root.file}
	for _, section := range stageSections {
		if n := root.get(section); n != nil {
			shared.entries = append(shared.entries, entry{section, n})
			checkAlternatives(n, r)
		}
	}
	scratch := stageDefaults()
	decode(shared, reflect.ValueOf(&scratch).Elem(), r) // faults in what every stage overrides are faults too
	stages := root.get("stages")
	switch {
	case stages == nil:
		return []*node{shared}
	case stages.kind != list || len(stages.items) == 0:
		r.add(stages, stages.path, "want a list of at least one stage (\"- name: small\"), got %s", stages.describe())
		return nil
	}
	var out []*node
	for i, s := range stages.items {
		if s.kind != table {
			r.add(s, s.path, "want the keys of a stage, got %s", s.describe())
			continue
		}
		for _, section := range stageSections {
			checkAlternatives(s.get(section), r)
		}
		if g := s.get("growth"); g != nil && i == 0 {
			r.add(g, g.path, "the first stage has no model to grow from: it belongs to a later stage, or to the top of the file for all")
		}
		out = append(out, overlay(shared, s))
	}
	return out
}

func decodeStage(n *node, r *report) Stage {
	s := stageDefaults()
	decode(n, reflect.ValueOf(&s).Elem(), r)
	return s
}
