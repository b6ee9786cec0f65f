package testcluster_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"quicproquo/testcluster"
)

// Every path loses IP packets of more than 1,280 bytes without a word, from before the
// first one is sent, as many VPNs do: the nodes elect a leader, and a client's long write
// through a follower is read on another node.
func TestPathsOf1280Bytes(t *testing.T) {
	faults := testcluster.NewFaults(1)
	faults.Narrow(1280 - 20 - 8)
	c := testcluster.StartT(t, testcluster.Options{Network: testcluster.Loopback(faults)})
	c.LeaderT(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := c.Client(c.FollowersT(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := conn.Health(ctx); err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("long"), 50_000)
	followers := c.FollowersT(t)
	_, result, err := followers[0].Engine().Propose(ctx, testcluster.EnqueueEntry(testcluster.Account(1), nil, body))
	if err != nil {
		t.Fatal(err)
	}
	if seq, err := testcluster.EnqueuedSeq(result); err != nil || seq != 1 {
		t.Fatalf("the write got number %d: %v", seq, err)
	}
	c.SameT(t)
	if got, err := testcluster.Inbox(followers[1], 1); err != nil || len(got) != 1 || got[0] != string(body) {
		t.Errorf("%d envelopes on another node (%v), want the long one", len(got), err)
	}
}
