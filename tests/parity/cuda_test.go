//go:build cuda

package parity

import (
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/cuda"
	"cambium/src/comm"
	"cambium/src/comm/staged"
	"cambium/src/tensor"
)

func openDevice(all comm.Communicator) (backend.Backend, comm.Communicator, error) {
	b, err := cuda.Open(0)
	if err != nil {
		return nil, nil, err
	}
	return b, staged.New(all), nil
}

func TestOnDevicesResultsAreThoseOfPyTorch(t *testing.T) {
	if _, err := cuda.Devices(); err != nil {
		t.Skipf("no device: %v", err)
	}
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
		alone(t, spread{dtype: d, device: true})
	}
	shared(t, spread{dtype: tensor.BF16, device: true})
}
