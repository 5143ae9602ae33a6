// Package plan says what a run would do, without running it: for every growth stage its parameters, grid, groups and pipeline
// stages, the memory of a rank by kind, the schedule's bubble, the work; and for every growth the bytes that move between
// ranks and the memory that it needs. It computes by the same functions as the run itself (layouts, redistribution plans,
// schedules, the model's own plan of memory), so a run of any size can be looked at on a laptop. It does no I/O.
package plan
