package cpu

// portableKernels is a constant table.
var portableKernels = genericKernels()

// kernels are the inner loops for this worker's instruction set.
func (w *worker) kernels() *kernels { return w.level.kernels() }
