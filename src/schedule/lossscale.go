package schedule

import "fmt"

// LossScaling configures the loss scale of fp16 training. Names and values are Megatron's flags: --loss-scale (0: dynamic),
// --initial-loss-scale, --min-loss-scale, --loss-scale-window, --hysteresis.
type LossScaling struct {
	Static     float64 `yaml:"loss_scale" json:"loss_scale"`
	Initial    float64 `yaml:"initial_loss_scale" json:"initial_loss_scale"`
	Min        float64 `yaml:"min_loss_scale" json:"min_loss_scale"`
	Window     int     `yaml:"loss_scale_window" json:"loss_scale_window"`
	Hysteresis int     `yaml:"hysteresis" json:"hysteresis"`
}

// DefaultLossScaling is Megatron's: from 2^32, doubled after 1000 clean steps, halved from the second overflow on.
func DefaultLossScaling() LossScaling {
	return LossScaling{Initial: 1 << 32, Min: 1, Window: 1000, Hysteresis: 2}
}

// Check tells in one sentence what is impossible.
func (c LossScaling) Check() error {
	switch {
	case c.Static < 0:
		return fmt.Errorf("loss_scale %g: want a positive number, or 0 for a dynamic scale", c.Static)
	case c.Static > 0:
		return nil
	case !(c.Min > 0) || !(c.Initial >= c.Min):
		return fmt.Errorf("initial_loss_scale %g and min_loss_scale %g: want 0 < min_loss_scale <= initial_loss_scale", c.Initial, c.Min)
	case c.Window < 1 || c.Hysteresis < 1:
		return fmt.Errorf("loss_scale_window %d and hysteresis %d: want at least 1 each", c.Window, c.Hysteresis)
	}
	return nil
}

// LossScale is the state of a dynamic loss scale; a checkpoint stores it.
type LossScale struct {
	Scale      float64 `json:"scale"`
	Clean      int     `json:"growth_tracker"`     // steps without overflow since the last one or the last doubling
	Hysteresis int     `json:"hysteresis_tracker"` // overflows that are still needed before the scale halves; may go below 0
}

// Start is the state before the first step.
func (c LossScaling) Start() LossScale {
	if c.Static > 0 {
		return LossScale{Scale: c.Static}
	}
	return LossScale{Scale: c.Initial, Hysteresis: c.Hysteresis}
}

// Next is the state after a step that overflowed or did not. An overflowing step is skipped on every rank. The rule is
// exactly Megatron's (core/optimizer/grad_scaler.py, DynamicGradScaler.update): the hysteresis is refilled only when the
// scale doubles, so after the first tolerated overflow every further one halves until Window clean steps have passed.
func (c LossScaling) Next(s LossScale, overflow bool) LossScale {
	if c.Static > 0 {
		return s
	}
	if overflow {
		s.Clean = 0
		s.Hysteresis--
		if s.Hysteresis <= 0 {
			s.Scale = max(s.Scale*0.5, c.Min)
		}
		return s
	}
	s.Clean++
	if s.Clean == c.Window {
		s.Clean, s.Hysteresis = 0, c.Hysteresis
		s.Scale *= 2
	}
	return s
}
