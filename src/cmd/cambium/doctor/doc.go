// Package doctor looks at a machine: what it has, what is missing, how to get it, and where the rank and the size of a
// job would come from. It only looks; the one thing that it writes is a temporary file, to time the disk.
package doctor
