package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path"
	"strings"
	"testing"
)

// fake is a machine made of answers.
func fake(vars map[string]string, programs map[string]string, files map[string]string) Env {
	return Env{
		LookupEnv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
		LookPath: func(program string) (string, error) {
			if _, ok := programs[program]; ok {
				return "/bin/" + program, nil
			}
			return "", errors.New("not found")
		},
		Run: func(_ context.Context, program string, args ...string) (string, error) {
			out, ok := programs[path.Base(program)]
			if answer, asked := programs[strings.Join(append([]string{path.Base(program)}, args...), " ")]; asked {
				out, ok = answer, true
			}
			if !ok {
				return "", errors.New("not found")
			}
			return out, nil
		},
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		},
		Glob: func(pattern string) (out []string, err error) {
			for name := range files {
				if ok, _ := path.Match(pattern, name); ok {
					out = append(out, name)
				}
			}
			return out, nil
		},
	}
}

func item(t *testing.T, r Report, name string) Item {
	t.Helper()
	for _, i := range r.Software {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("no item %s", name)
	return Item{}
}

func TestEverythingThatAMachineHasIsFound(t *testing.T) {
	e := fake(map[string]string{"LD_LIBRARY_PATH": "/opt/nccl:"}, map[string]string{
		"go": "go version go1.26\n", "cc": "cc 14\n", "mpicc": "", "mpirun": "mpirun (Open MPI) 5.0.3\n", "nvcc": "nvcc: NVIDIA\nCuda compilation tools, release 12.8\n",
		"srun": "slurm 24.05\n", "ldconfig": "2 libs\n\tlibopenblas.so.0 (libc6,x86-64) => /lib/libopenblas.so.0\n\tlibcuda.so.1 (libc6,x86-64) => /lib/libcuda.so.1\n",
	}, map[string]string{
		"/opt/nccl/libnccl.so.2": "", "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Kernel Module  570.86.15  Thu\n",
		"/proc/driver/nvidia/gpus/0000:18:00.0/information": "Model: \t\t NVIDIA H100\nIRQ: 5\n",
		"/proc/meminfo":             "MemTotal:  1024 kB\nMemAvailable: 512 kB\n",
		"/sys/fs/cgroup/memory.max": "262144\n",
	})
	r := Examine(t.Context(), e, Options{})
	for name, found := range map[string]string{
		"Go": "go version go1.26 at /bin/go", "MPI": "mpirun (Open MPI) 5.0.3, /bin/mpicc, /bin/mpirun, this program is built without MPI", "BLAS": "/lib/libopenblas.so.0", "NCCL": "/opt/nccl/libnccl.so.2",
		"CUDA driver": "NVIDIA H100, 570.86.15, /lib/libcuda.so.1", "CUDA compiler": "Cuda compilation tools, release 12.8 at /bin/nvcc", "Slurm": "slurm 24.05 at /bin/srun",
	} {
		if i := item(t, r, name); i.Found != found || i.State == Missing {
			t.Errorf("%s: %+v, want %q", name, i, found)
		}
	}
	if m := r.Machine; m.MemoryTotal != 1<<20 || m.MemoryFree != 1<<19 || m.MemoryLimit != 1<<18 {
		t.Errorf("memory: %d, %d, %d", m.MemoryTotal, m.MemoryFree, m.MemoryLimit)
	}
}

func TestABareMachineIsToldHowToGetWhatItLacks(t *testing.T) {
	r := Examine(t.Context(), fake(nil, nil, nil), Options{})
	var b bytes.Buffer
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, i := range r.Software {
		if i.Name == "BLAS" {
			continue // nobody needs it
		}
		if i.State != Missing || i.Get == "" || !strings.Contains(b.String(), i.Get) {
			t.Errorf("%+v", i)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestTheClusterOfSlurmIsShown(t *testing.T) {
	programs := map[string]string{
		"srun": "slurm-wlm 22.05.8\n", "srun --mpi=list": "MPI plugin types are...\n\tpmix\n\tnone\n\tpmi2\nspecific pmix plugin versions available: pmix_v4\n",
		"scontrol ping":                    "Slurmctld(primary) at ctl is UP\n",
		"scontrol show config":             "Configuration data as of now\nClusterName             = big\nJobRequeue              = 1\nKillWait                = 30 sec\nPreemptMode = REQUEUE\nSLURM_VERSION           = 22.05.8\n",
		"sinfo -h -o %P|%a|%D|%c|%m|%G|%l": "gpu*|up|24|96|1031000|gpu:h100:8|1-00:00:00\nsmall|up|2|8|16000|(null)|infinite\n",
		"squeue -h -j 77 -o %L":            "58:12\n",
	}
	vars := map[string]string{"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NTASKS": "4"}
	files := map[string]string{"/usr/lib/x86_64-linux-gnu/slurm-wlm/mpi_pmix_v4.so": ""}
	show := func() string {
		t.Helper()
		var b bytes.Buffer
		if err := Examine(t.Context(), fake(vars, programs, files), Options{}).Print(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	text := show()
	for _, want := range []string{
		"big, Slurm 22.05.8", "gpu*: 24 nodes x 96 CPUs, 1031000 MiB, gpu:h100:8, time limit 1-00:00:00, up", "small: 2 nodes x 8 CPUs, 16000 MiB, no GPUs",
		"jobs may go back into the queue; from TERM to KILL 30 sec; preemption REQUEUE", "none pmi2 pmix\n", "libpmix-dev",
		"77: 4 tasks on n[1-2], 58:12 left, restarted 0 times",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	files["/usr/lib/x86_64-linux-gnu/pmix2/lib/libpmix.so"] = ""
	if strings.Contains(show(), "libpmix-dev") {
		t.Error("libpmix.so is here, and it is said to be missing")
	}
	programs["scontrol ping"] = "Slurmctld(primary) at ctl is DOWN\n"
	if text := show(); !strings.Contains(text, "the controller does not answer") || strings.Contains(text, "gpu*") {
		t.Error(text)
	}
	delete(programs, "srun")
	if text := show(); strings.Contains(text, "\nSlurm\n") {
		t.Error(text)
	}
}

func TestTheDiskIsMeasuredAndLeftClean(t *testing.T) {
	dir := t.TempDir()
	if d := measureDisk(dir, 1); d.Err != "" || d.BytesPerSec <= 0 {
		t.Errorf("%+v", d)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if d := measureDisk(dir+"/nowhere", 1); d.Err == "" {
		t.Error("no error for a folder that is not there")
	}
}
