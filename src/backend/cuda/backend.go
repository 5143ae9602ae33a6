//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"gorgonia.org/cu"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// minCapability is the oldest GPU whose tensor cores and asynchronous copies the kernels use: Ampere, sm_80.
const minCapability = 80

// Devices is the number of GPUs that this process sees, at least one.
func Devices() (int, error) {
	if err := initialize(); err != nil {
		return 0, err
	}
	n, err := cu.NumDevices()
	if err != nil {
		return 0, fmt.Errorf("cuda: number of devices: %w", err)
	}
	return n, nil
}

// Open makes the backend of one GPU, by its number among those that CUDA_VISIBLE_DEVICES leaves. It takes the device's
// primary context, as libraries do, and loads the kernels.
func Open(device int) (backend.Backend, error) {
	n, err := Devices()
	if err != nil {
		return nil, err
	}
	if device < 0 || device >= n {
		return nil, fmt.Errorf("cuda: device %d does not exist: this process sees %d", device, n)
	}
	b := &gpu{emulated: emulated(), graphs: graphsWanted(), kernels: map[string]*kernel{}, chosen: map[gemmKey]string{}, usage: backend.Usage{ByLabel: map[string]int{}, PeakByLabel: map[string]int{}}}
	if !b.emulated { // whose times say nothing
		b.tuning = tuning{rounds: 5, batch: 8}
	}
	if err := b.SetGemmMode(os.Getenv(gemmVariable)); err != nil {
		return nil, err
	}
	if b.device, err = cu.GetDevice(device); err != nil {
		return nil, fmt.Errorf("cuda: device %d: %w", device, err)
	}
	if err := b.inspect(); err != nil {
		return nil, err
	}
	if b.context, err = b.device.RetainPrimaryCtx(); err != nil {
		return nil, fmt.Errorf("cuda: context of device %d: %w", device, err)
	}
	err = b.do(b.loadModules)
	if err != nil {
		return nil, errors.Join(err, b.device.ReleasePrimaryCtx())
	}
	return b, nil
}

// gpu is one device as one rank sees it.
type gpu struct {
	device  cu.Device
	context cu.CUContext
	name    string
	units   int // streaming multiprocessors
	shared  int // bytes of shared memory that a block may have at most, less what kernels declare themselves
	// capability is 10 x major + minor; wgmmaAlways takes the sm_90a kernels for small products too, for tests.
	capability  int
	wgmmaAlways bool
	maps        tensorMaps
	modules     []cu.Module

	emulated   bool // by cuda/emu
	mode       atomic.Uint32
	tuning     tuning // of GEMMs
	blasOnce   sync.Once
	blas       *blas // nil: none
	blasAbsent error // why

	mu      sync.Mutex
	kernels map[string]*kernel
	streams []*stream
	watches []func() error // see Watch
	usage   backend.Usage
	chosen  map[gemmKey]string // who does GEMMs: see gemmchoice.go
	choices []string           // of them, made by time: for people

	holes  sync.Map // of types of arguments, []int: see put
	graphs bool     // runs of operations become CUDA graphs
	counts graphCounts

	profile atomic.Pointer[profile] // while a step is profiled
}

// inspect refuses devices that the kernels cannot run on.
func (b *gpu) inspect() (err error) {
	if b.name, err = b.device.Name(); err != nil {
		return fmt.Errorf("cuda: name of device %d: %w", b.device, err)
	}
	major, minor, err := b.device.ComputeCapability()
	if err != nil {
		return fmt.Errorf("cuda: compute capability of %s: %w", b.name, err)
	}
	if b.capability = 10*major + minor; b.capability < minCapability {
		return fmt.Errorf("cuda: %s has compute capability %d.%d: Cambium needs 8.0 or later (A100, RTX 30 and newer)", b.name, major, minor)
	}
	if b.units, err = b.device.Attribute(cu.MultiprocessorCount); err != nil {
		return fmt.Errorf("cuda: multiprocessors of %s: %w", b.name, err)
	}
	if b.shared, err = b.device.Attribute(maxSharedOptin); err != nil {
		return fmt.Errorf("cuda: shared memory of %s: %w", b.name, err)
	}
	b.shared -= declaredShared
	return nil
}

// maxSharedOptin is CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, which gorgonia.org/cu has no name for, and declaredShared the
// most that a kernel with a large dynamic part declares beside it.
const (
	maxSharedOptin = cu.DeviceAttribute(97)
	declaredShared = 1 << 10
)

// do runs f on an OS thread on which the device's context is current.
func (b *gpu) do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cu.SetCurrentContext(b.context); err != nil {
		return fmt.Errorf("cuda: context of %s: %w", b.name, err)
	}
	return f()
}

func (b *gpu) Name() string { return "cuda " + b.name }

// Workers is 1: the device is one.
func (b *gpu) Workers() int { return 1 }

func (b *gpu) Alloc(label string, bytes int) (*tensor.Memory, error) {
	mem := &tensor.Memory{Bytes: bytes, Label: label}
	err := b.do(func() error {
		at, err := cu.MemAlloc(int64(max(bytes, 1)))
		if err != nil {
			return err
		}
		mem.Device = uintptr(at)
		if err := cu.MemsetD8(at, 0, int64(max(bytes, 1))); err != nil {
			return err
		}
		return cu.Synchronize()
	})
	if err != nil {
		free, total := b.free()
		return nil, fmt.Errorf("cuda: %d MiB for %s on %s, of whose %d MiB %d are free (%w): a smaller micro_batch_size, recompute_granularity or more GPUs for the model take less", bytes>>20, label, b.name, total>>20, free>>20, err)
	}
	b.count(label, bytes)
	return mem, nil
}

// Capacity is the device's memory.
func (b *gpu) Capacity() (free, total int) {
	f, t := b.free()
	return int(f), int(t)
}

func (b *gpu) free() (free, total int64) {
	b.do(func() (err error) {
		free, total, err = cu.MemInfo()
		return err
	})
	return free, total
}

func (b *gpu) Free(m *tensor.Memory) {
	if m == nil || m.Device == 0 {
		return
	}
	b.do(func() error { return cu.MemFree(cu.DevicePtr(m.Device)) })
	m.Device = 0
	b.count(m.Label, -m.Bytes)
}

func (b *gpu) count(label string, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := &b.usage
	u.Current += bytes
	u.Peak = max(u.Peak, u.Current)
	u.ByLabel[label] += bytes
	u.PeakByLabel[label] = max(u.PeakByLabel[label], u.ByLabel[label])
	if u.ByLabel[label] == 0 {
		delete(u.ByLabel, label)
	}
}

func (b *gpu) Usage() backend.Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.usage
	u.ByLabel, u.PeakByLabel = maps.Clone(u.ByLabel), maps.Clone(u.PeakByLabel)
	return u
}

func (b *gpu) ResetPeak() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.Peak, b.usage.PeakByLabel = b.usage.Current, maps.Clone(b.usage.ByLabel)
}

func (b *gpu) NewStream(name string) backend.Stream {
	s := newStream(b, name)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streams = append(b.streams, s)
	return s
}

// Close ends the streams and gives the context back. Memory that is still allocated goes with the process.
func (b *gpu) Close() error {
	b.mu.Lock()
	streams := b.streams
	b.streams = nil
	b.mu.Unlock()
	var all []error
	for _, s := range streams {
		all = append(all, s.close())
	}
	if b.blas != nil {
		all = append(all, b.do(func() error {
			b.blas.close()
			return nil
		}))
	}
	all = append(all, b.device.ReleasePrimaryCtx())
	return errors.Join(all...)
}
