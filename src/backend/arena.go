package backend

import "cambium/src/tensor"

// arenaAlign is the alignment of every planned tensor in bytes: a cache line, and what vector loads like.
const arenaAlign = 64

// Arena hands out tensors from one block that was sized beforehand.
type Arena struct {
	mem  *tensor.Memory // nil while measuring
	used int
}

// Plan runs build twice, first to add up what it asks for and then over one block of that size: memory is planned once,
// and the plan cannot disagree with the use. Build must ask for the same tensors both times.
func Plan(b Backend, label string, build func(*Arena)) (*tensor.Memory, error) {
	var measure Arena
	build(&measure)
	mem, err := b.Alloc(label, measure.used)
	if err != nil {
		return nil, err
	}
	build(&Arena{mem: mem})
	return mem, nil
}

// Measure is the number of bytes that Plan would allocate.
func Measure(build func(*Arena)) int {
	var a Arena
	build(&a)
	return a.used
}

// Tensor takes the next piece of the arena. While measuring it returns a tensor that has a shape but no data.
func (a *Arena) Tensor(dtype tensor.DType, dims ...int) tensor.Tensor {
	n := dtype.Size()
	for _, d := range dims {
		n *= d
	}
	at := a.used
	a.used += (n + arenaAlign - 1) / arenaAlign * arenaAlign
	if a.mem == nil {
		return tensor.New(&tensor.Memory{Bytes: n}, 0, dtype, dims...)
	}
	return tensor.New(a.mem, at, dtype, dims...)
}
