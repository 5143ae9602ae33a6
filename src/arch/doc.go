// Package arch says what a GPT is made of: the sizes and options of a model, the table of its parameters, and what
// growth changes in the function it computes. It is pure: values in, values out.
//
// GPT-2, Llama and FLM are values of Model. The parameter table (Tensors) is the one place that names a parameter, gives
// its axes, and says how it is split, initialised and optimised; layouts, checkpoints, growth, the optimizer and the
// memory model all read it.
package arch
