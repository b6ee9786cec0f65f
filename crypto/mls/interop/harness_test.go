package interop

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
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
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("CI must have %s: %v", tool, err)
			}
			t.Skipf("install Node.js 20.6 or later with npm to run the interoperability tests: %v", err)
		}
	}
	h := &harness{mlspeer: filepath.Join(t.TempDir(), "mlspeer"), idle: map[*stack][]*peer{}}
	run(t, ".", "go", "build", "-o", h.mlspeer, "quicproquo/cmd/mlspeer")
	h.scripts = installScripts(t)
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

// installScripts returns a folder with the peers and their dependencies: node/ itself if
// its node_modules is there, else a copy beside a cached `npm ci`.
func installScripts(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs("node")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(source, "node_modules")); err == nil {
		return source
	}
	modules := filepath.Join(installedModules(t, source), "node_modules")
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(work, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return work
}

// installedModules returns the cache folder for the lock file's content, filled by npm ci.
func installedModules(t *testing.T, source string) string {
	t.Helper()
	lock, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	target := filepath.Join(cache, "quicproquo-interop", hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(target); err == nil {
		return target
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		t.Fatal(err)
	}
	// Fill a folder of our own and move it, so that a broken or parallel run never
	// leaves half an installation.
	fresh := fmt.Sprintf("%s.installing-%d", target, os.Getpid())
	if err := os.RemoveAll(fresh); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(fresh, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh) // only there still if the move failed
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(fresh, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, fresh, "npm", "ci", "--ignore-scripts")
	if err := os.Rename(fresh, target); err != nil && !errors.Is(err, os.ErrExist) {
		if _, missing := os.Stat(target); missing != nil {
			t.Fatalf("keep installed modules: %v", err)
		}
	}
	return target
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
