//go:build !cuda

package nccl

import (
	"errors"

	"cambium/src/backend"
	"cambium/src/comm"
)

var errAbsent = errors.New("nccl: this program was built without CUDA: build it with `make cuda`")

// Find needs the build tag cuda.
func Find() error { return errAbsent }

// New needs the build tag cuda.
func New(host comm.Communicator, b backend.Backend) (comm.Communicator, error) { return nil, errAbsent }
