//go:build !linux

package main

import "os/exec"

// childCommand makes a process that ends when its standard input does.
func childCommand(name string, args ...string) *exec.Cmd {
	return exec.Command(name, args...) //nolint:noctx // it is ended by what it is told, see testcluster.Process
}
