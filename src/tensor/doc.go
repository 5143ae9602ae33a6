// Package tensor describes data that lives on a device: an element type, a shape and a view of a block of memory.
//
// A Tensor is a small value: it is copied freely, holds no data and never allocates. It knows nothing of what a
// device can compute; that is package backend.
package tensor
