package execute

import (
	"cambium/src/backend"
	"cambium/src/pipeline"
	"cambium/src/tensor"
)

// Measure is the memory in bytes that New allocates for messages and for tokens and targets, on one stage of a schedule.
func Measure(s pipeline.Schedule, stage int, shape Shape) (messages, batch int) {
	_, outputs, gradients := pipeline.Messages(s[stage])
	messages = backend.Measure(func(a *backend.Arena) {
		for range outputs + gradients {
			a.Tensor(shape.DType, shape.Rows, shape.Hidden)
		}
	})
	batch = backend.Measure(func(a *backend.Arena) {
		for range s.MicroBatches() {
			if stage == 0 {
				a.Tensor(tensor.I32, shape.Tokens)
			}
			if stage == len(s)-1 {
				a.Tensor(tensor.I32, shape.Tokens)
			}
		}
	})
	return messages, batch
}
