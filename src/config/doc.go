// Package config describes a run: what to train, on what, how long, how it grows.
//
// A run is written in YAML with Megatron's words as keys, and any key can be given on the command line: as a flag of the
// same spelling, or as --set KEY=VALUE. Flags win over --set, --set over the file, the file over the defaults. Reading is
// strict: an unknown key, a wrong type or an impossible value is one sentence with file, line and key, all faults of a
// file are told at once, and nothing is allocated before the description is whole.
//
// Load gives a Run whose stages are complete: every stage carries its whole model and all its settings, so that
// whoever reads it needs no rule about what overrides what. Resolved writes that down; reading it back gives the same Run.
package config
