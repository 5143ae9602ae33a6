// Package snapshot opens trained models that lie on a disk, for the commands that use them: a run's folder, one of its
// checkpoints, or a Hugging Face folder. It knows where a model's tokenizer is, and puts its weights on a backend.
package snapshot
