// Package backend is the single list of what a device must do to train a GPT: memory, streams, events and the
// operations. It is implemented by backend/cpu and (build tag cuda) backend/cuda; backend/conformance is one test suite
// that every implementation passes.
//
// Operations are asynchronous: they are enqueued in a Stream and run in its order. They return nothing; a launch that
// fails surfaces at Stream.Sync with the operation's name. Arguments are checked when enqueued, and a wrong shape or
// type panics there, because it is a mistake of the program and never of the user.
//
// Conventions: matrices are row-major; a token is a row; N is the number of tokens (batch x sequence), C the hidden
// size, F the FFN size, H query heads, K key/value heads, D the head size, V the vocabulary. Results do not depend on the
// number of workers or on timing: every sum has a fixed order.
package backend
