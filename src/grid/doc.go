// Package grid is the one TP x PP x DP grid of ranks. Every process group is a slice of it.
//
// Ranks are numbered as Megatron numbers them: tensor-parallel fastest, so that a tensor-parallel group sits inside a
// node, then data-parallel, then pipeline:
//
//	rank = (pp * DPSize + dp) * TPSize + tp
//
// The package is pure.
package grid
