package cpu

import (
	"fmt"
	"sync"
	"time"
)

// MeasurePeak is the floating-point operations per second that the given number of cores reach together in a loop of
// independent fused multiply-adds on registers, at the level that Options with an empty Level choose: the roof of every
// roofline. It takes about a fifth of a second and keeps the best of its rounds, because other work only slows it down.
func MeasurePeak(workers int) (float64, error) {
	if workers < 1 || workers > maxWorkers {
		return 0, fmt.Errorf("cpu: peak of %d workers: want 1 to %d", workers, maxWorkers)
	}
	l, err := chooseLevel("")
	if err != nil {
		return 0, err
	}
	best := 0.0
	for range 20 {
		var all sync.WaitGroup
		start := time.Now()
		for range workers {
			all.Go(func() { fmaLoop(l, peakSteps) })
		}
		all.Wait()
		best = max(best, float64(workers)*peakSteps*fmaFlops(l)/time.Since(start).Seconds())
	}
	return best, nil
}

// peakSteps makes a round of about 10 milliseconds.
const peakSteps = 2 << 20

// fmaLoopGo is the portable loop: 8 independent chains.
func fmaLoopGo(steps int) float32 {
	var s [8]float32
	x, y := float32(0.999), float32(1e-3)
	s0, s1, s2, s3, s4, s5, s6, s7 := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	for range steps {
		s0 = s0*x + y
		s1 = s1*x + y
		s2 = s2*x + y
		s3 = s3*x + y
		s4 = s4*x + y
		s5 = s5*x + y
		s6 = s6*x + y
		s7 = s7*x + y
	}
	return s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7
}
