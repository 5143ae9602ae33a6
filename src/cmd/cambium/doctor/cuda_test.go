package doctor

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"cambium/src/backend/cuda"
)

func TestWhatAProgramCanDoWithGPUsIsTold(t *testing.T) {
	two := cuda.Description{Driver: "13.0", CUBLASLt: "13.0.2", Devices: []cuda.Device{
		{Name: "NVIDIA H200", Capability: "9.0", Multiprocessor: 132, Memory: 140 << 30},
		{Name: "Tesla V100", Capability: "7.0", Multiprocessor: 80, Memory: 32 << 30, Problem: "cuda: Tesla V100 has compute capability 7.0: Cambium needs 8.0 or later"},
	}}
	bare := two
	bare.CUBLASLt, bare.CUBLASLtProblem = "", "no cuBLASLt (x)"
	for _, c := range []struct {
		name       string
		gpus       cuda.Description
		err, noLib error
		wants      []string
	}{
		{"all", two, nil, nil, []string{
			"driver    knows CUDA 13.0", "GPU 0     NVIDIA H200, compute capability 9.0, 140 GiB, 132 multiprocessors, 989 TFLOP/s", "GPU 1     Tesla V100", "Cambium needs 8.0",
			"NCCL      found\n", "cuBLASLt  found, 13.0.2\n",
		}},
		{"without libraries", bare, nil, errors.New("nccl: no NCCL (x): install it"), []string{
			"NCCL      no NCCL (x): install it; until then", "cuBLASLt  no cuBLASLt (x); until then own kernels",
		}},
		{"nothing", cuda.Description{}, errors.New("cuda: no NVIDIA driver on this machine"), nil, []string{"this program  no NVIDIA driver on this machine\n"}},
	} {
		o := Options{GPUs: func() (cuda.Description, error) { return c.gpus, c.err }, NCCL: func() error { return c.noLib }}
		var b bytes.Buffer
		if err := Examine(t.Context(), fake(nil, nil, nil), o).Print(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.wants {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, b.String())
			}
		}
	}
}
