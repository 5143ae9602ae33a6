// Package flops holds formulas: floating-point operations of training and bytes of memory, as functions of a model's
// shape. It is pure. Every formula carries a name and its source, because the same tokens per second give different
// TFLOP/s by formula; every report names the one it used.
package flops
