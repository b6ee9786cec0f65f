package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"quicproquo/testcluster"
)

// countingNetwork counts the bytes that each node sends.
type countingNetwork struct {
	testcluster.Network

	mu   sync.Mutex
	sent map[string]*atomic.Int64 // by address
}

type countingConn struct {
	net.PacketConn
	sent *atomic.Int64
}

func (n *countingNetwork) Listen(address string) (net.PacketConn, error) {
	conn, err := n.Network.Listen(address)
	if err != nil {
		return nil, err
	}
	return &countingConn{conn, n.of(conn.LocalAddr().String())}, nil
}

func (n *countingNetwork) of(address string) *atomic.Int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sent[address] == nil {
		n.sent[address] = &atomic.Int64{}
	}
	return n.sent[address]
}

func (c *countingConn) WriteTo(p []byte, to net.Addr) (int, error) {
	c.sent.Add(int64(len(p)))
	return c.PacketConn.WriteTo(p, to)
}

// A leader does not send an entry back to the follower that has forwarded it: what is
// written on a follower leaves the leader once, for the other follower; what is
// written on the leader leaves it twice.
func TestForwardedEntriesAreNotSentBack(t *testing.T) {
	network := &countingNetwork{Network: testcluster.Loopback(testcluster.NewFaults(1)), sent: map[string]*atomic.Int64{}}
	c := testcluster.StartT(t, testcluster.Options{Network: network})
	leader, follower := c.LeaderT(t), c.FollowersT(t)[0]
	const writes, size = 16, 64 << 10
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(rand.Uint32())
	}
	var last uint64
	sent := func(on *testcluster.Node, recipient int) float64 {
		write(t, on, recipient, nil, "warm") // pipelines begin with the first entries
		write(t, on, recipient, nil, "up")
		before := network.of(leader.Address()).Load()
		for i := range writes {
			_, last = write(t, on, recipient, nil, fmt.Sprintf("%d%s", i, body))
		}
		return float64(network.of(leader.Address()).Load()-before) / (writes * size)
	}
	fromLeader, fromFollower := sent(leader, 1), sent(follower, 2)
	if fromLeader < 2 {
		t.Fatalf("a write on the leader left it %.2f times: this test can't see what is sent", fromLeader)
	}
	if fromFollower > 1.5 {
		t.Errorf("a write on a follower left the leader %.2f times, want once", fromFollower)
	}
	for _, n := range c.Nodes() {
		if err := n.Engine().WaitSeen(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		if got := bodies(t, n, 2); len(got) != writes+2 {
			t.Errorf("%s has %d of the %d writes", n.ID(), len(got), writes+2)
		}
	}
}
