package emu

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// built are the folders of the two libraries and the test program, made once.
var built = sync.OnceValues(func() (string, error) {
	if _, err := exec.LookPath("g++"); err != nil {
		return "", nil
	}
	dir, err := os.MkdirTemp("", "cambium-emu")
	if err != nil {
		return "", err
	}
	for _, pattern := range []string{"build.sh", "*.h", "runtime/*", "nccl/*", "testdata/*", "../common/*"} { // go test runs anew when one changes
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if _, err := os.ReadFile(f); err != nil {
				return "", err
			}
		}
	}
	for _, kind := range []string{"fast", "checked"} {
		if err := reuse(filepath.Join("..", "..", "build", "cuda", "emu", kind, kind+".objects"), filepath.Join(dir, kind, kind+".objects")); err != nil {
			return "", err
		}
		if err := run("sh", "build.sh", filepath.Join(dir, kind), kind, "testdata/kernels.cu"); err != nil {
			return "", err
		}
	}
	fast := filepath.Join(dir, "fast")
	if err := run("g++", "-std=c++20", "-O2", "testdata/nccl.cc", "-o", filepath.Join(dir, "nccl"), filepath.Join(fast, "libnccl.so.2"), filepath.Join(fast, "libcuda.so.1")); err != nil {
		return "", err
	}
	return dir, run("g++", "-std=c++20", "-O2", "testdata/main.cc", "-o", filepath.Join(dir, "emu"), filepath.Join(fast, "libcuda.so.1"))
})

// reuse copies what `make emulator` has compiled, but for the kernels, with its time: build.sh compiles anew what is older than its
// sources.
func reuse(from, to string) error {
	files, _ := filepath.Glob(filepath.Join(from, "*.o")) // none: nothing to copy
	if os.Getenv("CAMBIUM_EMU_CXXFLAGS") != "" || len(files) == 0 {
		return nil
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), "kernel-") {
			continue
		}
		if err := run("cp", "-p", f, to); err != nil {
			return err
		}
	}
	return nil
}

func run(command string, args ...string) error {
	out, err := exec.Command(command, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", command, strings.Join(args, " "), err, out)
	}
	return nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := built(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// emulate runs a case of testdata/main.cc with one of the libraries and returns what it printed.
func emulate(t *testing.T, kind, name string, env ...string) string {
	t.Helper()
	return execute(t, "emu", kind, name, env...)
}

func execute(t *testing.T, program, kind, name string, env ...string) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	if dir == "" {
		t.Skip("no g++ on this machine: Debian package g++")
	}
	c := exec.Command("timeout", "600", filepath.Join(dir, program), name)
	c.Env = append(append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(dir, kind)), env...)
	var out bytes.Buffer
	c.Stdout = &out
	c.Run() // a case that finds something exits with 1
	return strings.TrimSpace(out.String())
}

func TestRightKernelsGiveRightNumbers(t *testing.T) {
	for _, kind := range []string{"fast", "checked"} {
		for _, name := range []string{"add", "sums", "tile_bf16", "tile_f16", "votes", "counter", "streams", "graph"} {
			for _, seed := range []string{"0", "1", "2"} {
				if got := emulate(t, kind, name, "CAMBIUM_EMU_SEED="+seed); got != "ok" {
					t.Errorf("%s, %s, seed %s: %s", name, kind, seed, got)
				}
			}
		}
	}
}

