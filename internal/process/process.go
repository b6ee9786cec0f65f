// Package process runs programs as children of this one: started and started again,
// stopped in good order or killed, with their standard error in a file, and never
// outliving this process: their standard input is a pipe that closes when it dies.
package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTime bounds an orderly stop.
const stopTime = 15 * time.Second

// logTail is how many of the last lines of a log are told.
const logTail = 3

// Process is a program that can run, one process at a time. mu guards what follows it.
type Process struct {
	name string // in errors
	log  string // the file that its standard error is added to

	mu     sync.Mutex
	cmd    *exec.Cmd     // nil while none runs
	life   io.Closer     // the write end of its standard input
	stderr *os.File      // the log
	done   chan struct{} // closed when it has ended
}

// New makes a program that does not run yet. name stands in errors, log is the file
// that gets its standard error.
func New(name, log string) *Process { return &Process{name: name, log: log} }

// Start starts a process. start does it, given the pipe that its standard input is; nil:
// cmd.Start.
func (p *Process) Start(cmd *exec.Cmd, start func(cmd *exec.Cmd, input io.Writer) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("start %s: it runs already", p.name)
	}
	stderr, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	cmd.Stderr = stderr
	life, err := cmd.StdinPipe()
	switch {
	case err != nil:
	case start != nil:
		err = start(cmd, life)
	default:
		err = cmd.Start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", p.name, err), stderr.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is told by its log
	}()
	p.cmd, p.life, p.stderr, p.done = cmd, life, stderr, done
	return nil
}

// PID returns the process's id, 0 while there is none.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Signal sends a signal to the process: SIGSTOP pauses it, SIGCONT lets it go on.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return fmt.Errorf("signal %s: it does not run", p.name)
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// Kill ends the process at once, as a crash would, and returns when it is gone.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL, 0) }

// Stop ends the process in good order, and kills it if that takes too long.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM, stopTime) }

// end returns nil if no process runs. A patience of 0 waits as long as it takes.
func (p *Process) end(how syscall.Signal, patience time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.name, err)
	}
	var slow error
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-p.done:
		case <-timer.C:
			slow = fmt.Errorf("%s did not end within %v and was killed", p.name, patience)
			_ = p.cmd.Process.Kill()
		}
	}
	<-p.done
	_ = p.life.Close() // Wait has closed it
	err := p.stderr.Close()
	p.cmd = nil
	return errors.Join(slow, err)
}

// Ended reports whether the process ended by itself.
func (p *Process) Ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// LastWords returns the last lines of the log of a process that ended by itself, ""
// for any other.
func (p *Process) LastWords() string {
	if !p.Ended() {
		return ""
	}
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-logTail):], "; ")
}
