package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"cambium/src/arch"
	"cambium/src/checkpoint"
	"cambium/src/comm"
	"cambium/src/layout"
	"cambium/src/optim"
)

// layersAxis is the key of the layers' births in a checkpoint, beside the names of the axes.
const layersAxis = "layers"

// checkpoints is the folder of a run's checkpoints.
func (j *job) checkpoints() string { return filepath.Join(j.cfg.RunDir, "checkpoints") }

// save writes a checkpoint of the live state: every rank the boxes that it owns.
func (r *rank) save() error {
	begin := time.Now()
	r.state.Optimizer.Settle(r.stream)
	if err := r.stream.Sync(); err != nil {
		return err
	}
	meta, err := r.meta()
	if err != nil {
		return err
	}
	stats, err := checkpoint.Write(r.checkpoints(), r.world, meta, r.pieces(), checkpoint.Options{Compression: r.cfg.Checkpoint.Compression})
	if heard := (*checkpoint.Elsewhere)(nil); errors.As(err, &heard) && !r.alone() {
		return &comm.Elsewhere{Text: err.Error()} // the process of that rank tells
	}
	if err != nil {
		return err
	}
	r.progress.Add(1)
	r.lead(func(o *observer) error {
		if _, err := checkpoint.Prune(r.checkpoints(), r.cfg.Checkpoint.Keep); err != nil {
			return err
		}
		return o.saved(r, stats, time.Since(begin))
	})
	return nil
}

// meta is the state beside the tensors. The mask is that of the last step, for whoever loads the model alone.
func (r *rank) meta() (checkpoint.Meta, error) {
	counters := r.state.Optimizer.Counters()
	extra, err := extraOf(optimizerExtra{Step: counters.Step, Skipped: r.allSkipped})
	if err != nil {
		return checkpoint.Meta{}, err
	}
	if err := r.scale.save(extra); err != nil {
		return checkpoint.Meta{}, err
	}
	begin := r.timeline.Begin(r.stage)
	steps := (r.place.Tokens - begin) / r.cfg.Stages[r.stage].TokensPerIteration()
	last := r.place
	last.Stage, last.Step = r.stage, max(steps-1, 0)
	return checkpoint.Meta{
		Iteration: int(r.place.Iteration), ConsumedSamples: r.place.Samples, ConsumedTokens: r.place.Tokens,
		Stage: checkpoint.Stage{Index: r.stage, Iterations: int(steps), Tokens: r.place.Tokens - begin},
		Model: r.cfg.Stages[r.stage].Model, Function: r.function, Mask: r.mask(last),
		Births: exportBirths(counters.Births), Seed: r.cfg.Seed, Config: string(r.cfg.Resolved()),
		Extra: extra,
	}, nil
}

// pieces are the boxes of the optimizer's state, master weights among them, that this rank saves: of what several ranks
// hold, one of them.
func (r *rank) pieces() []checkpoint.Piece {
	l := r.state.Optimizer.Layout()
	mine := map[string]bool{}
	for _, s := range l.Owned(r.world.Rank()) {
		mine[l.Tensors[s.Tensor].Name] = true
	}
	var out []checkpoint.Piece
	for _, p := range r.state.Optimizer.State() {
		if !mine[p.Tensor.Name] {
			continue
		}
		out = append(out, checkpoint.Piece{
			Tensor: p.Tensor.Name, Kind: p.Kind, DType: p.Data.DType(), Shape: p.Tensor.Shape, Box: p.Box,
			Fetch: func(part layout.Box, dst []byte) error {
				r.progress.Add(1)
				r.stream.Download(dst, p.Data.Slice(part.Lo[0]-p.Box.Lo[0], part.Hi[0]-p.Box.Lo[0]))
				return r.stream.Sync()
			},
		})
	}
	return out
}

// load reads master weights, moments and counters from the checkpoint to resume from, whatever the grid that wrote it.
func (r *rank) load() error {
	meta := r.resume.Meta()
	for _, p := range r.state.Optimizer.State() {
		if err := r.read(p); err != nil {
			return err
		}
	}
	var extra optimizerExtra
	if err := json.Unmarshal(meta.Extra[extraOptimizer], &extra); err != nil {
		return fmt.Errorf("checkpoint %s does not say how many optimizer steps were taken: %w", r.resume.Folder(), err)
	}
	if err := r.scale.load(meta.Extra); err != nil {
		return fmt.Errorf("checkpoint %s: %w", r.resume.Folder(), err)
	}
	r.allSkipped = extra.Skipped
	if err := r.state.Optimizer.Restore(r.stream, optim.Counters{Step: extra.Step, Births: importBirths(meta.Births)}); err != nil {
		return err
	}
	r.state.Optimizer.PublishWeights(r.stream)
	return r.stream.Sync()
}

// read fills a piece of the optimizer's state.
func (r *rank) read(p optim.Piece) error {
	r.progress.Add(1)
	buf := make([]byte, p.Data.Bytes())
	if err := r.resume.Read(p.Kind, p.Tensor.Name, p.Box, buf); err != nil {
		var damage *checkpoint.Damage
		if errors.As(err, &damage) {
			return fmt.Errorf("%w; mend it, or remove %s to go on from the checkpoint before it", err, r.resume.Folder())
		}
		return err
	}
	r.stream.Upload(p.Data, buf)
	return r.stream.Sync()
}

// extraOptimizer is the key of what a checkpoint keeps of the optimizer beside moments and births.
const extraOptimizer = "optimizer"

type optimizerExtra struct {
	Step    int `json:"step"`    // taken; skipped ones do not count
	Skipped int `json:"skipped"` // iterations so far
}

// FreshExtra is what a checkpoint keeps beside tensors when no step has been taken: for weights that come from elsewhere.
func FreshExtra() (map[string]json.RawMessage, error) { return extraOf(optimizerExtra{}) }

func extraOf(o optimizerExtra) (map[string]json.RawMessage, error) {
	text, err := json.Marshal(o)
	return map[string]json.RawMessage{extraOptimizer: text}, err
}

func exportBirths(b optim.Births) checkpoint.Births {
	out := checkpoint.Births{}
	for a, v := range b.Axes {
		if v != nil {
			out[arch.Axis(a).String()] = v
		}
	}
	if b.Layers != nil {
		out[layersAxis] = b.Layers
	}
	return out
}

func importBirths(b checkpoint.Births) (out optim.Births) {
	for a := range out.Axes {
		out.Axes[a] = b[arch.Axis(a).String()]
	}
	out.Layers = b[layersAxis]
	return out
}
