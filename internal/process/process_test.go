package process

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"quicproquo/internal/await"
)

func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) } //nolint:noctx // Process ends it

// A program is started once at a time, ends when it is told or killed, and can be started
// again; its standard input closes no earlier.
func TestProcess(t *testing.T) {
	t.Parallel()
	p := New("sleeper", filepath.Join(t.TempDir(), "log"))
	if p.PID() != 0 || p.Signal(syscall.SIGCONT) == nil || p.Stop() != nil {
		t.Error("what does not run has a PID, takes a signal, or can't be stopped")
	}
	for _, end := range []func() error{p.Stop, p.Kill} {
		if err := p.Start(shell("exec cat"), nil); err != nil {
			t.Fatal(err)
		}
		pid := p.PID()
		if err := p.Start(shell("exec cat"), nil); err == nil || !strings.Contains(err.Error(), "sleeper: it runs already") {
			t.Errorf("a second start: %v", err)
		}
		if pid == 0 || p.Ended() || p.Signal(syscall.SIGCONT) != nil {
			t.Errorf("process %d: ended by itself: %v", pid, p.Ended())
		}
		if err := end(); err != nil || p.PID() != 0 {
			t.Errorf("ended with %v, PID %d", err, p.PID())
		}
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d still runs", pid)
		}
	}
}

// Whoever ends by itself has left a reason in its log, of which the last lines are told.
func TestLastWords(t *testing.T) {
	t.Parallel()
	p := New("loser", filepath.Join(t.TempDir(), "log"))
	if err := p.Start(shell("printf 'a\nb\nc\nno disk\n' >&2"), nil); err != nil {
		t.Fatal(err)
	}
	if err := await.Until(t.Context(), "the end", func() error {
		if !p.Ended() {
			return exec.ErrWaitDelay
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := p.LastWords(); got != "b; c; no disk" {
		t.Errorf("last words %q, want the last three lines", got)
	}
	if err := p.Stop(); err != nil || p.LastWords() != "" {
		t.Errorf("stop after the end: %v, last words %q", err, p.LastWords())
	}
	if err := p.Start(exec.Command("/nowhere/no-such-program"), nil); err == nil || p.PID() != 0 { //nolint:noctx // it never runs
		t.Errorf("a program that does not exist was started: %v", err)
	}
}
