package testcluster_test

import (
	"context"
	"testing"
	"time"

	"quicproquo/testcluster"
)

// A client that knows all nodes asks its health question on; when the node that
// it talks to is killed it finds another one, and it never goes back in time.
func TestClientMovesToALivingNode(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	conn, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		before, err := conn.Health(ctx)
		if err != nil {
			t.Fatal(err)
		}
		seen := conn.Seen()
		for _, n := range c.Nodes() {
			if string(n.ID()) == before.NodeID {
				if err := n.Kill(); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := n.Start(); err != nil {
						t.Error(err)
					}
				}()
			}
		}
		after, err := conn.Health(ctx)
		if err != nil {
			t.Fatalf("after the loss of %s: %v", before.NodeID, err)
		}
		if after.NodeID == before.NodeID {
			t.Errorf("%s answers after it was killed", after.NodeID)
		}
		if conn.Seen() < seen {
			t.Errorf("seen index went back from %d to %d", seen, conn.Seen())
		}
	}
}
