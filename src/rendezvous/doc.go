// Package rendezvous finds the place of a process in a job: its rank, how many ranks there are, its rank on the node. It is
// a function of the environment alone; Check and CheckAlone compare what it found with what MPI says, and tell mistakes
// of launching in one sentence, so that nobody trains N times alone without knowing.
package rendezvous
