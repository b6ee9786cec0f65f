package interop

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"quicproquo/testcluster/npm"
)

// harness starts peers and keeps idle ones, because starting Node.js costs more than most
// scenarios.
type harness struct {
	mlspeer string // the program
	scripts string // the folder of the JavaScript peers, beside node_modules

	mu   sync.Mutex
	idle map[*stack][]*peer // guarded by mu
}

// newHarness builds mlspeer and installs the JavaScript peers. It skips the test without
// Node.js, unless CI is set: there the suite must run.
func newHarness(t *testing.T) *harness {
	t.Helper()
	if testing.Short() {
		t.Skip("the peers are other processes: go test without -short runs it, the race detector has nothing to see")
	}
	scripts := npm.Folder(t, "node")
	h := &harness{mlspeer: filepath.Join(t.TempDir(), "mlspeer"), scripts: scripts, idle: map[*stack][]*peer{}}
	run(t, ".", "go", "build", "-o", h.mlspeer, "quicproquo/cmd/mlspeer")
	t.Cleanup(h.close)
	return h
}

func (h *harness) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, peers := range h.idle {
		for _, p := range peers {
			p.stop()
		}
	}
}

func run(t *testing.T, dir, program string, arguments ...string) {
	t.Helper()
	command := exec.Command(program, arguments...)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
}

// peer returns a process over stack s that belongs to t until it ends.
func (h *harness) peer(t *testing.T, s *stack) *peer {
	t.Helper()
	p := h.reuse(s)
	if p == nil {
		var err error
		if p, err = h.start(s); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { h.release(p) })
	return p
}

func (h *harness) reuse(s *stack) *peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.idle[s])
	if n == 0 {
		return nil
	}
	p := h.idle[s][n-1]
	h.idle[s] = h.idle[s][:n-1]
	return p
}

func (h *harness) start(s *stack) (*peer, error) {
	if s == ours {
		return start(s, h.mlspeer)
	}
	p, err := start(s, "node", filepath.Join(h.scripts, s.script))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	return p, nil
}

func (h *harness) release(p *peer) {
	if p.broken {
		p.stop()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle[p.stack] = append(h.idle[p.stack], p)
}
