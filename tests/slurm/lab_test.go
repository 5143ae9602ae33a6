package slurm

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// repository is the root of the sources, program the binary under test, scratch a folder that every node sees.
var repository, program, scratch string

// unable is why nothing can be tested here.
var unable string

func TestMain(m *testing.M) {
	code, err := withLab(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withLab(m *testing.M) (code int, err error) {
	flag.Parse()
	if unable = missing(); testing.Short() {
		unable = "-short"
	}
	if unable != "" {
		return m.Run(), nil
	}
	if repository, err = filepath.Abs("../.."); err != nil {
		return 1, err
	}
	if scratch, err = os.MkdirTemp("/tmp", "cambium-slurm-"); err != nil { // sockets want a short path
		return 1, err
	}
	defer os.RemoveAll(scratch)
	if err := os.Chmod(scratch, 0o755); err != nil {
		return 1, err
	}
	if err := watch("src", "slurm"); err != nil {
		return 1, err
	}
	program = filepath.Join(scratch, "cambium-mpi")
	build := exec.Command("go", "build", "-tags", "mpi", "-o", program, "./src/cmd/cambium")
	build.Dir, build.Env = repository, append(os.Environ(), "CC=mpicc.openmpi", "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build -tags mpi: %w\n%s", err, out)
	}
	lab := filepath.Join(scratch, "lab")
	if err := script("start", lab); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, script("stop", lab), gone(lab)) }()
	if err := os.Setenv("SLURM_CONF", filepath.Join(lab, "slurm.conf")); err != nil {
		return 1, err
	}
	if err := script("start", lab); err != nil { // a lab that is up already stays as it is
		return 1, err
	}
	return m.Run(), nil
}

// gone wants nothing left of a lab that was stopped but its logs: no process, no other file.
func gone(lab string) error {
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, path := range all {
		env, err := os.ReadFile(path)
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if vars := "\x00" + string(env); err == nil && strings.Contains(vars, "\x00SLURM_CONF="+lab+"/") && filepath.Dir(path) != fmt.Sprintf("/proc/%d", os.Getpid()) {
			return fmt.Errorf("left over from the lab: %s, %q", filepath.Dir(path), command)
		}
	}
	files, err := os.ReadDir(lab)
	if err != nil || len(files) != 1 || files[0].Name() != "log" {
		return fmt.Errorf("left over in %s: %v, %v", lab, files, err)
	}
	return nil
}

// watch looks at every file of the folders, because go test repeats what it remembers of a test while the files that the test
// itself looked at are the same: it does not know what the compiler and Slurm read.
func watch(folders ...string) error {
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(repository, folder), func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func script(args ...string) error {
	c := exec.Command(filepath.Join(repository, "slurm", "lab", "lab.sh"), args...)
	c.Env = append(os.Environ(), "NODES=6", "CPUS=2", "GPUS=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("lab.sh %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// missing names what is not installed.
func missing() string {
	var names []string
	for _, name := range []string{"slurmctld", "slurmd", "munged", "sbatch", "srun", "mpicc.openmpi"} {
		_, err := exec.LookPath(name)
		if _, sbin := exec.LookPath(filepath.Join("/usr/sbin", name)); err != nil && sbin != nil {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return "not installed: " + strings.Join(names, ", ") + " (slurm/lab/lab.sh install)"
	}
	if found, err := filepath.Glob("/usr/lib/*/pmix2/lib/libpmix.so"); err != nil || len(found) == 0 {
		return "not installed: libpmix.so (slurm/lab/lab.sh install)"
	}
	return ""
}

// patience bounds every wait, of which the longest is for the signal before a time limit.
const patience = 180 * time.Second

// until waits for something.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("never %s", what)
		}
	}
}
