package localcluster

import (
	"os/exec"
	"syscall"
)

// Command makes a process that the terminal's Ctrl-C does not reach and that
// ends when its standard input does, so it never outlives this one.
func Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...) //nolint:noctx // it is ended by what it is told, see package process
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}
