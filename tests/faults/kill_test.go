package faults

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A process that is killed leaves no word and no chance to tidy up. Moments are random in the whole life of the process, and
// every second one lies inside the writing of a checkpoint.
func TestARunKilledAtAnyMomentGoesOnAsIfNothingHadHappened(t *testing.T) {
	t.Parallel()
	moments := rand.New(rand.NewPCG(1, 2))
	f := newFolder(t)
	kills, midSave := 0, 0
	for {
		p := f.train()
		var moment <-chan time.Time
		saving := kills%2 == 1
		if saving {
			moment = f.whileSaving(p, 1+moments.IntN(3), time.Duration(moments.Int64N(int64(4*time.Millisecond))))
		} else {
			moment = time.After(20*time.Millisecond + time.Duration(moments.Int64N(int64(300*time.Millisecond))))
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
	t.Logf("%d kills, %d of them left an unfinished checkpoint", kills, midSave)
	if kills < 4 || midSave < 1 {
		t.Errorf("%d kills, %d of them while saving: too few to show anything", kills, midSave)
	}
	f.isUndisturbed()
}

// whileSaving is a moment within the writing of the n-th checkpoint from now.
func (f folder) whileSaving(p *process, n int, later time.Duration) <-chan time.Time {
	now := make(chan time.Time, 1)
	go func() {
		last := ""
		for n > 0 {
			select {
			case <-p.ended:
				return
			case <-time.After(200 * time.Microsecond):
			}
			found, _ := filepath.Glob(f.join("checkpoints", "*.unfinished"))
			if len(found) > 0 && found[0] != last {
				if _, err := os.Stat(found[0]); err == nil {
					last = found[0]
					n--
				}
			}
		}
		time.Sleep(later)
		now <- time.Now()
	}()
	return now
}
