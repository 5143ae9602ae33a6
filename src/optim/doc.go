// Package optim is AdamW with its state split over the data-parallel ranks of any grid (the distributed optimizer of
// Megatron-LM, stage 1 of ZeRO, arXiv 1910.02054), made for models that grow.
//
// Every rank owns the boxes that layout.Optimizer gives it: rows of what it holds of every parameter, cut once more over
// dp. It keeps fp32 moments for them, so that their memory falls as 1/dp, and fp32 master weights: of a model in fp32 these
// are the weights themselves, of one in bf16 or fp16 memory of their own.
//
// A step goes over the wires three times. Gradients are fp32 sums over a rank's micro-batches; they are reduce-scattered
// over dp bucket by bucket, each as soon as the last backward pass has left its layers. Then what stands on several ranks
// is made whole: a tied table on first and last pipeline stage, and under sequence parallelism what every tensor-parallel
// rank has seen of its own rows alone. After the update the new weights are all-gathered over dp, bucket by bucket, and the next
// forward pass waits for the bucket that it needs. Whether all this overlaps the passes changes no bit of the result.
//
// The gradient norm counts every element of the global model once, in fp64. A gradient that is not finite anywhere makes every
// rank of the world skip the step.
//
// Entries that growth added count their own steps (Births), so that Adam's bias correction is right for them. Learning
// rate and weight decay follow muP's groups (arch.Tensor).
package optim
