package doctor

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"cambium/src/backend/cuda"
	"cambium/src/flops"
)

// CUDA is what this program can do with GPUs.
type CUDA struct {
	cuda.Description
	Problem     string `json:"problem,omitempty"`      // why it can do nothing
	NCCLProblem string `json:"nccl_problem,omitempty"` // why messages do not go by NCCL
}

func examineCUDA(o Options) *CUDA {
	c := &CUDA{}
	var err error
	if c.Description, err = o.GPUs(); err != nil {
		c.Problem = err.Error()
		return c
	}
	if err := o.NCCL(); err != nil {
		c.NCCLProblem = err.Error()
	}
	return c
}

func (c *CUDA) rows() [][2]string {
	if c.Problem != "" {
		return [][2]string{{"this program", strings.TrimPrefix(strings.TrimPrefix(c.Problem, "cuda: "), "this program ")}}
	}
	rows := [][2]string{{"driver", "knows CUDA " + c.Driver}}
	for i, d := range c.Devices {
		text := fmt.Sprintf("%s, compute capability %s, %s, %d multiprocessors", d.Name, d.Capability, humanize.IBytes(uint64(d.Memory)), d.Multiprocessor)
		if s, known := flops.SheetOf(d.Name); known {
			text += fmt.Sprintf(", %.0f TFLOP/s in bf16 (datasheet)", s.BF16/1e12)
		}
		if d.Problem != "" {
			text += ": " + strings.TrimPrefix(d.Problem, "cuda: ")
		}
		rows = append(rows, [2]string{fmt.Sprint("GPU ", i), text})
	}
	nccl := "found"
	if c.NCCLProblem != "" {
		nccl = strings.TrimPrefix(c.NCCLProblem, "nccl: ") + "; until then messages between GPUs go by the hosts' memory"
	}
	blas := "found, " + c.CUBLASLt
	if c.CUBLASLtProblem != "" {
		blas = c.CUBLASLtProblem + "; until then own kernels do all matrix products. It is in the CUDA toolkit (apt-get install libcublas-13-0) and beside PyTorch (pip install nvidia-cublas)"
	}
	return append(rows, [2]string{"NCCL", nccl}, [2]string{"cuBLASLt", blas})
}
