// Package arrows holds the structure of Cambium as a test: which package may import which, and what a pure package may
// use of the standard library.
package arrows
