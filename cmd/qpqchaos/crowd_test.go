package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/cmd/internal/node"
	"quicproquo/cmd/qpqchaos/internal/chaos"
	"quicproquo/cmd/qpqchaos/internal/crowd"
	"quicproquo/testcluster"
)

// The measurement of crowds, in small: every client is served beside the load, again after
// the node is killed that they had come to, and by nodes that one was not told of.
func TestCrowd(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts nodes as processes")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "crowd", "--json", "--few", "2", "--many", "8", "--spins", "1",
		"--turns", "1", "--turn", "300ms", "--arrive", "20", "--lone", "1")
	cmd.Env = append(os.Environ(), programEnv+"=1")
	var notes bytes.Buffer
	cmd.Stderr = &notes
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, notes.String())
	}
	var r struct {
		Calls    []crowd.Calls
		Arrivals struct{ Clients, There, Errors int }
		LoneMs   []int
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("the output is no report: %v\n%s", err, out)
	}
	for _, c := range r.Calls {
		if c.PerSecond == 0 || c.Errors > 0 {
			t.Errorf("%d connections, beside load %t: %.0f calls a second, %d errors (%s)", c.Connections, c.Beside, c.PerSecond, c.Errors, c.First)
		}
	}
	if a := r.Arrivals; len(r.Calls) != 4 || a.Clients != 20 || a.There == 0 || a.Errors > 0 || len(r.LoneMs) != 1 {
		t.Errorf("got %s, want four turns of calls, twenty clients without an error, and one that was left alone", out)
	}
}

// A translator that gives everybody other ports costs a client, and the nodes among each
// other, no more than two seconds.
func TestTranslatorWithOtherPorts(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts nodes as processes")
	}
	t.Parallel()
	c, err := testcluster.StartProcesses(testcluster.ProcessOptions{
		Dir: t.TempDir(), Prepare: node.Provision, Faults: testcluster.NewFaults(1),
		Command: func(dir string) *exec.Cmd {
			cmd := nodeProcess(os.Args[0], dir, &chaos.Options{})
			cmd.Env = append(os.Environ(), programEnv+"=1")
			return cmd
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := c.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		options, err := c.ClientOptions(n)
		if err != nil {
			t.Fatal(err)
		}
		caller, err := conn.Dial(options)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = caller.Close() }()
		for i := range 3 {
			if _, err := caller.Health(ctx); err != nil {
				t.Fatal(err)
			}
			if err := n.Rebind(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := caller.Health(ctx); err != nil || time.Since(began) > 5*time.Second {
				t.Errorf("node %s, time %d: %v after %v, want an answer within 2 s, 5 on a busy machine", n.ID(), i+1, err, time.Since(began))
			}
		}
	}
}
