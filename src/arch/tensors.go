package arch

import (
	"fmt"
	"math"
)

// Axis is the kind of an axis of a parameter. Growth maps old to new indices once per kind; births are counted per kind.
type Axis uint8

// The axis kinds. Query is heads x head size, KV query groups x head size.
const (
	Vocab Axis = iota
	Positions
	Hidden
	FFN
	Query
	KV
	axisCount
)

// AxisCount is the number of axis kinds.
const AxisCount = int(axisCount)

var axisNames = [...]string{"vocab", "positions", "hidden", "ffn", "query", "kv"}

// String is vocab, positions, hidden, ffn, query or kv.
func (a Axis) String() string { return axisNames[a] }

// Size is the number of indices of an axis. The vocabulary's is padded for tp = 1.
func (m Model) Size(a Axis) int {
	return [...]int{m.PaddedVocab(1), m.MaxPositions, m.HiddenSize, m.FFNHiddenSize, m.QuerySize(), m.KVSize()}[a]
}

// Role is what a parameter does, as far as growth, initialisation and the optimizer care.
type Role uint8

// The roles.
const (
	Reader Role = iota // matrix that reads the residual stream (or the FFN): q, k, v, fc1, gate
	Writer             // matrix that writes the residual stream: attention dense, fc2
	Table              // token and position embeddings, the untied output layer
	Gain               // norm gain
	Shift              // any bias
)

// NoLayer is the Layer of parameters that belong to no block.
const (
	LayerEmbedding = -1 // on the first pipeline stage
	LayerFinal     = -2 // on the last pipeline stage: final norm, untied output layer
)

// Tensor describes one parameter: a named global tensor.
type Tensor struct {
	Name  string
	Shape []int
	Axes  []Axis
	Layer int // block index, LayerEmbedding or LayerFinal
	Role  Role
	// SplitAxis is the axis that tensor parallelism splits, -1 where every tensor-parallel rank holds the whole.
	SplitAxis int
	// Std is the standard deviation of the initial normal distribution; gains start at 1, shifts at 0.
	Std float64
	// LRMult and DecayMult are muP's factors on learning rate and weight decay; DecayMult is 0 for vectors.
	LRMult, DecayMult float64
}

// Len is the number of elements.
func (t Tensor) Len() int {
	n := 1
	for _, s := range t.Shape {
		n *= s
	}
	return n
}

// LayerTensor is the name of a block's parameter: LayerTensor(3, "attention.query.weight").
func LayerTensor(layer int, name string) string { return fmt.Sprintf("layers.%d.%s", layer, name) }

// Names of the parameters outside blocks.
const (
	WordEmbeddings     = "embedding.word_embeddings.weight"
	PositionEmbeddings = "embedding.position_embeddings.weight"
	FinalNormGain      = "final_norm.weight"
	FinalNormShift     = "final_norm.bias"
	OutputWeight       = "output_layer.weight"
)

// Tensors is the parameter table, in the order in which the forward pass meets them. Query, key and value follow each
// other, as do gate and fc1, so that a rank that stores them side by side can compute them in one GEMM.
func (m Model) Tensors() []Tensor {
	b := builder{m: m}
	b.matrix(WordEmbeddings, LayerEmbedding, Table, Vocab, Hidden, 0)
	if m.Position == PositionLearned {
		b.matrix(PositionEmbeddings, LayerEmbedding, Table, Positions, Hidden, -1)
	}
	for l := range m.NumLayers {
		b.layer(l)
	}
	b.norm(FinalNormGain, FinalNormShift, LayerFinal)
	if m.UntieOutput {
		b.matrix(OutputWeight, LayerFinal, Table, Vocab, Hidden, 0)
	}
	return b.out
}

// ParameterCount is the number of parameters, with the vocabulary padded for tp = 1.
func (m Model) ParameterCount() int {
	n := 0
	for _, t := range m.Tensors() {
		n += t.Len()
	}
	return n
}

type builder struct {
	m   Model
	out []Tensor
}

func (b *builder) layer(l int) {
	name := func(s string) string { return LayerTensor(l, s) }
	b.norm(name("input_norm.weight"), name("input_norm.bias"), l)
	for _, p := range []struct {
		name string
		axis Axis
	}{{"query", Query}, {"key", KV}, {"value", KV}} {
		b.matrix(name("attention."+p.name+".weight"), l, Reader, p.axis, Hidden, 0)
	}
	for _, p := range []struct {
		name string
		axis Axis
	}{{"query", Query}, {"key", KV}, {"value", KV}} {
		b.shift(name("attention."+p.name+".bias"), l, p.axis, 0)
	}
	b.matrix(name("attention.dense.weight"), l, Writer, Hidden, Query, 1)
	b.shift(name("attention.dense.bias"), l, Hidden, -1)
	b.norm(name("post_attention_norm.weight"), name("post_attention_norm.bias"), l)
	if b.m.SwiGLU {
		b.matrix(name("mlp.gate.weight"), l, Reader, FFN, Hidden, 0)
	}
	b.matrix(name("mlp.fc1.weight"), l, Reader, FFN, Hidden, 0)
	if b.m.SwiGLU {
		b.shift(name("mlp.gate.bias"), l, FFN, 0)
	}
	b.shift(name("mlp.fc1.bias"), l, FFN, 0)
	b.matrix(name("mlp.fc2.weight"), l, Writer, Hidden, FFN, 1)
	b.shift(name("mlp.fc2.bias"), l, Hidden, -1)
}

func (b *builder) norm(gain, shift string, layer int) {
	m := b.m
	b.add(Tensor{Name: gain, Axes: []Axis{Hidden}, Layer: layer, Role: Gain, SplitAxis: -1, LRMult: 1})
	if !m.RMS() {
		b.add(Tensor{Name: shift, Axes: []Axis{Hidden}, Layer: layer, Role: Shift, SplitAxis: -1, LRMult: 1})
	}
}

func (b *builder) shift(name string, layer int, a Axis, split int) {
	if b.m.LinearBias {
		b.add(Tensor{Name: name, Axes: []Axis{a}, Layer: layer, Role: Shift, SplitAxis: split, LRMult: 1})
	}
}

// matrix adds a two-dimensional parameter. Initial standard deviations and multipliers are Mu-scaling's: tables s,
// readers s/sqrt(m), writers s/sqrt(2 L m); matrices learn at LR/m with weight decay times m.
func (b *builder) matrix(name string, layer int, role Role, rows, cols Axis, split int) {
	m := b.m
	t := Tensor{Name: name, Axes: []Axis{rows, cols}, Layer: layer, Role: role, SplitAxis: split, LRMult: 1, DecayMult: 1}
	switch t.Std = m.InitStd; role {
	case Table:
		if m.EmbeddingInitStd > 0 {
			t.Std = m.EmbeddingInitStd
		}
	case Writer:
		t.Std /= math.Sqrt(2 * float64(m.NumLayers) * m.WidthMult())
	case Reader:
		t.Std /= math.Sqrt(m.WidthMult())
	}
	if role != Table {
		t.LRMult, t.DecayMult = 1/m.WidthMult(), m.WidthMult()
	}
	b.add(t)
}

func (b *builder) add(t Tensor) {
	for _, a := range t.Axes {
		t.Shape = append(t.Shape, b.m.Size(a))
	}
	b.out = append(b.out, t)
}
