package bench

import (
	"context"
	"os"
	"runtime"

	"cambium/src/backend/cpu"
	"cambium/src/backend/cuda"
	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/tensor"
	"cambium/src/train"
)

// threadsPerRank are the workers of a rank's backend when all ranks are goroutines, as package train chooses them.
func threadsPerRank(cfg *config.Run) int {
	if cfg.ThreadsPerRank > 0 {
		return cfg.ThreadsPerRank
	}
	return max(runtime.GOMAXPROCS(0)/cfg.LocalRanks, 1)
}

// measureWithPeak is train.Measure, nil where rank 0 is not, and the operations a second that a rank can do at most: on the
// processor what its threads reach in registers while those of the other ranks of this process do the same, of goroutines the
// larger of before and after; on a GPU what a large GEMM reaches.
func measureWithPeak(ctx context.Context, cfg *config.Run, world comm.World, o train.MeasureOptions) (peak float64, m *train.Measurement, err error) {
	ranks, processor := 1, cfg.Backend == config.BackendCPU
	if world == nil && processor {
		ranks = cfg.LocalRanks
		if peak, err = cpu.MeasurePeak(threadsPerRank(cfg) * ranks); err != nil {
			return 0, nil, err
		}
	}
	if m, err = train.Measure(ctx, cfg, world, o); err != nil || m == nil {
		return 0, nil, err
	}
	if !processor {
		peak, err = peakOfGPU(m.DType)
		return peak, m, err
	}
	after, err := cpu.MeasurePeak(m.Threads * ranks)
	return max(peak, after) / float64(ranks), m, err
}

// peakOfGPU is the rate of a large GEMM on the first GPU, which is that of rank 0.
func peakOfGPU(t tensor.DType) (peak float64, err error) {
	b, err := cuda.Open(0)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closeErr := b.Close(); err == nil {
			err = closeErr
		}
	}()
	return GemmPeak(b, t)
}

// held is a world that is running already: Run goes on in it, as often as it is called. It is for processes of one rank.
type held struct {
	comm.World
	rank comm.Communicator
}

func (h held) Run(f func(comm.Communicator) error) error { return f(h.rank) }

// nodes is the number of nodes that the ranks are on: of their names in Slurm, which may put several nodes on a host.
func nodes(world comm.Communicator) (int, error) {
	name := os.Getenv("SLURMD_NODENAME")
	if name == "" {
		name, _ = os.Hostname() // without a name it is one node with the others that have none
	}
	all, err := world.Gather("names of nodes", []byte(name))
	if err != nil {
		return 0, err
	}
	different := map[string]bool{}
	for _, n := range all {
		different[string(n)] = true
	}
	return len(different), nil
}