// A bug is caught when its report says so; by the fast build some show in the numbers only.
func TestEveryKindOfBugIsCaught(t *testing.T) {
	for _, c := range []struct{ name, fast, checked string }{
		{"bug_missing_barrier", "wrong", "race: write of shared memory"},
		{"bug_overwrite", "wrong", "race: write of shared memory"},
		{"bug_missing_syncwarp", "wrong", "race: write of shared memory"},
		{"bug_missing_copy_wait", "wrong", "race: write of shared memory"},
		{"bug_missing_barrier_matrices", "wrong", "race: read of shared memory"},
		{"bug_blocks_race", "wrong", "race: write of device memory at byte 0 of an allocation of 1024 bytes, which thread 0 of another block has written"},
		{"bug_partial_barrier", "192 threads returned while the others wait in a block barrier (kernels.cu:", ""},
		{"bug_divergent_barrier", "divergent barrier: others of the block wait in kernels.cu:", ""},
		{"bug_partial_shuffle", "__shfl_xor_sync names lanes 00000001, which have returned (kernels.cu:", ""},
		{"bug_deadlock", "deadlock: 256 threads wait for others that never come: thread 0 in __shfl_sync (kernels.cu:", ""},
		{"bug_read_past_end", "wrong", "out of bounds: read of 4 bytes at 0 bytes behind the end of an allocation of 1024 bytes (kernels.cu:"},
		{"bug_write_before_begin", "wrong", "out of bounds: write of 4 bytes at 4 bytes before an allocation of 1024 bytes (kernels.cu:"},
		{"bug_freed", "", "out of bounds: read of 4 bytes at byte 0 of an allocation of 1024 bytes that was freed (kernels.cu:"},
		{"bug_shared_index", "wrong", "out of bounds: index 200 past the end of an array (kernels.cu:"},
		{"bug_dynamic_shared", "wrong", "out of bounds: write of 4 bytes at byte 512 of 512 bytes of dynamic shared memory (kernels.cu:"},
		{"bug_misaligned", "wrong", "misaligned: an access to 0x"},
		{"bug_uninitialised_shared", "wrong: y[128] is -nan", "wrong: y[128] is -nan"},
	} {
		if got := emulate(t, "fast", c.name); !strings.Contains(got, c.fast) || c.fast != "" && got == "ok" {
			t.Errorf("%s: %q, want %q", c.name, got, c.fast)
		}
		want := c.checked
		if want == "" {
			want = c.fast
		}
		got := emulate(t, "checked", c.name)
		if !strings.Contains(got, want) {
			t.Errorf("%s, checked: %q, want %q", c.name, got, want)
		}
		if strings.HasPrefix(want, "wrong") {
			continue // nothing but the numbers shows it
		}
		if kernel := strings.Replace(c.name, "bug_freed", "add", 1); !strings.HasPrefix(got, "kernel "+kernel+", thread (") || !slices.ContainsFunc(marked(t, kernel), func(at string) bool { return strings.Contains(got, at) }) {
			t.Errorf("%s, checked: %q names another kernel or line", c.name, got)
		}
	}
}

// marked are the places of a kernel's bug, as a report has them: lines that end so.
func marked(t *testing.T, kernel string) (places []string) {
	t.Helper()
	source, err := os.ReadFile("testdata/kernels.cu")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for i, line := range strings.Split(string(source), "\n") {
		if strings.Contains(line, "__global__ void ") {
			inside = strings.Contains(line, "__global__ void "+kernel+"(")
		}
		if inside && strings.HasSuffix(line, "  // here") {
			places = append(places, fmt.Sprintf("(kernels.cu:%d)", i+1))
		}
	}
	return places
}

func TestAMissingEventBetweenStreamsShowsWithSomeSeed(t *testing.T) {
	for _, name := range []string{"bug_streams", "bug_graph"} {
		caught := false
		for seed := 1; seed <= 50 && !caught; seed++ { // a load on the machine delays streams too, by chance into the right order
			caught = strings.HasPrefix(emulate(t, "fast", name, fmt.Sprintf("CAMBIUM_EMU_SEED=%d", seed)), "wrong")
		}
		if !caught {
			t.Errorf("%s: fifty seeds gave right numbers all the same", name)
		}
	}
}

func TestAMachineWithoutDevicesSaysSo(t *testing.T) {
	if got := emulate(t, "fast", "add", "CAMBIUM_EMU_DEVICES=0"); got != "error: cuInit(0): 100" {
		t.Errorf("got %q", got)
	}
}

func TestMemoryEnds(t *testing.T) {
	if got := emulate(t, "fast", "add", "CAMBIUM_EMU_MEMORY=1000000"); !strings.HasPrefix(got, "error: cuMemAlloc_v2") || !strings.HasSuffix(got, ": 2") {
		t.Errorf("got %q", got)
	}
}

// Processes reach each other by the stand-in for NCCL, and calls that do not match are named on both sides.
func TestTwoProcessesCommunicate(t *testing.T) {
	for name, want := range map[string]string{
		"right":     "",
		"duplicate": "",
		"count":     "rank 0 has AllReduce of 100 x float32, sum where rank 1 has AllReduce of 99 x float32, sum",
		"type":      "rank 0 has AllReduce of 100 x float32, sum where rank 1 has AllReduce of 100 x int32, sum",
		"op":        "rank 0 has AllReduce of 100 x float32, sum where rank 1 has AllReduce of 100 x float32, max",
		"kind":      "rank 0 has AllReduce of 100 x float32, sum where rank 1 has Broadcast of 100 x float32, root 0",
	} {
		got := execute(t, "nccl", "fast", name, "CAMBIUM_EMU_DEVICES=2", "CAMBIUM_EMU_SEED=1")
		turned := want // by the other rank, when that found it first
		if a, b, found := strings.Cut(want, " where "); found {
			turned = b + " where " + a
		}
		if !strings.HasSuffix(got, "ok") || !strings.Contains(got, want) && !strings.Contains(got, turned) || want != "" && !strings.Contains(got, "mismatched calls") {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
