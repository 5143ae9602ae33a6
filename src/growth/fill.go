package growth

import (
	"slices"

	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/tensor"
)

// filling is a box of new entries that this rank fills: in its weights, or in its master weights where these are apart.
type filling struct {
	layout.Fill
	master bool
}

// planFills lists what no route brings: new entries of everything that this rank will hold. Weights that follow from their masters
// are not among them.
func (e *engine) planFills() error {
	fills, err := layout.Uncovered(e.oldW, e.newW, e.Plan.Weights)
	if err != nil {
		return err
	}
	for _, f := range fills {
		if f.Rank == e.rank && !f.Padding && !(e.masters && e.scaled(e.newW.Tensors[f.Tensor])) {
			e.fills = append(e.fills, filling{Fill: f})
		}
	}
	if !e.masters {
		return nil
	}
	if fills, err = layout.Uncovered(e.oldO, e.newO, e.Plan.Weights); err != nil {
		return err
	}
	for _, f := range fills {
		if f.Rank == e.rank && !f.Padding {
			e.fills = append(e.fills, filling{Fill: f, master: true})
		}
	}
	slices.SortStableFunc(e.fills, func(a, b filling) int { return a.Tensor - b.Tensor }) // one tensor's means serve both
	return nil
}

// initialise waits for what has moved and has the values of new entries written, some rows at a time.
func (e *engine) initialise() error {
	if err := e.Stream.Sync(); err != nil {
		return err
	}
	masters := map[string]held{}
	for _, p := range e.new.Optimizer.State() {
		if p.Kind == optim.Weight {
			masters[p.Tensor.Name] = held{p.Data, p.Box}
		}
	}
	seed := initialSeed(e.Seed, e.Growth)
	for _, f := range e.fills {
		t := e.newW.Tensors[f.Tensor]
		to := e.weight(t)
		if f.master {
			to = masters[t.Name]
		}
		rows := e.chunk(f.Box) * (f.Box.Hi[0] - f.Box.Lo[0]) / f.Box.Volume()
		for lo := f.Box.Lo[0]; lo < f.Box.Hi[0]; lo += rows {
			if err := e.fill(t, to, f.Box.Narrow(0, lo, min(lo+rows, f.Box.Hi[0])), seed); err != nil {
				return err
			}
		}
	}
	return e.Stream.Sync()
}

// chunk is the number of elements of a box that are filled at a time: rows of it, within Staging if one row is.
func (e *engine) chunk(b layout.Box) int {
	row := b.Volume() / (b.Hi[0] - b.Lo[0])
	return max(e.Staging/tensor.F32.Size()/row, 1) * row
}

func (e *engine) weight(t arch.Tensor) held {
	for _, x := range e.new.Params.Shards() {
		if x.Name == t.Name {
			return held{e.new.Params.Weight(t.Name), x.Box}
		}
	}
	return held{}
}

// fill has the device write one box.
func (e *engine) fill(t arch.Tensor, to held, box layout.Box, seed uint64) error {
	dst := to.view(box)
	switch start, hidden := e.Plan.start(t, box); {
	case start == level:
		return e.fillMeans(dst, t, box, hidden)
	case start == silence:
		e.Stream.Fill(dst, 0)
	case t.Role == arch.Gain:
		e.Stream.Fill(dst, float32(e.Plan.newGain(t)))
	default:
		model.Initialise(e.Stream, dst, e.Plan.To, t, seed, box.Lo, box.Hi)
	}
	return nil
}

// fillMeans writes one box of means, and waits, since the host's buffer is used again.
func (e *engine) fillMeans(dst tensor.Tensor, t arch.Tensor, box layout.Box, hidden int) error {
	e.host = append(e.host[:0], make([]float32, box.Volume())...)
	var meanErr error
	e.Plan.means(e.host, t, box, hidden, func(other int) float32 {
		m, err := e.mean(t, other)
		if err != nil {
			meanErr = err
		}
		return m
	})
	if meanErr != nil {
		return meanErr
	}
	if dst.DType() == tensor.F32 {
		e.Stream.Upload(dst, tensor.HostBytes(e.host))
	} else {
		wide := e.stage(0, tensor.F32, dst.Dims()...)
		e.Stream.Upload(wide, tensor.HostBytes(e.host))
		e.Stream.Copy(dst, wide)
	}
	return e.Stream.Sync()
}

// mean is the mean over the old hidden dims of what this rank now holds of a parameter, at an index of its other axis. No
// layout splits the hidden axis of weights, so nothing need be fetched. The means of the last parameter asked for are kept.
func (e *engine) mean(t arch.Tensor, other int) (float32, error) {
	if e.meansOf != t.Name {
		w := e.weight(t)
		m, err := e.means(t, w)
		if err != nil {
			return 0, err
		}
		e.meansOf, e.hiddenMeans, e.meansFrom = t.Name, m, 0
		for d, a := range t.Axes {
			if a != arch.Hidden {
				e.meansFrom = w.box.Lo[d]
			}
		}
	}
	return e.hiddenMeans[other-e.meansFrom], nil
}

// means are those of all indices of the other axis that the rank holds: sums in fp64, in the order of the hidden dims.
func (e *engine) means(t arch.Tensor, w held) ([]float32, error) {
	d0, old := e.Plan.From.HiddenSize, e.oldDims(t, w.box)
	byRow := len(t.Axes) == 2 && t.Axes[1] == arch.Hidden
	n := old.Volume() / d0
	sums := make([]float64, n)
	rows := e.chunk(old) * (old.Hi[0] - old.Lo[0]) / old.Volume()
	for lo := old.Lo[0]; lo < old.Hi[0]; lo += rows {
		part := old.Narrow(0, lo, min(lo+rows, old.Hi[0]))
		values, err := e.download(w.view(part))
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			if byRow {
				sums[lo-old.Lo[0]+i/d0] += float64(v)
			} else {
				sums[i%n] += float64(v)
			}
		}
	}
	out := make([]float32, n)
	for i, s := range sums {
		out[i] = float32(s / float64(d0))
	}
	return out, nil
}

// oldDims is what a box of a parameter has of the old hidden dims.
func (e *engine) oldDims(t arch.Tensor, box layout.Box) layout.Box {
	for d, a := range t.Axes {
		if a == arch.Hidden {
			box = box.Narrow(d, 0, e.Plan.From.HiddenSize)
		}
	}
	return box
}

// meansChunk is the largest number of elements that means downloads at a time.
func (e *engine) meansChunk() int {
	n := 0
	for i, t := range e.newW.Tensors {
		if !writes(t) {
			continue
		}
		for _, p := range e.newW.Parts(i) {
			old := e.oldDims(t, p.Box)
			n = max(n, min(old.Volume(), e.chunk(old)))
		}
	}
	return n
}

// download brings a tensor to the host as fp32.
func (e *engine) download(x tensor.Tensor) ([]float32, error) {
	if x.DType() != tensor.F32 {
		wide := e.stage(0, tensor.F32, x.Dims()...)
		e.Stream.Copy(wide, x)
		x = wide
	}
	out := make([]float32, x.Len())
	e.Stream.Download(tensor.HostBytes(out), x)
	return out, e.Stream.Sync()
}
