package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cambium/src/telemetry"
)

// sample writes a run folder: three growth stages over n iterations, losses as a small model has them.
func sample(t testing.TB, n int, finished bool) string {
	dir := filepath.Join(t.TempDir(), "quickstart")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, history(n, finished))
	config := "seed: 1234\nrun_dir: runs/quickstart\nstages:\n  - name: seedling\n    model: {num_layers: 2, hidden_size: 64} # <small>\n"
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t testing.TB, dir string, records []telemetry.Record) {
	m, err := telemetry.CreateMetrics(filepath.Join(dir, MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := m.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func history(n int, finished bool) []telemetry.Record {
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 3, 14, 9, 26, 0, 0, time.UTC)
	names := []string{"seedling", "sapling", "tree"}
	models := []string{"2 layers x 64, 2 heads", "4 layers x 128, 4 heads", "6 layers x 192, 6 heads"}
	grids := []string{"tp1 pp1 dp2", "tp2 pp1 dp1", "tp1 pp2 dp1"}
	parameters := []int64{365_000, 1_330_000, 3_480_000}
	speed := []float64{92_000, 31_000, 13_500}
	var records []telemetry.Record
	flops, clock := 0.0, 0.0
	head := func(it int) telemetry.Header {
		return telemetry.Header{Iteration: it, ConsumedTokens: int64(it) * 8192, Time: start.Add(time.Duration(clock * float64(time.Second)))}
	}
	stage := func(it, s int) {
		records = append(records, &telemetry.Stage{
			Header: head(it), Index: s, Count: 3, Name: names[s], Model: models[s], Parameters: parameters[s], Grid: grids[s],
			Tokens: int64(n) * 8192 / 3, MicroBatches: 4, Recompute: "none", DType: "fp32", Schedule: []string{"", "", "1f1b"}[s], BubbleShare: 0.2 * float64(s/2),
			Memory: []telemetry.Memory{{Label: "activations", Bytes: 3 * parameters[s]}, {Label: "evaluation", Bytes: 4096}, {Label: "optimizer", Bytes: 4 * parameters[s]}, {Label: "weights", Bytes: 4 * parameters[s]}},
		})
	}
	records = append(records, &telemetry.Run{
		Header: head(0), Name: "quickstart", Version: "0.1.0", World: 2, Backend: "cpu avx512, 1 worker",
		Machine: "Intel Xeon, 2 cores, 8 GB", Command: "cambium train --config configs/quickstart.yaml", TrainIters: n, Tokens: int64(n) * 8192,
	})
	stage(0, 0)
	previous := 0
	for i := 1; i <= n; i++ {
		s := min((i-1)*3/n, 2)
		f := float64(i) / float64(n)
		loss := 2.55 + 5.8*math.Exp(-f*34) + 0.95*math.Exp(-f*5) - 0.16*f
		if s != previous {
			records = append(records, &telemetry.Growth{
				Header: head(i - 1), FromStage: previous, ToStage: s, Operator: "zero", FromParameters: parameters[previous],
				ToParameters: parameters[s], LossBefore: loss, LossAfter: loss * (1 + 3.1e-8), Relative: 3.1e-8, Seconds: 0.034,
				BytesMoved: 12 * parameters[previous], BytesLowerBound: 12 * parameters[previous], MoveSeconds: 0.011, FromGrid: grids[previous], ToGrid: grids[s],
				ModelFLOPs: flops,
			})
			stage(i-1, s)
			previous = s
		}
		flops += 6 * float64(parameters[s]) * 8192
		clock += 8192 / speed[s]
		rate := speed[s] * (1 + 0.04*random.NormFloat64())
		it := &telemetry.Iteration{
			Header: head(i), ConsumedSamples: int64(i) * 32, GrowthStage: s, LMLoss: loss + 0.06*random.NormFloat64(),
			LearningRate: 2e-3 * min(f*30, 0.1+0.9*0.5*(1+math.Cos(math.Pi*f))), GradNorm: (0.4 + 2*math.Exp(-f*20)) * math.Exp(0.25*random.NormFloat64()),
			LossScale: 1, GlobalBatchSize: 32, ElapsedMS: 8192 / rate * 1000, TokensPerSec: rate, ModelTFLOPs: rate * 6 * float64(parameters[s]) / 2e12,
			FLOPsFormula: "palm", ModelFLOPs: flops,
		}
		if i == n/2 {
			it.LMLoss, it.GradNorm, it.Skipped = math.NaN(), math.Inf(1), true
		}
		records = append(records, it)
		if i%max(n/12, 1) == 0 {
			records = append(records, &telemetry.Validation{
				Header: head(i), GrowthStage: s, ConsumedSamples: int64(i) * 32, LMLoss: loss + 0.05, BitsPerByte: (loss + 0.05) / math.Ln2 / 3.1, ModelFLOPs: flops,
			})
		}
	}
	if finished {
		records = append(records,
			&telemetry.Checkpoint{Header: head(n), Path: fmt.Sprintf("runs/quickstart/checkpoints/iter_%07d", n), Seconds: 0.21, Bytes: 42e6},
			&telemetry.End{Header: head(n), Reason: "finished", Seconds: clock * 1.07})
	}
	return records
}

// TestSampleReport leaves a report where CAMBIUM_SAMPLE_REPORT says, to be looked at.
func TestSampleReport(t *testing.T) {
	to := os.Getenv("CAMBIUM_SAMPLE_REPORT")
	if to == "" {
		t.Skip("CAMBIUM_SAMPLE_REPORT is not set")
	}
	dir := sample(t, 1500, true)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	scratch := Arm{Name: "from scratch", Parameters: 3_480_000}
	grown := Arm{Name: "grown", Parameters: 3_480_000}
	for seed := range 3 {
		by := 0.03 * float64(seed)
		scratch.Runs = append(scratch.Runs, line(18.4+by, 1.02, 20))
		grown.Runs = append(grown.Runs, line(20-by, 1.14, 20))
	}
	if _, err := Compare(to, "growth", "Growing against training from scratch", []Arm{scratch, grown}); err != nil {
		t.Fatal(err)
	}
}
