// Package launch gives a program its world: ranks as goroutines of this process, or the ranks that mpirun or srun started
// where the program is built with the tag mpi. Programs that it starts behave the same in both.
package launch
