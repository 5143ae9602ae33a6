// Package layout is the one description of where every slice of every parameter lives, and the one planner of moves.
//
// A parameter is a named global tensor. A Layout says which box (half-open index ranges) of which tensor each rank holds.
// Saving, loading at another grid, re-layout between growth stages, growth itself, export, and the all-gather of a sharded
// optimizer are all redistributions between two layouts: Plan lists the transfers of one, Uncovered what is left for
// an initialiser. Together they write every destination element exactly once.
//
// Growth puts a small model into a large one. An Embedding says where: old index ranges of each kind of axis, and the
// old layer of each new layer.
//
// Two invariants hold for every Layout: two parts of one tensor are disjoint, and together they cover it. Boxes
// handed out may share memory: they are for reading.
//
// The package is pure.
package layout
