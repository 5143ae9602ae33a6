// Package pipeline says what each pipeline stage does, in which order: schedules are lists of instructions, one list a
// stage, for an executor to run. It is pure: time, memory and correctness of a schedule are functions of its lists.
//
// Numbers of stages and micro-batches begin at 0. Consecutive communication instructions are one group, posted
// together (ncclGroupStart, MPI_Waitall): that is what keeps two neighbours that send to each other from waiting for
// ever. Between two stages messages meet in the order in which both post them. Simulate holds to these rules, with sends that
// wait for their receiver. Slots and Messages deal out the memory that an executor needs.
package pipeline
