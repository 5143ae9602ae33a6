//go:build !amd64

package cpu

// hasLevel tells whether processor and operating system support l.
func hasLevel(l level) bool { return l == portable }
