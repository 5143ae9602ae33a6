package doctor

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/klauspost/cpuid/v2"

	"cambium/src/backend/cpu"
)

// Machine is the hardware as the operating system shows it.
type Machine struct {
	Platform     string   `json:"platform"`
	CPU          string   `json:"cpu"`
	Cores        int      `json:"cores"`       // physical, 0: unknown
	Threads      int      `json:"threads"`     // hardware threads of the machine
	Usable       int      `json:"usable_cpus"` // that this process may use: affinity and container limits applied
	Features     []string `json:"features"`
	MicroKernel  string   `json:"best_kernel"`             // of the CPU backend's GEMM
	PeakGFLOPs   float64  `json:"fp32_peak_gflops_a_core"` // of fused multiply-adds in registers, measured
	L1Data       int      `json:"l1d_bytes"`
	L2           int      `json:"l2_bytes"`
	L3           int      `json:"l3_bytes"`
	MemoryTotal  uint64   `json:"memory_total_bytes"`
	MemoryFree   uint64   `json:"memory_available_bytes"`
	MemoryLimit  uint64   `json:"memory_limit_bytes,omitempty"` // of the container
	Virtualised  string   `json:"hypervisor,omitempty"`
	OSRelease    string   `json:"os,omitempty"`
	KernelString string   `json:"kernel,omitempty"`
}

var features = []cpuid.FeatureID{
	cpuid.AVX2, cpuid.FMA3, cpuid.F16C, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL, cpuid.AVX512VNNI,
	cpuid.AVX512BF16, cpuid.AVX512FP16, cpuid.AMXBF16, cpuid.AMXTILE, cpuid.ASIMD, cpuid.SVE,
}

func examineMachine(e Env) Machine {
	c := cpuid.CPU
	m := Machine{
		Platform: runtime.GOOS + "/" + runtime.GOARCH, CPU: c.BrandName, Cores: c.PhysicalCores, Threads: runtime.NumCPU(), Usable: runtime.GOMAXPROCS(0),
		MicroKernel: cpu.Levels()[0], L1Data: max(c.Cache.L1D, 0), L2: max(c.Cache.L2, 0), L3: max(c.Cache.L3, 0), Virtualised: c.HypervisorVendorString,
	}
	if n := strings.Count("\n"+e.text("/proc/cpuinfo"), "\nprocessor"); n > 0 {
		m.Threads = n
	}
	if peak, err := cpu.MeasurePeak(1); err == nil {
		m.PeakGFLOPs = peak / 1e9
	}
	for _, f := range features {
		if c.Supports(f) {
			m.Features = append(m.Features, f.String())
		}
	}
	m.MemoryTotal, m.MemoryFree = meminfo(e.text("/proc/meminfo"))
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if limit, err := strconv.ParseUint(e.text(path), 10, 64); err == nil && limit < m.MemoryTotal {
			m.MemoryLimit = limit
		}
	}
	for line := range strings.Lines(e.text("/etc/os-release")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			m.OSRelease = strings.Trim(name, `"`)
		}
	}
	m.KernelString = e.text("/proc/sys/kernel/osrelease")
	return m
}

// meminfo reads MemTotal and MemAvailable, which the kernel gives in kB.
func meminfo(text string) (total, available uint64) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		kb, err := strconv.ParseUint(words[1], 10, 54)
		switch {
		case err != nil:
		case words[0] == "MemTotal:":
			total = kb << 10
		case words[0] == "MemAvailable:":
			available = kb << 10
		}
	}
	return total, available
}

func (m Machine) rows() [][2]string {
	cores := fmt.Sprintf("%d of %d hardware threads usable", m.Usable, m.Threads)
	if m.Cores > 0 {
		cores += fmt.Sprintf(", %d cores a socket", m.Cores)
	}
	rows := [][2]string{
		{"system", strings.Join(nonEmpty(m.Platform, m.OSRelease, m.KernelString, m.Virtualised), ", ")},
		{"processor", cond(m.CPU == "", "unknown", m.CPU)},
		{"cores", cores},
		{"features", cond(len(m.Features) == 0, "none that matter", strings.Join(m.Features, " "))},
		{"GEMM kernel", fmt.Sprintf("%s, one core reaches at most %.0f GFLOP/s in fp32 (measured in registers)", m.MicroKernel, m.PeakGFLOPs)},
		{"caches", fmt.Sprintf("L1 data %s, L2 %s, L3 %s", sizeText(m.L1Data), sizeText(m.L2), sizeText(m.L3))},
	}
	memory := fmt.Sprintf("%s, %s available", humanize.IBytes(m.MemoryTotal), humanize.IBytes(m.MemoryFree))
	if m.MemoryLimit > 0 {
		memory += ", this container is limited to " + humanize.IBytes(m.MemoryLimit)
	}
	if m.MemoryTotal == 0 {
		memory = "unknown"
	}
	return append(rows, [2]string{"memory", memory})
}

func sizeText(n int) string {
	if n == 0 {
		return "unknown"
	}
	return humanize.IBytes(uint64(n))
}

func nonEmpty(words ...string) []string {
	var out []string
	for _, w := range words {
		if w != "" {
			out = append(out, w)
		}
	}
	return out
}

// Disk is how fast a folder's disk took a file, synced to the device.
type Disk struct {
	Dir         string  `json:"dir"`
	MiB         int     `json:"mib"`
	Seconds     float64 `json:"seconds"`
	BytesPerSec float64 `json:"write_bytes_per_sec"`
	Err         string  `json:"error,omitempty"`
}

// String is one line.
func (d Disk) String() string {
	if d.Err != "" {
		return fmt.Sprintf("%s: %s", d.Dir, d.Err)
	}
	return fmt.Sprintf("%s: writes %s/s (%d MiB, synced)", d.Dir, humanize.IBytes(uint64(d.BytesPerSec)), d.MiB)
}

// measureDisk writes a file of bytes that do not compress, syncs and removes it.
func measureDisk(dir string, mib int) *Disk {
	d := &Disk{Dir: dir, MiB: mib}
	if err := d.measure(); err != nil {
		d.Err = err.Error()
	}
	return d
}

func (d *Disk) measure() error {
	f, err := os.CreateTemp(d.Dir, ".cambium-doctor-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 1<<20)
	x := uint64(time.Now().UnixNano()) | 1
	for i := range block {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		block[i] = byte(x)
	}
	begin := time.Now()
	for range d.MiB {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	d.Seconds = time.Since(begin).Seconds()
	d.BytesPerSec = float64(d.MiB) * (1 << 20) / d.Seconds
	return nil
}
