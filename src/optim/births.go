package optim

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Births say since when each entry of the parameters exists, as the number of steps that were taken before: one vector
// an axis kind and one number a layer are enough, because growth adds whole rows, columns and layers:
//
//	birth(i, j) = max(birth of row i, birth of column j, birth of the layer)        t = step - birth
//
// An axis that never grew, and a model that never did, have nil: all births are 0.
type Births struct {
	Axes   [arch.AxisCount][]int32 `json:"axes"`
	Layers []int32                 `json:"layers"`
}

// Axis is the birth of index i of an axis kind, Layer that of a layer.
func (b Births) Axis(a arch.Axis, i int) int32 {
	if b.Axes[a] == nil {
		return 0
	}
	return b.Axes[a][i]
}

// Layer is the birth of a layer; parameters outside blocks count as old.
func (b Births) Layer(l int) int32 {
	if l < 0 || b.Layers == nil {
		return 0
	}
	return b.Layers[l]
}

// Last is the latest birth of all.
func (b Births) Last() int32 {
	last := int32(0)
	for _, v := range b.Axes {
		for _, x := range v {
			last = max(last, x)
		}
	}
	for _, x := range b.Layers {
		last = max(last, x)
	}
	return last
}

// Births are those that the optimizer works with: the zero value once all entries are old.
func (o *Optimizer) Births() Births { return o.births }

// SetBirths replaces the births and puts them on the device, before it returns. b is kept: it must not change.
func (o *Optimizer) SetBirths(s backend.Stream, b Births) error {
	if err := o.checkBirths(b); err != nil {
		return err
	}
	o.dropBirths()
	if !o.young(b) {
		return nil
	}
	v := vectors{births: b, at: map[vectorKey]tensor.Tensor{}}
	mem, err := backend.Plan(o.backend, "optimizer", func(a *backend.Arena) {
		v.arena = a
		clear(v.at)
		for i := range o.shards {
			x := &o.shards[i]
			row, col := noAxis, int(x.t.Axes[0])
			if len(x.t.Axes) > 1 {
				row, col = int(x.t.Axes[0]), int(x.t.Axes[1])
			}
			layer := b.Layer(x.t.Layer)
			x.birthRow, x.birthCol = v.get(row, layer, x.t), v.get(col, layer, x.t)
			last := len(x.box.Lo) - 1
			x.birthCol = x.birthCol.Slice(x.box.Lo[last], x.box.Hi[last])
			if row != noAxis {
				x.birthRow = x.birthRow.Slice(x.box.Lo[0], x.box.Hi[0])
			}
		}
	})
	if err != nil {
		o.dropBirths()
		return fmt.Errorf("optim: births: %w", err)
	}
	for k, t := range v.at {
		s.Upload(t, tensor.HostBytes(v.values(k, t.Len())))
	}
	o.births, o.birthMemory = b, mem
	return s.Sync()
}

// vectors makes each distinct birth vector once: of a whole axis, for the layers of one birth. Shards take their part.
type vectors struct {
	births Births
	arena  *backend.Arena
	at     map[vectorKey]tensor.Tensor
}

type vectorKey struct {
	axis  int
	layer int32
}

// noAxis stands for the one row of a vector.
const noAxis = -1

func (v *vectors) get(axis int, layer int32, t arch.Tensor) tensor.Tensor {
	k := vectorKey{axis, layer}
	if x, ok := v.at[k]; ok {
		return x
	}
	n := 1
	for i, a := range t.Axes {
		if int(a) == axis {
			n = t.Shape[i]
		}
	}
	v.at[k] = v.arena.Tensor(tensor.I32, n)
	return v.at[k]
}

func (v *vectors) values(k vectorKey, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = k.layer
		if k.axis != noAxis {
			out[i] = max(out[i], v.births.Axis(arch.Axis(k.axis), i))
		}
	}
	return out
}

func (o *Optimizer) checkBirths(b Births) error {
	layers := 0
	for _, t := range o.parallel.GridLayout.Tensors {
		layers = max(layers, t.Layer+1)
		for i, a := range t.Axes {
			if v := b.Axes[a]; v != nil && len(v) != t.Shape[i] {
				return fmt.Errorf("optim: births of %d indices of the %v axis: parameter %s has %d", len(v), a, t.Name, t.Shape[i])
			}
		}
	}
	if b.Layers != nil && len(b.Layers) != layers {
		return fmt.Errorf("optim: births of %d layers: the model has %d", len(b.Layers), layers)
	}
	if last := int(b.Last()); last > o.step {
		return fmt.Errorf("optim: an entry was born after step %d, but only %d steps were taken", last, o.step)
	}
	return nil
}

// young tells whether bias correction with a common step count would still be wrong for some entry. At the age of
// 15/(1-beta2) steps beta2^age is 3e-7: one unit in the last place.
func (o *Optimizer) young(b Births) bool {
	last := b.Last()
	slow := 1 - max(o.config.Beta1, o.config.Beta2)
	return last > 0 && float64(o.step-int(last))*slow <= 15
}

// forgetBirths drops the births when everything has grown up.
func (o *Optimizer) forgetBirths() {
	if o.birthMemory != nil && !o.young(o.births) {
		o.dropBirths()
	}
}

func (o *Optimizer) dropBirths() {
	for i := range o.shards {
		o.shards[i].birthRow, o.shards[i].birthCol = tensor.Tensor{}, tensor.Tensor{}
	}
	if o.birthMemory != nil {
		o.backend.Free(o.birthMemory)
	}
	o.births, o.birthMemory = Births{}, nil
}
