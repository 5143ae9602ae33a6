//go:build cuda

package cuda

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// The driver reads its environment once: each case is a process of its own.
const roleVariable = "CAMBIUM_TEST_ROLE"

// TestRole is what those processes do; by itself it does nothing.
func TestRole(t *testing.T) {
	var err error
	switch os.Getenv(roleVariable) {
	case "open":
		_, err = Open(0)
	case "other":
		_, err = Open(5)
	case "large":
		var b backend.Backend
		if b, err = Open(0); err == nil {
			_, err = b.Alloc("weights", 3<<30)
		}
	case "gemms":
		err = gemms()
	case "fault":
		err = outOfBounds()
	default:
		return
	}
	fmt.Printf("said: %v\n", err)
}

// outOfBounds lets a kernel read behind an allocation.
func outOfBounds() error {
	b, err := Open(0)
	if err != nil {
		return err
	}
	m, err := b.Alloc("a", 4096)
	if err != nil {
		return err
	}
	s := b.NewStream("compute")
	lying := *m
	lying.Bytes = 8192
	s.Fill(tensor.New(&lying, 0, tensor.F32, 2048), 1)
	return s.Sync()
}

func TestWhatIsMissingIsToldInOneSentence(t *testing.T) {
	if _, err := Open(0); err != nil || !strings.Contains(os.Getenv("CAMBIUM_CUDA_DRIVER"), "emu") {
		t.Skip("for the emulated driver")
	}
	for _, c := range []struct{ role, env, want string }{
		{"open", "CAMBIUM_CUDA_DRIVER=/nowhere/libcuda.so.1", "no NVIDIA driver on this machine (/nowhere/libcuda.so.1"},
		{"open", "CAMBIUM_EMU_DEVICES=0", "the driver finds no GPU: see nvidia-smi and CUDA_VISIBLE_DEVICES"},
		{"open", "CAMBIUM_EMU_SM=75", "has compute capability 7.5: Cambium needs 8.0 or later"},
		{"open", "CAMBIUM_EMU_DRIVER=12040", "the driver of Cambium CPU emulation of sm_80 knows CUDA 12.4, and the kernels need 13.0: install a newer one, 580 or later"},
		{"other", "CAMBIUM_EMU_DEVICES=2", "device 5 does not exist: this process sees 2"},
		{"large", "CAMBIUM_EMU_MEMORY=1073741824", "3072 MiB for weights on Cambium CPU emulation of sm_80, of whose 1024 MiB 1024 are free (OutOfMemory): a smaller micro_batch_size"},
	} {
		if got := said(t, c.role, c.env); !strings.Contains(got, c.want) || strings.Count(got, "\n") > 0 {
			t.Errorf("%s, %s: %q, want %q", c.role, c.env, got, c.want)
		}
	}
	if strings.Contains(os.Getenv("CAMBIUM_CUDA_DRIVER"), "checked") {
		if got := said(t, "fault", "CAMBIUM_EMU_SEED=0"); !strings.Contains(got, "kernel fill_f32") || !strings.Contains(got, "out of bounds: write of 4 bytes at 0 bytes behind the end of an allocation of 4096 bytes (kernel.cu:") {
			t.Errorf("a fault of a kernel: %q", got)
		}
	}
}

// said is the error that a process of a role prints.
func said(t *testing.T, role, env string) string {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run", "^TestRole$", "-test.v")
	c.Env = append(os.Environ(), roleVariable+"="+role, env)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s, %s: %v\n%s", role, env, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutPrefix(line, "said: "); ok {
			return strings.TrimSpace(text)
		}
	}
	t.Fatalf("%s, %s said nothing:\n%s", role, env, out)
	return ""
}
