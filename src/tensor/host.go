package tensor

import "unsafe"

// HostBytes views numbers in host memory as raw bytes, as streams upload and download them. The result aliases v.
func HostBytes[E int32 | uint16 | float32 | float64](v []E) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}
