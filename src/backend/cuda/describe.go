package cuda

// Description is what a driver and its GPUs say of themselves.
type Description struct {
	Driver  string   `json:"driver_cuda"` // the newest CUDA that the driver knows, such as 13.0
	Devices []Device `json:"devices"`     // that CUDA_VISIBLE_DEVICES leaves

	CUBLASLt        string `json:"cublaslt,omitempty"`         // its version, where it is found and works
	CUBLASLtProblem string `json:"cublaslt_problem,omitempty"` // why own kernels do all products
}

// Device is one GPU.
type Device struct {
	Name           string `json:"name"`
	Capability     string `json:"compute_capability"` // such as 9.0
	Multiprocessor int    `json:"multiprocessors"`
	Memory         int64  `json:"memory_bytes"`
	Problem        string `json:"problem,omitempty"` // why Cambium cannot use it
}
