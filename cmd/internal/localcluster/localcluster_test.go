package localcluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/node"
	"quicproquo/internal/await"
)

// Nodes of this process elect a leader, stop in good order, and are opened again from their
// directories; a directory that is in use is refused and leaves nothing behind.
func TestOpen(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "cluster")
	peers, err := Peers(3, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Provision(root, peers, node.ListenThere); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, p := range peers {
		dirs = append(dirs, filepath.Join(root, string(p.ID)))
	}
	for _, round := range []string{"first", "second"} {
		c, err := Open(dirs, node.Options{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("%s start: %v", round, err)
		}
		awaitLeader(t, c)
		if _, err := Open(dirs[2:], node.Options{}, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s start: a node that runs was opened again", round)
		}
		if len(c.Nodes()) != 3 || c.Nodes()[1].ID != peers[1].ID || c.Nodes()[1].Address != peers[1].Address || c.Nodes()[1].Dir != dirs[1] {
			t.Errorf("%s start: %d nodes, the second is %+v, want %+v", round, len(c.Nodes()), c.Nodes()[1], peers[1])
		}
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("%s stop: %v", round, err)
		}
	}
	if _, err := Open([]string{dirs[0], filepath.Join(root, "n9")}, node.Options{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory that does not exist was opened")
	}
	conn, err := net.ListenPacket("udp", peers[0].Address)
	if err != nil {
		t.Fatalf("the node before the one that could not be opened still listens: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

func awaitLeader(t *testing.T, c *Cluster) {
	t.Helper()
	if err := await.Until(t.Context(), "a leader", func() error {
		for _, n := range c.Nodes() {
			if n.Engine.Ready() {
				return nil
			}
		}
		return fmt.Errorf("none of %d nodes leads", len(c.Nodes()))
	}); err != nil {
		t.Fatal(err)
	}
}

// Ports that a person can remember are taken where they are free, others where not.
func TestPeers(t *testing.T) {
	t.Parallel()
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).Port
	peers, err := Peers(2, port)
	if err != nil || len(peers) != 2 || peers[0].ID != "n1" || peers[1].ID != "n2" {
		t.Fatalf("%+v %v", peers, err)
	}
	if peers[0].Address == taken.LocalAddr().String() || !strings.HasPrefix(peers[0].Address, "127.0.0.1:") {
		t.Errorf("n1 is at %s, which is taken", peers[0].Address)
	}
	if peers[0] == (cluster.Peer{ID: "n1", Address: peers[1].Address}) {
		t.Error("two nodes at one address")
	}
}
