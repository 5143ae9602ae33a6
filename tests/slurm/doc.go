// Package slurm submits slurm/train.sbatch to a real Slurm, a cluster of virtual nodes on this machine (slurm/lab), and reads
// what the jobs have trained. Where Slurm's or Open MPI's packages are not installed it says so and tests nothing.
package slurm
