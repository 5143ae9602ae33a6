//go:build !unix

package telemetry

func ownTerminal(int) bool { return true }
