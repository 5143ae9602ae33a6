//go:build !cuda

package cuda

import (
	"errors"

	"cambium/src/backend"
)

var errAbsent = errors.New("cuda: this program was built without CUDA: build it with `make cuda`")

// Devices needs the build tag cuda.
func Devices() (int, error) { return 0, errAbsent }

// Describe needs the build tag cuda.
func Describe() (Description, error) { return Description{}, errAbsent }

// Open needs the build tag cuda.
func Open(device int) (backend.Backend, error) { return nil, errAbsent }
