// Package model is the GPT: embedding, pre-norm blocks and head, with explicit forward and backward passes over memory
// that is planned once.
//
// Params holds a rank's weights and gradients, each in one flat block in the order of arch.Tensors. Model binds them to
// a micro-batch size, a sequence length and the memory of the activations; GPT-2, Llama and FLM are values of
// arch.Model. There is no tape: every Block keeps what its backward pass needs in a Cache.
//
// Between two blocks the residual stream is a pair that is not added up yet, x + scale delta: the norm that reads it
// does the addition. A block's backward pass takes and leaves the gradient of the residual stream in one buffer.
//
// Growth (arch.Mask; formulas in backend.NormMask) touches four places: the norms, the FFN units after the activation,
// the heads' outputs, and the branches of new layers. One mask a path: a new layer has the norms' mask and its
// branches' factor V, but no FFN or head mask.
//
// The package knows devices as backend.Backend only. In the steady step it allocates nothing, on the device or in Go.
package model
