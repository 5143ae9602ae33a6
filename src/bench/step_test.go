package bench

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cambium/src/backend"
	"cambium/src/config"
	"cambium/src/train"
)

// smallStep is a step that takes milliseconds, of one rank.
func smallStep(t *testing.T, sets ...string) *config.Run {
	t.Helper()
	sets = append([]string{"data.mock=true", "tokenizer.type=none", "local_ranks=1", "threads_per_rank=1", "model.num_layers=1", "model.hidden_size=64",
		"model.num_attention_heads=1", "model.vocab_size=128", "model.max_position_embeddings=32", "train.seq_length=32", "train.micro_batch_size=1", "train.global_batch_size=2"}, sets...)
	cfg, err := config.Load(filepath.Join("..", "..", "configs", "gpt-30m.yaml"), sets, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestAStepIsComparedWithWhatItsDeviceCanDo(t *testing.T) {
	r, err := Step(context.Background(), smallStep(t), nil, "test", train.MeasureOptions{Warmup: 1, Steps: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.StepMS) != 3 || r.Tokens != 64 || !(r.TokensPerSec > 0) || math.IsNaN(r.Loss) || r.PeakOf != "fused multiply-adds in registers" ||
		math.Abs(r.PeakShare-r.GFLOPs/r.PeakGFLOPs) > 2e-3 || r.MFU != 0 || r.Profile != nil {
		t.Errorf("%+v", r)
	}
}

func TestOnlyABackendThatTimesItsKernelsIsProfiled(t *testing.T) {
	_, err := Step(context.Background(), smallStep(t), nil, "test", train.MeasureOptions{Steps: 1, Profile: true})
	if err == nil || !strings.Contains(err.Error(), "does not time its kernels") {
		t.Errorf("the processor's backend: %v", err)
	}
}

func TestAProfileSumsWhatKernelsTook(t *testing.T) {
	p := newStepProfile(&train.Measurement{Profiled: 10 * time.Millisecond, Kernels: []backend.KernelTime{
		{Stream: "compute", Operation: "gemm", Kernel: "mma", Grid: [3]uint32{2, 1, 1}, Count: 2, Total: 4 * time.Millisecond},
		{Stream: "compute", Operation: "fill", Kernel: "fill", Grid: [3]uint32{1, 1, 1}, Count: 1, Total: 3 * time.Millisecond},
		{Stream: "compute", Operation: "fill", Kernel: "fill", Grid: [3]uint32{8, 1, 1}, Count: 1, Total: 2 * time.Millisecond},
		{Stream: "compute", Operation: "upload", Count: 1, Total: time.Millisecond},
	}})
	if p.StepMS != 10 || p.SumMS != 10 {
		t.Errorf("%+v", p)
	}
	var b bytes.Buffer
	if err := p.Print(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	for i, want := range map[int]string{3: "5.000 50.0 % 2 2500.0 fill, fill", 4: "4.000 40.0 % 2 2000.0 gemm, mma", 5: "1.000 10.0 % 1 1000.0 upload", 8: "4.000 40.0 % 2 2000.0 gemm, mma, 2 x 1 x 1, compute"} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d: %q, want %q in\n%s", i, got, want, b.String())
		}
	}
}
