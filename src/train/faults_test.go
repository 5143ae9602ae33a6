package train

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cambium/src/data"
	"cambium/src/eval"
)

// faulty runs a test by synctest's clock, which goes on when every goroutine waits: however slow the machine is, computing takes
// no time, and only what hangs lets the watchdog's time go by.
func faulty(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// prepared is a job of two ranks, ready to run, for tests that change what it reads.
func prepared(t *testing.T, timeout time.Duration) *job {
	t.Helper()
	return preparedOn(t, timeout, 2)
}

// preparedOn is prepared for more ranks and with settings.
func preparedOn(t *testing.T, timeout time.Duration, ranks int, sets ...string) *job {
	t.Helper()
	j := &job{cfg: smallRun(t, t.TempDir(), ranks, "zero", sets...), ctx: t.Context(), options: Options{Timeout: timeout}}
	if err := j.findWorld(); err != nil {
		t.Fatal(err)
	}
	if err := j.prepareAll(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

// fails wants the run to end quickly with an error that has all of words in it.
func fails(t *testing.T, j *job, words ...string) {
	t.Helper()
	begin := time.Now()
	err := j.runRanks()
	if err == nil {
		t.Fatal("the run ended well")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in: %v", w, err)
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// trapped is a source with a sample that is different.
type trapped struct {
	data.Source
	at   uint64
	trap func() error
}

func (s trapped) Sample(i uint64, dst []int32) error {
	if i == s.at {
		return s.trap()
	}
	return s.Source.Sample(i, dst)
}

// Samples 10 and 11 are what rank 1 of 2 has of the third batch of 4.
const ofRankOne = 10

func TestARankThatFailsEndsTheRunForAll(t *testing.T) {
	faulty(t, func(t *testing.T) {
		j := prepared(t, 0)
		j.corpus.training[0] = trapped{j.corpus.training[0], ofRankOne, func() error { return errors.New("the disk is gone") }}
		fails(t, j, "rank 1: iteration 3: ", "sample 10", "the disk is gone")
	})
}

// grid22 are the settings of four ranks as tp2 pp2 in the first stage.
var grid22 = []string{"stages.0.model.num_layers=2", "stages.0.parallel.tensor_model_parallel_size=2", "stages.0.parallel.pipeline_model_parallel_size=2"}

// On a grid only the ranks at the ends of a pipeline read samples, and all others wait for them in some message.
func TestARankThatFailsOnAGridEndsTheRunForAll(t *testing.T) {
	faulty(t, func(t *testing.T) {
		j := preparedOn(t, 0, 4, grid22...)
		j.corpus.training[0] = trapped{j.corpus.training[0], ofRankOne, func() error { return errors.New("the disk is gone") }}
		fails(t, j, "iteration 3: ", "sample 10", "the disk is gone")
	})
}

func TestTheWatchdogTellsWhoWaitsInAPipeline(t *testing.T) {
	faulty(t, func(t *testing.T) {
		j := preparedOn(t, 300*time.Millisecond, 4, grid22...)
		block := make(chan struct{})
		var first atomic.Bool
		t.Cleanup(func() { close(block) })
		j.corpus.training[0] = trapped{j.corpus.training[0], ofRankOne, func() error {
			if first.CompareAndSwap(false, true) { // one of the four readers hangs, the others go on
				<-block
			}
			return nil
		}}
		fails(t, j, "no progress for 300ms", "waits for rank", `"pipeline `, `"tp `)
	})
}

// trappedWindows are probe windows of which those of rank 1 are a trap.
type trappedWindows struct {
	eval.Windows
	trap func() error
}

func (w trappedWindows) Window(i int, dst []int32) error {
	if i >= probeWindows/2 {
		return w.trap()
	}
	return w.Windows.Window(i, dst)
}

func TestARankThatPanicsEndsTheRunForAll(t *testing.T) {
	faulty(t, func(t *testing.T) {
		j := prepared(t, 0)
		j.probes[0] = trappedWindows{j.probes[0], func() error { panic("what nobody thought of") }}
		fails(t, j, "rank 1: panic: what nobody thought of")
	})
}

func TestTheWatchdogTellsWhoWaitsForWhom(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, c := range []struct {
		name string
		lose bool // the rank never comes back
	}{{"late", false}, {"never", true}} {
		t.Run(c.name, func(t *testing.T) {
			faulty(t, func(t *testing.T) {
				j := prepared(t, timeout)
				block := make(chan struct{})
				if c.lose {
					t.Cleanup(func() { close(block) })
				} else {
					time.AfterFunc(2*timeout, func() { close(block) })
				}
				j.corpus.training[0] = trapped{j.corpus.training[0], ofRankOne, func() error { <-block; return errors.New("too late") }}
				fails(t, j, "no progress for 300ms", "rank 0 waits for rank 1 in", "gradients")
				if j.lost != c.lose {
					t.Errorf("lost: %v, want %v", j.lost, c.lose)
				}
			})
		})
	}
}

// A run that is slow is not one that hangs: whatever a rank does bit by bit counts.
func TestASlowRunIsNotTakenForOneThatHangs(t *testing.T) {
	faulty(t, func(t *testing.T) {
		j := prepared(t, 400*time.Millisecond)
		j.probes[0] = trappedWindows{j.probes[0], func() error { time.Sleep(100 * time.Millisecond); return nil }}
		if err := j.runRanks(); err != nil {
			t.Fatal(err)
		}
	})
}
