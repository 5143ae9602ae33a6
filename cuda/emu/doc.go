// Package emu is a CUDA driver that runs kernels on the processor: a libcuda.so.1 of our own, so that every test of the
// CUDA backend runs without a GPU, with the same .cu sources. A CUDA thread is a fiber, blocks run on OS threads, streams have
// a thread each and are really asynchronous.
//
// It is written in C++ (build.sh makes the library; g++ is all it needs) and tested from here. What it finds, in a line that
// names kernel, thread and source line:
//
//	always      barriers that some threads never reach or that differ, warp collectives whose lanes are elsewhere or gone,
//	            deadlocks, misaligned asynchronous copies, launches and copies out of bounds; what is read before it was written is NaN
//	checked     every load and store: races within a block, within a warp and between blocks, device memory out of bounds or
//	            freed, shared memory and arrays out of bounds, misaligned accesses
//	with a seed warps run in another order, streams are held up at random, graphs run in any order that their edges allow
//
// nccl is a libnccl.so.2 for it, between the ranks of one process or of several: over POSIX shared memory, in the order of streams, as host
// functions of the driver. It has the calls that Cambium makes, sums in rank order, and names calls that differ between ranks, on all
// of them.
//
// cublaslt is a libcublasLt.so.13 for it: the products that Cambium asks for, on a host thread in the order of streams, with layouts, alignments,
// workspaces and algorithms checked.
//
// Not covered: time, bank conflicts, occupancy, the rounding of the hardware's own exp, mma and wgmma, clusters of blocks. Races hide
// behind a barrier of other threads of the block, for any barrier counts as one of all; blocks that wait for each other's flags look like a race.
//
// Environment: CAMBIUM_EMU_THREADS (blocks at a time), CAMBIUM_EMU_SEED, CAMBIUM_EMU_DEVICES, CAMBIUM_EMU_MEMORY (bytes a device),
// CAMBIUM_EMU_SM (80, 90), CAMBIUM_EMU_DRIVER (version), CAMBIUM_EMU_NCCL_VERSION,
// CAMBIUM_EMU_CUBLASLT_VERSION, CAMBIUM_EMU_RAN (file to which the names of kernels that ran are appended).
package emu
