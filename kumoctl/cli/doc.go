// Package cli is what the mains share: kumofs's way of writing options, the
// options that every daemon has, the log, signals, exit codes. It is for
// package main and what stands in for one; nothing else reads flags or the
// environment.
package cli
