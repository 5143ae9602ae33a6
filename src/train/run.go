package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"

	"cambium/src/arch"
	"cambium/src/backend/cpu"
	"cambium/src/checkpoint"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/config"
	"cambium/src/eval"
	"cambium/src/growth"
	"cambium/src/optim"
	"cambium/src/schedule"
)

// ErrStopped means that the run was asked to stop before its end, and saved its state: run it again to go on.
var ErrStopped = errors.New("stopped before the end; the state is saved, and the same command goes on from it")

// Options of Run beside the configuration.
type Options struct {
	Resume  string        // ResumeAuto (the default), ResumeNever or ResumeMust
	Output  io.Writer     // where the log goes
	Timeout time.Duration // without progress for so long the run ends with a report of who waits for whom; 0: 10 minutes
	Version string        // of the program, for the record
	Report  bool          // draw report.html at the end
	World   comm.World    // the ranks; nil: all of them in this process
}

// job is what all ranks of a process share. It does not change while they run, but for the flags at its end.
type job struct {
	cfg       *config.Run
	options   Options
	world     comm.World
	timeline  *schedule.Timeline
	rates     []schedule.LearningRate
	plans     []*growth.Plan  // [stage] how its model came to be; nil in the first
	functions []arch.Function // [stage]
	corpus    *corpus
	windows   []eval.Windows // [stage] validation; nil without
	probes    []eval.Windows // [stage] what growth is checked on
	resume    *checkpoint.Reader
	lock      *flock.Flock // of the run folder; the leading process's, as the observer
	observer  *observer    // the leading rank's
	ctx       context.Context
	deadline  time.Time // zero: none
	clock     bool      // measure every pass
	unable    error     // why this process cannot begin
	sharing   int       // ranks that share this process's cores; 0: its own alone

	following sync.Once
	watching  sync.Mutex     // of watched
	watched   []comm.Watched // communicators of this process's ranks whose calls the world does not see

	progress atomic.Int64 // counts whatever shows that the run lives
	stopped  atomic.Bool  // asked to stop before its end
	lost     bool         // some rank hangs for good: what it may use stays open
}

// Run trains as cfg says, in its run folder, and goes on from the newest checkpoint there. When ctx ends, the step at hand
// is finished, the state saved, and ErrStopped returned. With ranks in other processes every process calls Run with the
// same configuration; the one with rank 0 leads: it alone writes into the folder, besides its checkpoints, and returns a
// summary, the others nil.
func Run(ctx context.Context, cfg *config.Run, o Options) (s *Summary, err error) {
	j := &job{cfg: cfg, options: o, ctx: ctx}
	defer func() {
		if closeErr := j.close(); err == nil {
			err = closeErr
		}
	}()
	if err := j.findWorld(); err != nil {
		return nil, err
	}
	if j.unable = j.prepareAll(); j.unable != nil && j.alone() {
		return nil, j.unable
	}
	if err := j.runRanks(); err != nil {
		if j.unable != nil && errors.Is(err, j.unable) {
			err = j.unable // without the number of a rank: no rank is to blame
		}
		return nil, err
	}
	switch {
	case j.stopped.Load():
		return nil, ErrStopped
	case !j.leading():
		return nil, nil
	}
	return j.summary()
}

// findWorld takes the world that was given, or makes one of goroutines.
func (j *job) findWorld() error {
	if j.world = j.options.World; j.world == nil {
		if n := j.cfg.WorldSize; n > 0 && n != j.cfg.LocalRanks {
			return fmt.Errorf("world_size is %d, and this process has %d ranks (local_ranks): start it with mpirun or srun, or give both the same number", n, j.cfg.LocalRanks)
		}
		j.world = local.NewWorld(j.cfg.LocalRanks)
	}
	if n := j.world.Size(); n != j.cfg.World() {
		return fmt.Errorf("%d ranks were started, and world_size is %d: want as many", n, j.cfg.World())
	}
	return nil
}

// leading tells whether rank 0 is in this process.
func (j *job) leading() bool { return slices.Contains(j.world.Local(), 0) }

// prepareAll is all that needs no rank.
func (j *job) prepareAll() (err error) {
	if err := j.prepare(); err != nil || !j.leading() {
		return err
	}
	if j.lock, err = lockFolder(j.cfg.RunDir); err != nil {
		return err
	}
	return j.prepareFolder()
}

// prepare reads and checks all that does not need a rank. It allocates nothing on a device.
func (j *job) prepare() (err error) {
	cfg := j.cfg
	if m := cfg.Exit.DurationInMins; m > 0 {
		j.deadline = time.Now().Add(time.Duration(m * float64(time.Minute)))
	}
	if err := j.backendOptions().Check(); err != nil {
		return err
	}
	if j.timeline, err = cfg.Timeline(); err != nil {
		return err
	}
	j.rates = cfg.LearningRates()
	if j.plans, j.functions, err = planGrowth(cfg); err != nil {
		return err
	}
	if j.corpus, err = openCorpus(cfg); err != nil {
		return err
	}
	return j.openWindows()
}

// prepareFolder finds what to resume from, and who observes.
func (j *job) prepareFolder() (err error) {
	if j.resume, err = openResume(j.cfg, j.options.Resume, j.warn); err != nil {
		return err
	}
	if err := writeResolved(j.cfg); err != nil {
		return err
	}
	if t := j.corpus.tokenizer; t != nil { // so that the folder alone is enough to use the model
		if err := t.Save(j.cfg.RunDir); err != nil {
			return err
		}
	}
	j.observer = newObserver(j)
	return nil
}

// warn tells of something that does not end the run.
func (j *job) warn(err error) {
	if j.options.Output != nil {
		fmt.Fprintf(j.options.Output, "warning: %v\n", err)
	}
}

func (j *job) close() error {
	if j.lost {
		return nil
	}
	var all []error
	if j.observer != nil {
		all = append(all, j.observer.close())
	}
	if j.resume != nil {
		all = append(all, j.resume.Close())
	}
	if j.corpus != nil {
		all = append(all, j.corpus.close())
	}
	if j.lock != nil {
		all = append(all, j.lock.Unlock()) // at last: nobody may write there before everything is closed
	}
	return errors.Join(all...)
}

// stopping tells whether this process was asked to end.
func (j *job) stopping() bool {
	return j.ctx.Err() != nil || (!j.deadline.IsZero() && time.Now().After(j.deadline))
}

// backendOptions divide the processor among the ranks that share it, unless the configuration says how.
func (j *job) backendOptions() cpu.Options {
	n := j.cfg.ThreadsPerRank
	if n == 0 {
		n = max(runtime.GOMAXPROCS(0)/max(len(j.world.Local()), j.sharing), 1)
	}
	return cpu.Options{Workers: n}
}

func (j *job) optimizerConfig() optim.Config {
	c := j.cfg.Optimizer
	return optim.Config{Beta1: c.Beta1, Beta2: c.Beta2, Eps: c.Eps, WeightDecay: c.WeightDecay, ClipGrad: c.ClipGrad}
}
