package faults

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cambium/src/train"
)

// A process that is killed leaves no word and no chance to tidy up. Moments follow what the process does, so that they mean the
// same on a fast machine and on a slow one: some iterations and some milliseconds after its start, or inside the
// writing of a checkpoint, every second time as soon as it has begun.
func TestARunKilledAtAnyMomentGoesOnAsIfNothingHadHappened(t *testing.T) {
	t.Parallel()
	const tries = 10 // a run that nobody kills takes a fifth of a second, which a busy machine may sleep through
	moments := rand.New(rand.NewPCG(1, 2))
	kills, midSave := 0, 0
	for try := 0; try < tries && (kills < 4 || midSave < 1); try++ {
		k, m := killedOften(t, moments)
		kills, midSave = kills+k, midSave+m
	}
	t.Logf("%d kills, %d of them left an unfinished checkpoint", kills, midSave)
	if kills < 4 || midSave < 1 {
		t.Errorf("%d kills, %d of them while saving: too few to show anything", kills, midSave)
	}
}

// killedOften kills a run again and again until it comes to its end, and counts the kills and those of them inside a save.
func killedOften(t *testing.T, moments *rand.Rand) (kills, midSave int) {
	f := newFolder(t)
	for {
		p := f.train()
		var moment <-chan time.Time
		saving := kills%2 == 1
		if saving {
			moment = f.whileSaving(p, time.Duration(kills/2%2)*time.Duration(moments.Int64N(int64(4*time.Millisecond))))
		} else {
			moment = f.afterIterations(p, moments.IntN(7), time.Duration(moments.Int64N(int64(5*time.Millisecond))))
		}
		select {
		case <-moment:
		case <-p.ended:
		}
		_ = p.cmd.Process.Kill() // it may have ended
		if code := p.wait(); code == 0 {
			break
		} else if code > 0 {
			t.Fatalf("after %d kills the run fails:\n%s", kills, p.stderr.String())
		}
		kills++
		if unfinished, _ := filepath.Glob(f.join("checkpoints", "*.unfinished")); len(unfinished) > 0 {
			midSave++
		}
		if kills > 100 {
			t.Fatal("100 kills, and no end")
		}
	}
	f.isUndisturbed()
	return kills, midSave
}

// whileSaving is a moment within the writing of the next checkpoint.
func (f folder) whileSaving(p *process, later time.Duration) <-chan time.Time {
	before, _ := filepath.Glob(f.join("checkpoints", "*.unfinished")) // left by a kill: the writer removes it first
	return when(p, later, func() bool {
		found, _ := filepath.Glob(f.join("checkpoints", "*.unfinished"))
		if len(found) == 0 {
			before = nil
		}
		return len(found) > 0 && (len(before) == 0 || found[0] != before[0])
	})
}

// afterIterations is a moment after n iterations of a process.
func (f folder) afterIterations(p *process, n int, later time.Duration) <-chan time.Time {
	lines := func() int {
		text, _ := os.ReadFile(f.join(train.MetricsName)) // none yet: no lines
		return bytes.Count(text, []byte("\"lm_loss\""))
	}
	begun, last := 0, lines()
	return when(p, later, func() bool {
		now := lines()
		begun += max(now-last, 0) // what is done again was cut off first
		last = now
		return begun >= n
	})
}

// when is a moment some time after something has happened.
func when(p *process, later time.Duration, happened func() bool) <-chan time.Time {
	now := make(chan time.Time, 1)
	go func() {
		for !happened() {
			select {
			case <-p.ended:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
		time.Sleep(later)
		now <- time.Now()
	}()
	return now
}
