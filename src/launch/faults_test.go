//go:build !mpi

package launch

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type flavour struct {
	name, cc, run string
	flags         []string
	ranks         int
}

func flavours() []flavour {
	return []flavour{
		{"OpenMPI", "mpicc.openmpi", "mpirun.openmpi", []string{"--oversubscribe", "--bind-to", "none"}, 4},
		{"MPICH", "mpicc.mpich", "mpirun.mpich", nil, 2},
	}
}

// build compiles ranks_test.go, or skips.
func (f flavour) build(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{f.cc, f.run} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here (Debian: apt-get install openmpi-bin libopenmpi-dev mpich libmpich-dev)", tool)
		}
	}
	// Go does not know that the result depends on files which only the build below reads, unless the test looks at them.
	for _, dir := range []string{".", "../comm", "../comm/mpi", "../comm/parts", "../mpi", "../rendezvous", "../spin"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			_, _ = os.Stat(filepath.Join(dir, f.Name()))
		}
	}
	program := filepath.Join(t.TempDir(), "ranks")
	c := exec.Command("go", "test", "-c", "-tags", "mpi", "-o", program, ".")
	c.Env = append(os.Environ(), "CC="+f.cc, "CGO_ENABLED=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go test -c with %s: %v\n%s", f.cc, err, out)
	}
	return program
}

// patience is for a job that ends within seconds by itself, on a machine with other work: a job that takes longer hangs.
const patience = 3 * time.Minute

// job runs ranks and gives the lines that they, and not the launcher, wrote to standard error.
func (f flavour) job(t *testing.T, program, fate string, env ...string) (said []string, err error) {
	t.Helper()
	c := exec.Command(f.run, append(append([]string{}, f.flags...), "-n", fmt.Sprint(f.ranks), program)...)
	c.Env = append(os.Environ(), "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", "OMPI_MCA_mpi_yield_when_idle=1", "CAMBIUM_RANKS="+fate)
	c.Env = append(c.Env, env...)
	var out bytes.Buffer
	c.Stderr, c.Stdout, c.WaitDelay = &out, &out, time.Second
	begin := time.Now()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	err = c.Wait()
	if !timer.Stop() {
		t.Errorf("the job did not end within %v", patience)
	}
	for line := range strings.Lines(out.String()) {
		if text, ok := strings.CutPrefix(line, "cambium: "); ok {
			said = append(said, strings.TrimSpace(text))
		}
	}
	if testing.Verbose() {
		t.Logf("%s after %v: %v\n%s", fate, time.Since(begin), err, out.String())
	}
	return said, err
}

// TestJobs starts real jobs with each MPI.
func TestJobs(t *testing.T) {
	for _, f := range flavours() {
		t.Run(f.name, func(t *testing.T) {
			program := f.build(t)
			t.Run("AFailureOfOneRankEndsTheJob", func(t *testing.T) { f.failures(t, program) })
			t.Run("RanksMeet", func(t *testing.T) { f.meet(t, program) })
			t.Run("MistakesOfLaunchingAreRefused", func(t *testing.T) { f.mistakes(t, program) })
		})
	}
}

// failures end the job within seconds, with an exit code other than 0, and the rank's own words last and once.
func (f flavour) failures(t *testing.T, program string) {
	last := f.ranks - 1
	for _, c := range []struct {
		fate  string
		first []string // in the first line
		lines int      // 0: any
	}{
		{"error", []string{fmt.Sprintf("rank %d: the disk is full", last)}, 1},
		{"error in a stream", []string{fmt.Sprintf("rank %d: the disk is full", last)}, 1},
		{"busy", []string{fmt.Sprintf("rank %d: the disk is full", last)}, 1},
		{"panic", []string{fmt.Sprintf("rank %d: panic: out of cheese", last)}, 0},
		{"mismatch", []string{"calls do not match", `makes barrier "`}, 0},
		{"short", []string{"calls do not match", `makes all-reduce "grads"`}, 0},
		{"shorter", []string{"calls do not match", `makes all-reduce "norms"`}, 0},
		{"much shorter", []string{"calls do not match", `makes all-reduce "grads"`}, 0},
		{"another order", []string{"calls do not match", ` "norms"`}, 0},
		{"ended early", []string{fmt.Sprintf("rank %d ended, but rank ", last), `waits for it in barrier "step"`}, 0},
		{"killed", nil, 0},
		{"killed before a sum", nil, 0},
	} {
		t.Run(c.fate, func(t *testing.T) {
			said, err := f.job(t, program, c.fate)
			if err == nil {
				t.Error("ended well")
			}
			if c.first == nil {
				return
			}
			if len(said) == 0 || c.lines > 0 && len(said) != c.lines {
				t.Fatalf("the ranks say %q", said)
			}
			for _, want := range c.first {
				if !strings.Contains(said[0], want) {
					t.Errorf("the ranks say %q, want %q", said, want)
				}
			}
		})
	}
}

func (f flavour) meet(t *testing.T, program string) {
	if said, err := f.job(t, program, "fine"); err != nil || len(said) > 0 {
		t.Errorf("%v: %q", err, said)
	}
	said, err := f.job(t, program, "pending", "CAMBIUM_SAID="+filepath.Join(t.TempDir(), "said"))
	want := fmt.Sprintf(`for rank %d in barrier "late" since `, f.ranks-1)
	if err != nil || len(said) != 1 || !strings.Contains(said[0], "rank 0 waits") || !strings.Contains(said[0], want) {
		t.Errorf("%v: %q, want %q", err, said, want)
	}
}

// mistakes are the mpirun of another MPI, and a size that somebody else says.
func (f flavour) mistakes(t *testing.T, program string) {
	other := flavours()[0]
	if other.name == f.name {
		other = flavours()[1]
	}
	if _, err := exec.LookPath(other.run); err == nil {
		said, err := other.job(t, program, "fine")
		if err == nil || len(said) == 0 || !strings.Contains(said[0], "sees one rank, so each would train alone") {
			t.Errorf("started by the other MPI: %v, %q", err, said)
		}
	}
	said, err := f.job(t, program, "fine", "RANK=0", "WORLD_SIZE=64")
	if err == nil || len(said) == 0 || !strings.Contains(said[0], fmt.Sprintf("torchrun says 64 ranks, but MPI started %d", f.ranks)) {
		t.Errorf("another size: %v, %q", err, said)
	}
}

// TestABuildWithoutMPIRefusesToTrainAlone is this build, as a launcher would start it.
func TestABuildWithoutMPIRefusesToTrainAlone(t *testing.T) {
	w, err := Open(Options{LocalRanks: 2})
	if err != nil || w.Size() != 2 {
		t.Fatalf("alone: %v", err)
	}
	t.Setenv("OMPI_COMM_WORLD_RANK", "1")
	t.Setenv("OMPI_COMM_WORLD_SIZE", "4")
	if _, err := Open(Options{}); err == nil || !strings.Contains(err.Error(), "has no MPI") {
		t.Errorf("among four: %v", err)
	}
}
