// Package layouts tests that a run learns the same on every grid: whatever tensor, pipeline and data parallelism, schedule,
// sequence parallelism and recomputation it uses, in fp32, bf16 and fp16, on goroutines and over MPI, and when it changes its
// grid by a resumption or by growing.
package layouts
