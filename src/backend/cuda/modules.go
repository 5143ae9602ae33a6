//go:build cuda

package cuda

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"gorgonia.org/cu"
)

// images are the kernels, compiled for every target by `make cuda`. The folder is never empty, so that a program can be built for the
// emulated driver alone, which has the kernels in itself.
//
//go:embed kernels
var images embed.FS

// loadModules makes every kernel known.
func (b *gpu) loadModules() error {
	files, err := images.ReadDir("kernels")
	if err != nil {
		return err
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".fatbin") {
			continue
		}
		image, err := images.ReadFile(path.Join("kernels", f.Name()))
		if err != nil {
			return err
		}
		m, err := cu.LoadData(string(image))
		if err != nil {
			return b.notLoaded(fmt.Sprintf("kernels %s do not load on %s: this program has no code for this GPU", f.Name(), b.name), err)
		}
		b.modules = append(b.modules, m)
	}
	if len(b.modules) == 0 {
		m, err := cu.LoadData("the emulated driver needs no image")
		if err != nil {
			return b.notLoaded("this program was built without kernels: build it with `make cuda`", err)
		}
		b.modules = append(b.modules, m)
	}
	return nil
}

// minDriver is the CUDA whose compiler makes the kernels (cuda/toolkit.sh), as cuDriverGetVersion has it: an older driver need not know what is in
// them.
const minDriver = 13000

// notLoaded is why kernels do not load: the driver's age, if it is too old, or what else there is.
func (b *gpu) notLoaded(why string, err error) error {
	if v := cu.Version(); v < minDriver {
		return fmt.Errorf("cuda: the driver of %s knows CUDA %s, and the kernels need %s: install a newer one, 580 or later (%w)", b.name, versionText(v), versionText(minDriver), err)
	}
	return fmt.Errorf("cuda: %s (%w)", why, err)
}

// versionText is a version of CUDA as people write it: 13000 is 13.0.
func versionText(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// kernel finds a kernel by name. One that does not exist is a mistake of the program.
func (b *gpu) kernel(name string) *kernel {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.kernels[name]; k != nil {
		return k
	}
	var k *kernel
	err := b.do(func() error {
		for _, m := range b.modules {
			if f, err := m.Function(name); err == nil {
				k = &kernel{name: name, raw: rawFunction(f)}
				k.cluster = clusterWidth(k)
				switch {
				case strings.HasPrefix(name, "gemm_wgmma_"):
					return allowShared(k, wgmmaShared)
				case strings.HasPrefix(name, "gemm_mma_"):
					return allowShared(k, mmaShared)
				case strings.HasPrefix(name, "norm_backward_"):
					return allowShared(k, min(normShared, b.shared))
				case strings.HasPrefix(name, "classifier_held_"):
					return allowShared(k, b.shared)
				case strings.HasPrefix(name, "attention_wgmma_"):
					return allowShared(k, warpgroupShared+64)
				case strings.HasPrefix(name, "attention_flash_"):
					return allowShared(k, flashShared)
				}
				return nil
			}
		}
		return fmt.Errorf("cuda: no kernel %q", name)
	})
	if err != nil {
		panic(err)
	}
	b.kernels[name] = k
	return k
}
