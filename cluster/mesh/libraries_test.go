package mesh

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
	"github.com/quic-go/quic-go/testutils/simnet"

	"quicproquo/crypto/tlsid"
)

func raftAddress(id tlsid.NodeID) raft.ServerAddress { return raft.ServerAddress(id) }

func gossipName(id tlsid.NodeID) memberlist.Address {
	return memberlist.Address{Name: string(id), Addr: GossipAddress}
}

// simulated returns sockets of an in-memory network with 5 ms links, for the
// given nodes.
func simulated(t *testing.T, ids ...tlsid.NodeID) func(tlsid.NodeID) net.PacketConn {
	t.Helper()
	network := &simnet.Simnet{Router: &simnet.PerfectRouter{}}
	link := simnet.NodeBiDiLinkSettings{Latency: 5 * time.Millisecond}
	conns := make(map[tlsid.NodeID]net.PacketConn)
	// simnet tells 4-byte addresses from their 16-byte form; QUIC dials the former.
	address := func(i int) *net.UDPAddr {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 4433))
	}
	for i, id := range ids {
		conns[id] = network.NewEndpoint(address(i), link)
	}
	if err := network.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = network.Close() })
	return func(id tlsid.NodeID) net.PacketConn { return conns[id] }
}

// slowHeartbeat is what package cluster wraps raft's transport in.
type slowHeartbeat struct{ *raft.NetworkTransport }

func (slowHeartbeat) SetHeartbeatHandler(func(raft.RPC)) {}

// counter is a state machine that counts.
type counter struct {
	mu  sync.Mutex
	sum uint64
}

func (c *counter) Apply(l *raft.Log) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum += binary.BigEndian.Uint64(l.Data)
	return c.sum
}

func (c *counter) value() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum
}

func (c *counter) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }

func (c *counter) Restore(r io.ReadCloser) error { return r.Close() }

type raftNode struct {
	*raft.Raft
	*counter
	transport slowHeartbeat
}

func startRaft(t *testing.T, w *network, ids []tlsid.NodeID) map[tlsid.NodeID]*raftNode {
	t.Helper()
	var servers []raft.Server
	for _, id := range ids {
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: raftAddress(id)})
	}
	nodes := make(map[tlsid.NodeID]*raftNode)
	for _, id := range ids {
		config := raft.DefaultConfig()
		config.LocalID = raft.ServerID(id)
		config.Logger = hclog.NewNullLogger()
		transport := slowHeartbeat{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: w.nodes[id].RaftLayer(), MaxPool: 3, Timeout: 10 * time.Second, Logger: config.Logger,
		})}
		store, machine := raft.NewInmemStore(), new(counter)
		snapshots := raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(config, store, store, snapshots, transport, raft.Configuration{Servers: servers}); err != nil {
			t.Fatal(err)
		}
		r, err := raft.NewRaft(config, machine, store, store, snapshots, transport)
		if err != nil {
			t.Fatal(err)
		}
		nodes[id] = &raftNode{Raft: r, counter: machine, transport: transport}
	}
	return nodes
}

func (n *raftNode) shutdown(t *testing.T) {
	t.Helper()
	_ = n.transport.Close() // always nil
	if err := n.Shutdown().Error(); err != nil {
		t.Error(err)
	}
}

// leaderOf waits for a leader that can write.
func leaderOf(t *testing.T, nodes map[tlsid.NodeID]*raftNode) tlsid.NodeID {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		for id, n := range nodes {
			if n.State() == raft.Leader && n.Barrier(time.Second).Error() == nil {
				return id
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no leader within 30 s")
	return ""
}

func one() []byte { return binary.BigEndian.AppendUint64(nil, 1) }

// raftElectsAndApplies is the life of a real raft cluster on the mesh: elect,
// apply, transfer leadership, lose the leader, elect and apply again.
func raftElectsAndApplies(t *testing.T, w *network, ids []tlsid.NodeID) {
	t.Helper()
	nodes := startRaft(t, w, ids)
	defer func() {
		for _, n := range nodes {
			n.shutdown(t)
		}
	}()
	const writes = 200
	leader := leaderOf(t, nodes)
	for i := range uint64(writes) {
		future := nodes[leader].Raft.Apply(one(), time.Second)
		if err := future.Error(); err != nil || future.Response() != i+1 {
			t.Fatalf("write %d: %v, answered %v", i, err, future.Response())
		}
	}
	if err := nodes[leader].LeadershipTransfer().Error(); err != nil {
		t.Errorf("transfer leadership: %v", err)
	}
	next := leaderOf(t, nodes)
	if next == leader {
		t.Errorf("leader is still %s after a transfer", leader)
	}
	nodes[next].shutdown(t)
	w.nodes[next].crash()
	delete(nodes, next)
	last := leaderOf(t, nodes)
	if err := nodes[last].Raft.Apply(one(), time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	for id, n := range nodes {
		waitFor(t, func() bool { return n.value() == writes+1 }, func() string {
			return fmt.Sprintf("%s applied %d writes, expected %d", id, n.value(), writes+1)
		})
	}
}

func waitFor(t *testing.T, done func() bool, state func() string) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal(state())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A real raft cluster runs on RaftLayer over loopback.
func TestRaftOnLoopback(t *testing.T) {
	ids := []tlsid.NodeID{"n1", "n2", "n3"}
	raftElectsAndApplies(t, newNetwork(t, nil, ids...), ids)
}

// The same in a bubble of fake time over an in-memory network: nothing in the
// mesh needs a real clock or a real socket.
func TestRaftInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := []tlsid.NodeID{"n1", "n2", "n3"}
		raftElectsAndApplies(t, newNetwork(t, simulated(t, ids...), ids...), ids)
	})
}

func startGossip(t *testing.T, n *node) *memberlist.Memberlist {
	t.Helper()
	config := memberlist.DefaultLANConfig()
	config.Name = string(n.id)
	config.Transport = n.GossipTransport()
	config.UDPBufferSize = GossipPacket
	config.EnableCompression = false
	config.Logger = log.New(io.Discard, "", 0)
	list, err := memberlist.Create(config)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// memberlist on GossipTransport finds all nodes from one, and sees a death.
func TestGossipInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := []tlsid.NodeID{"n1", "n2", "n3"}
		w := newNetwork(t, simulated(t, ids...), ids...)
		lists := make(map[tlsid.NodeID]*memberlist.Memberlist)
		for _, id := range ids {
			lists[id] = startGossip(t, w.nodes[id])
		}
		for _, id := range ids[1:] {
			if _, err := lists[id].Join([]string{"n1/" + GossipAddress}); err != nil {
				t.Fatal(err)
			}
		}
		see := func(members int) {
			t.Helper()
			for id, list := range lists {
				waitFor(t, func() bool { return list.NumMembers() == members }, func() string {
					return fmt.Sprintf("%s sees %d members, expected %d", id, list.NumMembers(), members)
				})
			}
		}
		see(3)
		w.nodes["n3"].crash()
		if err := lists["n3"].Shutdown(); err != nil {
			t.Error(err)
		}
		delete(lists, "n3")
		see(2)
		for _, list := range lists {
			if err := list.Shutdown(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute) // fake; Shutdown does not join a probe in progress, which ends by time
	})
}
