package doctor

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"cambium/src/backend/cuda"
)

func TestWhatAProgramCanDoWithGPUsIsTold(t *testing.T) {
	two := cuda.Description{Driver: "13.0", Devices: []cuda.Device{
		{Name: "NVIDIA H200", Capability: "9.0", Multiprocessor: 132, Memory: 140 << 30},
		{Name: "Tesla V100", Capability: "7.0", Multiprocessor: 80, Memory: 32 << 30, Problem: "cuda: Tesla V100 has compute capability 7.0: Cambium needs 8.0 or later"},
	}}
	for _, c := range []struct {
		name  string
		gpus  func() (cuda.Description, error)
		nccl  error
		libs  map[string]string
		wants []string
	}{
		{"all", func() (cuda.Description, error) { return two, nil }, nil, map[string]string{"/opt/libcublasLt.so.13": ""}, []string{
			"driver    knows CUDA 13.0", "GPU 0     NVIDIA H200, compute capability 9.0, 140 GiB, 132 multiprocessors, 989 TFLOP/s", "GPU 1     Tesla V100", "Cambium needs 8.0",
			"NCCL      found", "cuBLASLt  /opt/libcublasLt.so.13",
		}},
		{"without libraries", func() (cuda.Description, error) { return two, nil }, errors.New("nccl: no NCCL (x): install it"), nil, []string{
			"NCCL      no NCCL (x): install it; until then", "cuBLASLt  not found: own kernels",
		}},
		{"nothing", func() (cuda.Description, error) {
			return cuda.Description{}, errors.New("cuda: no NVIDIA driver on this machine")
		}, nil, nil, []string{
			"this program  no NVIDIA driver on this machine\n",
		}},
	} {
		r := Examine(t.Context(), fake(map[string]string{"LD_LIBRARY_PATH": "/opt"}, nil, c.libs), Options{GPUs: c.gpus, NCCL: func() error { return c.nccl }})
		var b bytes.Buffer
		if err := r.Print(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.wants {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, b.String())
			}
		}
	}
}
