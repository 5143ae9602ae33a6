package plan

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/config"
	"cambium/src/flops"
	"cambium/src/growth"
	"cambium/src/tensor"
)

// Options say what the configuration does not know: the machine.
type Options struct {
	RanksPerNode int     // 0: 8
	DeviceMemory int64   // bytes of a rank's device; 0: not known, so nothing is judged by it
	DeviceFLOPS  float64 // peak operations a second of a device, and
	MFU          float64 // the share of it that training reaches; without both there are no durations
}

// Plan is what a run would do.
type Plan struct {
	World        int      `json:"world_size"`
	RanksPerNode int      `json:"ranks_per_node"`
	Nodes        int      `json:"nodes"`
	DType        string   `json:"params_dtype"`
	Stages       []Stage  `json:"stages"`
	Growths      []Growth `json:"growths"`
	Tokens       int64    `json:"tokens"`
	FLOPs        float64  `json:"flops"`
	Formula      string   `json:"flops_formula"`
	Days         float64  `json:"days,omitempty"`
	PeakBytes    int64    `json:"peak_bytes"` // of the rank and the moment that need most
	Warnings     []string `json:"warnings"`

	options Options
}

// planner carries what the stages share.
type planner struct {
	run     *config.Run
	options Options
	dtype   tensor.DType
	formula flops.Formula
	plan    *Plan
	before  *state // of the stage before
}

// New plans a run. Its models must be complete: vocabulary sizes filled in.
func New(run *config.Run, o Options) (*Plan, error) {
	if o.RanksPerNode <= 0 {
		o.RanksPerNode = 8
	}
	world := run.World()
	p := &planner{run: run, options: o, formula: run.Formula(), dtype: dtypeOf(run.Precision.ParamsDType)}
	p.plan = &Plan{
		World: world, RanksPerNode: o.RanksPerNode, Nodes: (world + o.RanksPerNode - 1) / o.RanksPerNode,
		DType: run.Precision.ParamsDType, Formula: p.formula.Name, Growths: []Growth{}, Warnings: []string{}, options: o,
	}
	function := run.Stages[0].Model.Function()
	for i := range run.Stages {
		var g *growth.Plan
		if i > 0 {
			var err error
			if g, err = p.planGrowth(i, function); err != nil {
				return nil, fmt.Errorf("stages.%d: %w", i, err)
			}
			function = g.Function
		}
		if err := p.stage(i, function, g); err != nil {
			return nil, fmt.Errorf("stages.%d: %w", i, err)
		}
	}
	p.plan.judge()
	return p.plan, nil
}

// planGrowth is how stage i's model comes from the one before, which computes the given function.
func (p *planner) planGrowth(i int, function arch.Function) (*growth.Plan, error) {
	s := &p.run.Stages[i]
	return growth.NewPlan(p.run.Stages[i-1].Model, function, s.Model, growth.Options{
		Operator: growth.Operator(s.Growth.Operator), Statistics: s.Growth.Statistics,
		LayerPlacement: s.Growth.LayerPlacement, NewLayers: s.Growth.NewLayers,
	})
}

func dtypeOf(name string) tensor.DType {
	switch name {
	case config.BF16:
		return tensor.BF16
	case config.FP16:
		return tensor.F16
	}
	return tensor.F32
}
