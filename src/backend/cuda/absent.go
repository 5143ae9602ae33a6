//go:build !cuda

package cuda

import (
	"errors"

	"cambium/src/backend"
)

// Open needs the build tag cuda.
func Open(device int) (backend.Backend, error) {
	return nil, errors.New("cuda: this program was built without CUDA: build it with `make cuda`")
}
