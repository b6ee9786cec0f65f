package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"quicproquo/cmd/qpq/internal/bench"
)

// A measurement starts nodes of its own, counts their processor time, and leaves no
// process behind.
func TestBenchStartsNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the server and starts three of it; the scripts measure a cluster that runs")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "qpqd")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../qpqd").CombinedOutput(); err != nil {
		t.Fatalf("build qpqd: %v\n%s", err, out)
	}
	r, err := bench.Run(t.Context(), bench.Options{
		Workload: "enqueue", InFlight: 4, Connections: 2, Accounts: 2, Size: 100, Recipients: 1, For: 500 * time.Millisecond, Dir: dir,
		Nodes: bench.NodeOptions{Program: program, Count: 3, LogStore: "wal"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Errors > 0 || r.Calls == 0 || r.Nodes != 3 || r.LogStore != "wal" || r.ClientCPU <= 0 || r.NodesCPU <= 0 {
		t.Errorf("got %+v, want calls without errors on three nodes with the wal, and what they took", r)
	}
	if out, err := exec.CommandContext(t.Context(), "pgrep", "-f", program).Output(); err == nil {
		t.Errorf("nodes are left: %s", out)
	}
}
