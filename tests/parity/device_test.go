//go:build !cuda

package parity

import (
	"errors"

	"cambium/src/backend"
	"cambium/src/comm"
)

func openDevice(comm.Communicator) (backend.Backend, comm.Communicator, error) {
	return nil, nil, errors.New("this test was built without CUDA")
}
