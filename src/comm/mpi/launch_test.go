//go:build !mpi

package mpi_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// flavour is an MPI that a machine may have: the compiler and the launcher of the same one.
type flavour struct {
	name, cc, run string
	flags         []string
	ranks         []int
}

// MPICH spins without yielding, so that more ranks than cores crawl: it gets two.
func flavours() []flavour {
	return []flavour{
		{"OpenMPI", "mpicc.openmpi", "mpirun.openmpi", []string{"--oversubscribe", "--bind-to", "none"}, []int{2, 3, 4, 8}},
		{"MPICH", "mpicc.mpich", "mpirun.mpich", nil, []int{2}},
	}
}

// build compiles this package's tests with the tag mpi, or skips.
func (f flavour) build(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{f.cc, f.run} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here (Debian: apt-get install openmpi-bin libopenmpi-dev mpich libmpich-dev)", tool)
		}
	}
	// Go does not know that the result depends on files which only the build below reads, unless the test looks at them.
	for _, dir := range []string{".", "..", "../parts", "../conformance", "../../mpi", "../../spin"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			_, _ = os.Stat(filepath.Join(dir, f.Name()))
		}
	}
	program := filepath.Join(t.TempDir(), "ranks.test")
	args := []string{"test", "-c", "-tags", "mpi", "-o", program}
	if raceEnabled {
		args = append(args, "-race")
	}
	c := exec.Command("go", append(args, ".")...)
	c.Env = append(os.Environ(), "CC="+f.cc, "CGO_ENABLED=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go test -c with %s: %v\n%s", f.cc, err, out)
	}
	return program
}

// command starts n ranks.
func (f flavour) command(n int, program string, args ...string) *exec.Cmd {
	c := exec.Command(f.run, append(append(append([]string{}, f.flags...), "-n", fmt.Sprint(n), program), args...)...)
	c.Env = append(os.Environ(), "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", "OMPI_MCA_mpi_yield_when_idle=1")
	c.WaitDelay = time.Second
	return c
}

// TestRanksUnderMPI runs the tests with the tag mpi as ranks of real MPIs.
func TestRanksUnderMPI(t *testing.T) {
	for _, f := range flavours() {
		t.Run(f.name, func(t *testing.T) {
			program := f.build(t)
			for _, n := range f.ranks {
				if testing.Short() && n != 2 && n != 4 {
					continue
				}
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					out, err := f.command(n, program, "-test.timeout=3m", "-test.v=false").CombinedOutput()
					if err != nil {
						t.Errorf("%v\n%s", err, out)
					}
				})
			}
		})
	}
}
