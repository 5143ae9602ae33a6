// Package dryrun compares what a dry run tells with what the run then does.
package dryrun
