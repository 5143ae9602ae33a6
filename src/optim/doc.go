// Package optim is AdamW with its state split over the data-parallel ranks (the distributed optimizer of Megatron-LM,
// stage 1 of ZeRO, arXiv 1910.02054), made for models that grow.
//
// Every rank owns a range of rows of every parameter. A step reduces gradients to their owners, measures the global
// gradient norm in fp64, updates the owned rows, and gathers them on all ranks. The fp32 weights of the model are the
// master weights; moments exist for owned rows only, so their memory falls as 1/dp.
//
// Entries that growth added count their own steps (Births), so that Adam's bias correction is right for them. Learning
// rate and weight decay follow muP's groups (arch.Tensor). A gradient that is not finite anywhere makes every rank
// skip the step.
package optim
