package main_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/vault"
	"quicproquo/nodeaddr"
)

// moveTime is how long a cluster whose nodes all have new addresses may take until it
// takes writes: three times what it needs on a machine that has other things to do.
const moveTime = 30 * time.Second

// Nodes move. One that comes back elsewhere, which its own node.toml alone says, is shown
// there by every node, and raft's configuration follows. When all come back elsewhere at
// once, as their node.toml say, they find each other, elect, and take a write; raft's configuration follows again, without a command.
func TestNodesMove(t *testing.T) {
	binary := buildBinary(t)
	root := filepath.Join(t.TempDir(), "cluster")
	ids, first := []string{"n1", "n2", "n3"}, freePorts(t, 7)
	args := []string{"init", "--out", root}
	for i, id := range ids {
		args = append(args, "--node", id+"="+first[i])
	}
	if out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	processes := map[string]*process{}
	run := func(id, address string) {
		processes[id] = start(t, binary, "run", "--dir", filepath.Join(root, id), "--listen", address)
	}
	for i, id := range ids {
		run(id, first[i])
	}
	awaitStatus(t, binary, root, "whole cluster", whole)

	processes["n3"].signal(t, syscall.SIGTERM)
	edit(t, filepath.Join(root, "n3"), first[2], first[3])
	run("n3", first[3])
	at := func(want ...string) func([]member) bool {
		return func(members []member) bool {
			if !whole(members) || len(members) != len(want) {
				return false
			}
			for i, m := range members {
				if m.Address != want[i] || m.Configured != want[i] {
					return false
				}
			}
			return true
		}
	}
	awaitStatus(t, binary, filepath.Join(root, "n1"), "n3 at its new address", at(first[0], first[1], first[3]))

	for _, id := range ids {
		processes[id].signal(t, syscall.SIGTERM)
	}
	began := time.Now()
	for i, id := range ids {
		for j, from := range []string{first[0], first[1], first[2]} {
			edit(t, filepath.Join(root, id), from, first[4+j])
		}
		edit(t, filepath.Join(root, id), first[3], first[6])
		run(id, first[4+i])
	}
	register(t, binary, root, "alice")
	took := time.Since(began)
	t.Logf("all nodes moved; the first write took %v", took)
	if took > moveTime {
		t.Errorf("a write took %v after all nodes moved, want at most %v", took, moveTime)
	}
	awaitStatus(t, binary, filepath.Join(root, "n2"), "all at their new addresses", at(first[4], first[5], first[6]))
}

// edit replaces a text in a node's file.
func edit(t *testing.T, dir, from, to string) {
	t.Helper()
	file := filepath.Join(dir, "node.toml")
	raw, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(strings.ReplaceAll(string(raw), from, to)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// register makes an account through the nodes of a directory: a write.
func register(t *testing.T, binary, dir, name string) {
	t.Helper()
	c := newClient(t, binary, dir)
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	if err := c.Register(ctx, name, []byte("a password of some length")); err != nil {
		t.Fatal(err)
	}
}

// newClient is a client that was given what `qpqd pin` prints.
func newClient(t *testing.T, binary, dir string) *client.Client {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, "pin", "--dir", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	var addresses []nodeaddr.Address
	for _, line := range strings.Fields(string(out)) {
		a, err := nodeaddr.ParseList(line)
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, a...)
	}
	trust, err := nodeaddr.Trust(addresses, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Create(client.Profile{
		Dir: filepath.Join(t.TempDir(), fmt.Sprint("vault", len(out))), Key: vault.Raw(make([]byte, 32)),
		Options: client.Options{Endpoints: nodeaddr.Endpoints(addresses), TLS: trust, PacketConn: socket},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
