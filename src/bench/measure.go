package bench

import (
	"context"
	"runtime"

	"cambium/src/backend/cpu"
	"cambium/src/config"
	"cambium/src/train"
)

// threadsPerRank are the workers of a rank's backend, as package train chooses them.
func threadsPerRank(cfg *config.Run) int {
	if cfg.ThreadsPerRank > 0 {
		return cfg.ThreadsPerRank
	}
	return max(runtime.GOMAXPROCS(0)/cfg.LocalRanks, 1)
}

// measureWithPeak is train.Measure, and the operations a second that so many threads reach in registers, the larger of
// before and after.
func measureWithPeak(ctx context.Context, cfg *config.Run, threads, warmup, steps int) (peak float64, m *train.Measurement, err error) {
	before, err := cpu.MeasurePeak(threads)
	if err != nil {
		return 0, nil, err
	}
	if m, err = train.Measure(ctx, cfg, nil, warmup, steps); err != nil {
		return 0, nil, err
	}
	after, err := cpu.MeasurePeak(threads)
	return max(before, after), m, err
}
