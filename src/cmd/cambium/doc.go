// Command cambium trains language models that grow while they learn. Each command reads its flags and calls the package
// that does the work; nothing is decided here.
//
// Errors are one line each on standard error, beginning "cambium: ". The exit codes are in exit.go and in
// `cambium help exit-codes`.
package main
