// Package cuda is the backend for NVIDIA GPUs (build tag cuda), over the driver API: gorgonia.org/cu for devices, primary
// contexts, modules, streams, events and copies, and a few calls beside it for what that package lacks. The kernels are
// the .cu files below cuda/, compiled into the program; cuda/emu runs the same files on the processor.
//
// A program that was built with the tag starts on a machine without a driver, and Open says what is missing. One that was
// built without it has an Open that says so.
//
// A stream has a goroutine of its own, tied to an OS thread on which the device's context is current: it takes operations from
// a queue and launches them, runs that come again as CUDA graphs. So a rank's goroutine goes on at once, and Do runs host code in stream order, exactly as on the CPU.
package cuda
