package cpu

import (
	"testing"
	"time"
)

// TestGateWakesEveryWaiter lets two goroutines wake each other by two gates, parking each time: a lost wake-up stops both.
func TestGateWakesEveryWaiter(t *testing.T) {
	turns := uint64(200_000)
	if testing.Short() {
		turns = 50_000
	}
	var ping, pong gate
	ping.init()
	pong.init()
	ended := make(chan struct{})
	go func() {
		for i := uint64(1); i <= turns; i++ {
			ping.await(i, int(i%3))
			pong.advance(i)
		}
		close(ended)
	}()
	go func() {
		for i := uint64(1); i <= turns; i++ {
			ping.advance(i)
			pong.await(i, int(i%5))
		}
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatalf("stuck at turn %d of %d, answered %d", ping.value.Load(), turns, pong.value.Load())
	}
}
