// Package bench measures: how long a training step takes (Step), how that changes with the ranks (Scaling), and whether
// growth pays (Growth). It trains with package train and reports what it saw, with the machine, the versions and the
// formula behind every number. Benchmarks are never tests: nothing here fails because a machine is slow.
package bench
