package bench

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quicproquo/internal/await"
	"quicproquo/internal/process"
)

// A node that has ended by itself is told, with the end of its log: what was measured
// without it is not what was asked for.
func TestNodeThatEndedIsTold(t *testing.T) {
	n := &nodes{closed: make(chan struct{})}
	p := process.New("node n1", filepath.Join(t.TempDir(), "n1.log"))
	n.processes = append(n.processes, p)
	if err := p.Start(exec.Command("sh", "-c", "echo disk on fire >&2; exit 1"), nil); err != nil { //nolint:noctx // it ends by itself
		t.Fatal(err)
	}
	if err := await.Until(t.Context(), "the end of the node", func() error {
		if !p.Ended() {
			return errors.New("it runs")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := n.err(); err == nil || !strings.Contains(err.Error(), `node n1, which was started for this, has ended; its log ends with "disk on fire"`) {
		t.Errorf("got %v, want that n1 has ended", err)
	}
	if err := n.close(); err != nil {
		t.Error(err)
	}
}
