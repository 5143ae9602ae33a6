//go:build cuda

package cuda

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"cambium/src/tensor"
)

// address is the first byte of a tensor on the device, null for an absent one.
func address(t tensor.Tensor) uintptr {
	if !t.Present() {
		return 0
	}
	return t.Memory().Device + uintptr(t.Offset())
}

func (s *stream) Upload(dst tensor.Tensor, src []byte) {
	sameBytes("Upload", dst, len(src))
	s.enqueue(op{name: "upload", run: func(s *stream) error {
		return eachRow(dst, src, func(at cu.DevicePtr, host unsafe.Pointer, n int64) error {
			return cu.MemcpyHtoDAsync(at, host, n, s.cu)
		}, s.wait)
	}})
}

func (s *stream) Download(dst []byte, src tensor.Tensor) {
	sameBytes("Download", src, len(dst))
	s.enqueue(op{name: "download", run: func(s *stream) error {
		return eachRow(src, dst, func(at cu.DevicePtr, host unsafe.Pointer, n int64) error {
			return cu.MemcpyDtoHAsync(host, at, n, s.cu)
		}, s.wait)
	}})
}

func sameBytes(what string, t tensor.Tensor, bytes int) {
	if t.Bytes() != bytes {
		panic(fmt.Sprintf("cuda: %s: %d bytes on the host for %v", what, bytes, t))
	}
}

// eachRow copies the rows of a tensor, all at once when no gaps lie between them, and waits: the host's memory is Go's.
func eachRow(t tensor.Tensor, host []byte, copy func(cu.DevicePtr, unsafe.Pointer, int64) error, wait func() error) error {
	if len(host) == 0 {
		return nil
	}
	rows, bytes, ld := t.Rows(), t.Cols()*t.DType().Size(), t.LD()*t.DType().Size()
	if t.Contiguous() {
		rows, bytes = 1, len(host)
	}
	for i := range rows {
		if err := copy(cu.DevicePtr(address(t)+uintptr(i*ld)), unsafe.Pointer(&host[i*bytes]), int64(bytes)); err != nil {
			return err
		}
	}
	return wait()
}
