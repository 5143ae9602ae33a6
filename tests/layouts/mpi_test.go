package layouts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cambium/src/config"
	"cambium/src/telemetry"
	"cambium/src/train"
)

// dozen are the layouts that are tried over MPI: every size of a group, every schedule, sequence parallelism, recomputation.
var dozen = append(some,
	cut{tp: 1, pp: 2, dp: 1, schedule: "interleaved", virtual: 2},
	cut{tp: 2, pp: 1, dp: 2, sequence: true, recompute: "selective"},
	cut{tp: 1, pp: 3, dp: 1, schedule: "1f1b"},
	cut{tp: 1, pp: 8, dp: 1, schedule: "zero-bubble"},
)

// overMPI is the program for ranks of MPI, and how a number of them is started; it skips where there is no MPI.
func overMPI(t *testing.T) func(ranks int, cfg *config.Run) *telemetry.History {
	t.Helper()
	for _, tool := range []string{"mpicc", "mpirun"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here (Debian: apt-get install openmpi-bin libopenmpi-dev)", tool)
		}
	}
	program := filepath.Join(t.TempDir(), "cambium-mpi")
	build := exec.Command("go", "build", "-tags", programTags, "-o", program, "./src/cmd/cambium")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CC=mpicc", "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build -tags %s: %v\n%s", programTags, err, out)
	}
	version, _ := exec.Command("mpirun", "--version").Output() // of MPICH, which has no such flags, it is not "Open MPI"
	var flags []string
	if strings.HasPrefix(string(version), "mpirun (Open MPI)") {
		flags = []string{"--oversubscribe", "--bind-to", "none"}
	}
	return func(ranks int, cfg *config.Run) *telemetry.History {
		t.Helper()
		file := filepath.Join(t.TempDir(), "run.yaml")
		if err := os.WriteFile(file, cfg.Resolved(), 0o644); err != nil {
			t.Fatal(err)
		}
		c := exec.Command("mpirun", append(flags, "-n", fmt.Sprint(ranks), program, "train", "--config", file)...)
		c.Env = append(os.Environ(), "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", "OMPI_MCA_mpi_yield_when_idle=1")
		c.WaitDelay = time.Second
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		h, err := telemetry.ReadHistory(filepath.Join(cfg.RunDir, train.MetricsName))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
}

// Over MPI a layout trains like one rank too, and bit for bit as with ranks as goroutines.
func TestLayoutsOverMPITrainLikeOneRank(t *testing.T) {
	start := overMPI(t)
	cuts := dozen
	if testing.Short() {
		cuts = dozen[3:5]
	}
	alone := map[string]*telemetry.History{}
	for name := range models {
		alone[name] = run(t, configure(t, t.TempDir(), name, "fp32", one))
	}
	names := []string{"gpt2", "llama", "flm"}
	for i, c := range cuts {
		name := names[i%len(names)]
		t.Run(fmt.Sprint(name, " ", c), func(t *testing.T) {
			got := start(c.world(), configure(t, t.TempDir(), name, "fp32", c))
			compare(t, got, alone[name], rounding)
			compare(t, got, run(t, configure(t, t.TempDir(), name, "fp32", c)), bounds{})
		})
	}
}

// A run grows over MPI from grid to grid as it does with goroutines, bit for bit, and is taken up by goroutines half-way.
func TestARunGrowsOverMPIFromGridToGrid(t *testing.T) {
	start := overMPI(t)
	want := run(t, grow(t, t.TempDir(), 8, "fp32", "zero", flmGrids))
	dir := t.TempDir()
	got := start(8, grow(t, dir, 8, "fp32", "zero", flmGrids))
	compare(t, got, want, bounds{})
	sameGrowths(t, got, want)

	dir = t.TempDir()
	start(8, grow(t, dir, 8, "fp32", "zero", flmGrids, "exit.exit_interval=9"))
	compare(t, run(t, grow(t, dir, 8, "fp32", "zero", flmGrids)), want, bounds{})
}
