package doctor

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"

	"cambium/src/backend/cuda"
	"cambium/src/rendezvous"
)

// Options of Examine.
type Options struct {
	Dir     string // whose disk is timed
	MPI     string // that the program was built with; "" without one
	DiskMiB int    // 0: not timed

	GPUs func() (cuda.Description, error) // of this program; nil: not asked
	NCCL func() error                     // whether this program can load it
}

// Examine looks at everything.
func Examine(ctx context.Context, e Env, o Options) Report {
	r := Report{Machine: examineMachine(e), Software: examineSoftware(ctx, e, o.MPI), Slurm: e.slurm(ctx), Ranks: rendezvous.Find(e.LookupEnv, rendezvous.Given{})}
	if err := r.Ranks.CheckAlone(); err != nil && o.MPI == "" {
		r.Mistake = err.Error()
	}
	if o.GPUs != nil {
		r.CUDA = examineCUDA(o)
	}
	if o.DiskMiB > 0 {
		r.Disk = measureDisk(o.Dir, o.DiskMiB)
	}
	return r
}

func examineSoftware(ctx context.Context, e Env, built string) []Item {
	libs := e.libraries(ctx)
	return []Item{
		e.program(ctx, Item{Name: "Go", Use: "builds Cambium", Get: "https://go.dev/dl, or make setup"}, "", "go", "version"),
		e.program(ctx, Item{Name: "C compiler", Use: "builds with MPI or CUDA, and the race detector; else not needed", Get: "apt-get install gcc libc6-dev"}, "", "cc", "--version"),
		library(libs, Item{Name: "BLAS", State: Info, Use: "not used: Cambium has its own GEMM; for comparisons", Get: ""}, "libopenblas.so", "libmkl_rt.so", "libblis.so", "libblas.so"),
		e.mpi(ctx, built),
		e.driver(libs),
		e.program(ctx, Item{Name: "CUDA compiler", Use: "compiles the CUDA kernels", Get: "apt-get install nvidia-cuda-toolkit"}, "release", "nvcc", "--version"),
		library(libs, Item{Name: "NCCL", Use: "collectives between GPUs", Get: "apt-get install libnccl2 (NVIDIA's package source)"}, "libnccl.so"),
		e.program(ctx, Item{Name: "Slurm", Use: "runs jobs on a cluster", Get: "slurm/lab/lab.sh install, for a cluster of virtual nodes to try jobs on"}, "", "srun", "--version"),
		e.program(ctx, Item{Name: "qemu-aarch64", Use: "runs the tests of the portable kernels as arm64", Get: "apt-get install qemu-user"}, "", "qemu-aarch64", "--version"),
	}
}

// program completes an item by what a program says of itself.
func (e Env) program(ctx context.Context, i Item, word, name string, args ...string) Item {
	path, err := e.LookPath(name)
	if err != nil {
		i.State = Missing
		return i
	}
	i.State = OK
	i.Found = strings.Join(nonEmpty(e.firstLine(ctx, word, path, args...), path), " at ")
	return i
}

// mpi looks for the compiler wrapper, which building needs, and for what starts ranks. Debian has each under the name of its
// MPI too. built is the MPI of this program.
func (e Env) mpi(ctx context.Context, built string) Item {
	i := Item{Name: "MPI", Use: "ranks on several machines (make mpi)", Get: "apt-get install libopenmpi-dev openmpi-bin"}
	first := func(names ...string) string {
		for _, n := range names {
			if path, err := e.LookPath(n); err == nil {
				return path
			}
		}
		return ""
	}
	wrapper := first("mpicc", "mpicc.openmpi", "mpicc.mpich")
	runner := first("mpirun", "mpirun.openmpi", "mpirun.mpich")
	version := ""
	if runner != "" {
		version = e.firstLine(ctx, "", runner, "--version")
	}
	if built == "" {
		built = "this program is built without MPI"
	} else {
		built = "this program is built with " + built
	}
	i.State, i.Found = OK, strings.Join(nonEmpty(version, wrapper, runner, built), ", ")
	switch {
	case wrapper == "" && runner == "":
		i.State, i.Found = Missing, ""
	case wrapper == "":
		i.State = Missing
		i.Found += "; without mpicc, which building needs"
	}
	return i
}

var driverVersion = regexp.MustCompile(`\b\d{3,}\.\d+(\.\d+)?\b`)

func (e Env) driver(libs map[string]string) Item {
	i := Item{Name: "CUDA driver", Use: "GPUs (build tag cuda)", Get: "apt-get install nvidia-driver-580, or your site's driver"}
	path, found := libs["libcuda.so"]
	gpus, _ := e.Glob("/proc/driver/nvidia/gpus/*/information")
	if !found {
		i.State = Missing
		return i
	}
	i.State = OK
	var models []string
	for _, g := range gpus {
		for line := range strings.Lines(e.text(g)) {
			if model, ok := strings.CutPrefix(line, "Model:"); ok {
				models = append(models, strings.TrimSpace(model))
			}
		}
	}
	version := driverVersion.FindString(e.text("/proc/driver/nvidia/version"))
	i.Found = strings.Join(nonEmpty(strings.Join(models, " + "), version, path), ", ")
	if len(gpus) == 0 {
		i.Found += ", no GPU"
	}
	return i
}

// library completes an item by the first of the libraries that the loader knows.
func library(libs map[string]string, i Item, names ...string) Item {
	for _, n := range names {
		if path, ok := libs[n]; ok {
			i.Found = path
			if i.State == "" {
				i.State = OK
			}
			return i
		}
	}
	if i.State == "" {
		i.State = Missing
	}
	return i
}

var libraryName = regexp.MustCompile(`^lib[a-zA-Z_]+\.so`)

// libraries lists shared libraries by name without version: those on LD_LIBRARY_PATH first, then the loader's cache.
func (e Env) libraries(ctx context.Context) map[string]string {
	out := map[string]string{}
	add := func(path string) {
		name := libraryName.FindString(filepath.Base(path))
		if _, known := out[name]; name != "" && !known {
			out[name] = path
		}
	}
	dirs, _ := e.LookupEnv("LD_LIBRARY_PATH")
	for _, dir := range strings.Split(dirs, ":") {
		if dir == "" {
			continue
		}
		files, _ := e.Glob(filepath.Join(dir, "lib*.so*"))
		for _, f := range files {
			add(f)
		}
	}
	ldconfig := "/sbin/ldconfig"
	if path, err := e.LookPath("ldconfig"); err == nil {
		ldconfig = path
	}
	cache, _ := e.Run(ctx, ldconfig, "-p")
	for line := range strings.Lines(cache) {
		if _, path, ok := strings.Cut(line, "=> "); ok {
			add(strings.TrimSpace(path))
		}
	}
	for _, pattern := range []string{"/usr/lib/*-linux-gnu/lib*.so.*", "/usr/local/cuda/lib64/lib*.so.*", "/opt/intel/oneapi/mkl/latest/lib/lib*.so*"} {
		files, _ := e.Glob(pattern)
		for _, f := range files {
			add(f)
		}
	}
	return out
}
