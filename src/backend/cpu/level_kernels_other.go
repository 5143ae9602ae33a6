//go:build !amd64

package cpu

func (l level) kernels() *kernels { return portableKernels }
