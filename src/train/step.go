package train

import (
	"fmt"
	"time"

	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/data"
	"cambium/src/tensor"
)

// maxSkipped is how many steps in a row may have a gradient that is not finite. In fp32 nothing brings such a run back.
const maxSkipped = 10

// outcome is what one step did, the same on all ranks.
type outcome struct {
	loss     float64 // mean over the global batch, nats a token
	gradNorm float64
	lr       float64
	skipped  bool
	took     time.Duration
	stop     bool // some rank was asked to stop
}

// batch is a rank's share of the global batch: its memory on the device, and the loader that is ahead of it.
type batch struct {
	backend         backend.Backend
	memory          *tensor.Memory
	tokens, targets tensor.Tensor // int32 [micro-batch x sequence]
	loader          *data.Loader
	samples         []int32     // a micro-batch, sequence + 1 each
	hostTokens      [][]int32   // one a micro-batch: uploads run later than the loop
	hostTargets     [][]int32   // likewise
	losses          [][]float32 // likewise
}

func (r *rank) newBatch(s *config.Stage) (*batch, error) {
	n := s.Train.MicroBatchSize * s.Train.SeqLength
	b := &batch{backend: r.backend, samples: make([]int32, n+s.Train.MicroBatchSize)}
	var err error
	b.memory, err = backend.Plan(r.backend, "batch", func(a *backend.Arena) {
		b.tokens, b.targets = a.Tensor(tensor.I32, n), a.Tensor(tensor.I32, n)
	})
	if err != nil {
		return nil, err
	}
	for range s.MicroBatches(r.world.Size()) {
		b.hostTokens, b.hostTargets = append(b.hostTokens, make([]int32, n)), append(b.hostTargets, make([]int32, n))
		b.losses = append(b.losses, make([]float32, n))
	}
	return b, nil
}

func (b *batch) stop() {
	if b.loader != nil {
		b.loader.Close()
		b.loader = nil
	}
}

func (b *batch) close() {
	b.stop()
	b.backend.Free(b.memory)
}

// step trains on one global batch. The gradient is that of the mean loss over the batch's tokens.
func (r *rank) step() (outcome, error) {
	begin := time.Now()
	s := &r.cfg.Stages[r.stage]
	o := outcome{lr: r.rates[r.stage].At(float64(r.place.Tokens + s.TokensPerIteration()))}
	r.model.SetMask(r.mask(r.place))
	r.state.Params.RenewGrads(r.stream)
	scale := float32(1 / float64(s.TokensPerIteration()))
	for i := range r.batch.losses {
		if err := r.fill(s, i); err != nil {
			return o, err
		}
		r.progress.Add(1)
		r.stream.Upload(r.batch.tokens, tensor.HostBytes(r.batch.hostTokens[i]))
		r.stream.Upload(r.batch.targets, tensor.HostBytes(r.batch.hostTargets[i]))
		r.model.ForwardBackward(r.stream, r.batch.tokens, r.batch.targets, scale)
		r.stream.Download(tensor.HostBytes(r.batch.losses[i]), r.model.Losses())
	}
	result, err := r.state.Optimizer.Step(r.stream, o.lr, 1)
	if err != nil {
		return o, err
	}
	o.gradNorm, o.skipped = result.GradNorm, result.Skipped
	if err := r.conclude(&o); err != nil {
		return o, err
	}
	if err := r.stream.Sync(); err != nil {
		return o, err
	}
	o.took = time.Since(begin)
	r.place = r.timeline.Next(r.place)
	return o, r.judge(o)
}

// fill copies the next micro-batch to the host's buffers.
func (r *rank) fill(s *config.Stage, micro int) error {
	if r.batch.loader == nil {
		r.batch.loader = r.newLoader(s)
	}
	if err := r.batch.loader.Next(r.batch.samples); err != nil {
		return err
	}
	seq := s.Train.SeqLength
	for i := range s.Train.MicroBatchSize {
		row := r.batch.samples[i*(seq+1) : (i+1)*(seq+1)]
		copy(r.batch.hostTokens[micro][i*seq:], row[:seq])
		copy(r.batch.hostTargets[micro][i*seq:], row[1:])
	}
	return nil
}

// conclude reduces what all ranks must know of a step: its loss, and whether anybody was asked to stop.
func (r *rank) conclude(o *outcome) error {
	all := []float64{0, 0}
	for _, losses := range r.batch.losses {
		for _, l := range losses {
			all[0] += float64(l)
		}
	}
	if r.stopping() {
		all[1] = 1
	}
	if err := r.world.Reduce("loss", comm.Sum, all); err != nil {
		return err
	}
	o.loss = all[0] / float64(r.cfg.Stages[r.stage].TokensPerIteration())
	o.stop = all[1] > 0
	return nil
}

// judge counts steps without a finite gradient, and gives up when nothing else comes.
func (r *rank) judge(o outcome) error {
	if !o.skipped {
		r.skipped = 0
		return nil
	}
	r.skipped, r.allSkipped = r.skipped+1, r.allSkipped+1
	if r.skipped < maxSkipped {
		return nil
	}
	return fmt.Errorf("the gradient was not finite in %d steps in a row (loss %g): lower lr or clip_grad; the last checkpoint is not touched", r.skipped, o.loss)
}
