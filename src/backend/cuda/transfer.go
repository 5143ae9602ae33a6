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

// pinnedBytes is the host memory of a stream through which everything goes: the device cannot reach Go's.
const pinnedBytes = 4 << 20

func (s *stream) Upload(dst tensor.Tensor, src []byte) {
	sameBytes("Upload", dst, len(src))
	s.enqueue(op{name: "upload", work: true, run: func(s *stream) error {
		return eachPiece(dst, src, func(at cu.DevicePtr, host []byte) error {
			if s.pinnedUsed+len(host) > len(s.pinned) { // what it holds may still be on its way
				if err := s.wait(); err != nil {
					return err
				}
			}
			p := s.pinned[s.pinnedUsed : s.pinnedUsed+len(host)]
			s.pinnedUsed += len(host)
			copy(p, host)
			return cu.MemcpyHtoDAsync(at, unsafe.Pointer(&p[0]), int64(len(p)), s.cu)
		})
	}})
}

func (s *stream) Download(dst []byte, src tensor.Tensor) {
	sameBytes("Download", src, len(dst))
	s.enqueue(op{name: "download", run: func(s *stream) error {
		return eachPiece(src, dst, func(at cu.DevicePtr, host []byte) error {
			if s.pinnedUsed+len(host) > len(s.pinned) {
				if err := s.wait(); err != nil {
					return err
				}
			}
			p := s.pinned[s.pinnedUsed : s.pinnedUsed+len(host)]
			s.pinnedUsed += len(host)
			s.landings = append(s.landings, landing{host, p})
			return cu.MemcpyDtoHAsync(unsafe.Pointer(&p[0]), at, int64(len(p)), s.cu)
		})
	}})
}

// landing is a download into pinned memory, which goes on to the host's own when the stream is waited for.
type landing struct{ to, from []byte }

// land ends all downloads. The stream is idle, and its pinned memory free again.
func (s *stream) land() {
	for _, l := range s.landings {
		copy(l.to, l.from)
	}
	s.landings, s.pinnedUsed = s.landings[:0], 0
}

func sameBytes(what string, t tensor.Tensor, bytes int) {
	if t.Bytes() != bytes {
		panic(fmt.Sprintf("cuda: %s: %d bytes on the host for %v", what, bytes, t))
	}
}

// eachPiece calls f for the rows of a tensor and their bytes on the host, all rows at once when no gaps lie between them, and in pieces
// that fit into pinned memory.
func eachPiece(t tensor.Tensor, host []byte, f func(cu.DevicePtr, []byte) error) error {
	if len(host) == 0 {
		return nil
	}
	rows, bytes, ld := t.Rows(), t.Cols()*t.DType().Size(), t.LD()*t.DType().Size()
	if t.Contiguous() {
		rows, bytes = 1, len(host)
	}
	for i := range rows {
		at, row := address(t)+uintptr(i*ld), host[i*bytes:(i+1)*bytes]
		for len(row) > 0 {
			n := min(len(row), pinnedBytes)
			if err := f(cu.DevicePtr(at), row[:n]); err != nil {
				return err
			}
			at, row = at+uintptr(n), row[n:]
		}
	}
	return nil
}
