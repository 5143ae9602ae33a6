package cpu

func (l level) kernels() *kernels { return portableKernels }
