//go:build !linux

package localcluster

import "os/exec"

// Command makes a process that ends when its standard input does.
func Command(name string, args ...string) *exec.Cmd {
	return exec.Command(name, args...) //nolint:noctx // it is ended by what it is told, see package process
}
