package train

import (
	"encoding/json"
	"fmt"

	"cambium/src/config"
	"cambium/src/schedule"
)

// lossScale is the loss scale of a run and its rules. Types other than fp16 have the constant scale 1.
type lossScale struct {
	schedule.LossScale
	rules schedule.LossScaling
}

func (j *job) newLossScale() lossScale {
	rules := schedule.LossScaling{Static: 1}
	if p := j.cfg.Precision; p.ParamsDType == config.FP16 {
		rules = p.LossScaling()
	}
	return lossScale{LossScale: rules.Start(), rules: rules}
}

// next is what the rules make of a step.
func (s *lossScale) next(overflow bool) { s.LossScale = s.rules.Next(s.LossScale, overflow) }

// canFall tells whether overflows still lower the scale: then they are no sign of a run that is lost.
func (s *lossScale) canFall() bool { return s.rules.Static == 0 && s.Scale > s.rules.Min }

// extraLossScale is the key of what a checkpoint keeps of a dynamic loss scale.
const extraLossScale = "loss_scale"

// save adds the state to a checkpoint's extras, where it has one.
func (s *lossScale) save(extra map[string]json.RawMessage) error {
	if s.rules.Static != 0 {
		return nil
	}
	text, err := json.Marshal(s.LossScale)
	extra[extraLossScale] = text
	return err
}

// load is save backwards. A checkpoint without a state (weights that come from elsewhere) leaves the scale at its start.
func (s *lossScale) load(extra map[string]json.RawMessage) error {
	text, ok := extra[extraLossScale]
	if s.rules.Static != 0 || !ok {
		return nil
	}
	var state schedule.LossScale
	if err := json.Unmarshal(text, &state); err != nil || !(state.Scale > 0) {
		return fmt.Errorf("its loss scale cannot be read: %s", text)
	}
	s.LossScale = state
	return nil
}
