package main

import (
	"os/exec"
	"syscall"
)

// childCommand makes a process that the terminal's Ctrl-C does not reach and that
// ends when its standard input does, so it never outlives this one.
func childCommand(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...) //nolint:noctx // it is ended by what it is told, see testcluster.Process
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}
