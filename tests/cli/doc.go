// Package cli holds transcripts of the cambium command: what a user types, and what has to come of it. They run the real
// program, built once. A transcript is a file of testdata in the form of rogpeppe/go-internal's testscript.
package cli
