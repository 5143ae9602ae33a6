// Package model is the GPT: embedding, pre-norm blocks and head, with explicit forward and backward passes over memory
// that is planned once. It is tensor-, sequence- and pipeline-parallel inside.
//
// Params holds a rank's part of the weights and gradients, as a layout says, each in one flat block. Model binds them to a
// micro-batch size, a sequence length and the memory of the activations; GPT-2, Llama and FLM are values of arch.Model.
// There is no tape: every Block keeps what its backward pass needs in a Cache.
//
// A rank has one or several runs of layers ("chunks"), and for each of them as many slots as passes are alive at the same
// time. ForwardPass and BackwardPass run one chunk over one micro-batch; Forward and ForwardBackward are the same for a
// rank that has all layers.
//
// Between two blocks the residual stream is a pair that is not added up yet, x + scale delta: the norm that reads it
// does the addition. A block's backward pass takes and leaves the gradient of the residual stream in one buffer.
//
// Growth (arch.Mask; formulas in backend.NormMask) touches four places: the norms, the FFN units after the activation,
// the heads' outputs, and the branches of new layers. One mask a path: a new layer has the norms' mask and its
// branches' factor V, but no FFN or head mask.
//
// The package knows devices as backend.Backend and other ranks as comm.Communicator only. In the steady step it allocates
// nothing, on the device or in Go.
package model
