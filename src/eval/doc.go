// Package eval measures a model and lets it write: the loss over a fixed set of windows, and generation from a prompt
// with temperature, top-k and top-p.
//
// It knows models, texts and tokenizers as the small interfaces that it declares.
package eval
