package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
)

// gossip spreads where nodes are now and what they run. It is a hint only:
// membership is the raft configuration, identity the certificate. mu guards
// heard.
type gossip struct {
	own  gossipMeta
	list *memberlist.Memberlist

	mu    sync.Mutex
	heard map[tlsid.NodeID]gossipMeta
}

// gossipMeta travels with each node's gossip, at most 512 bytes (memberlist's
// limit). Fields are only ever added.
type gossipMeta struct {
	Address      string `json:"a"`
	Version      string `json:"v"`
	FeatureLevel uint32 `json:"f"`
}

func newGossip(own gossipMeta) *gossip {
	return &gossip{own: own, heard: map[tlsid.NodeID]gossipMeta{}}
}

// start begins gossiping over transport, which it closes in leave.
func (g *gossip) start(id tlsid.NodeID, transport memberlist.Transport, timing Timing, logger *log.Logger) error {
	cfg := memberlist.DefaultLANConfig()
	cfg.Name = string(id)
	cfg.Transport = transport
	cfg.Delegate = gossipDelegate{g}
	cfg.Events = gossipEvents{g}
	cfg.Logger = logger
	cfg.UDPBufferSize = gossipPacket
	cfg.EnableCompression = false // decompression in 0.6.0 is unbounded
	cfg.DeadNodeReclaimTime = 0   // ids are never used again
	cfg.ProbeTimeout = timing.Heartbeat / 2
	cfg.ProbeInterval = timing.Heartbeat
	list, err := memberlist.Create(cfg)
	if err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	g.list = list
	return nil
}

// gossipPacket fits a QUIC datagram on a path of 1,280 bytes.
const gossipPacket = 1150

// join looks for the others until it has found one, and again whenever it knows
// nobody.
func (g *gossip) join(ctx context.Context, others func() []tlsid.NodeID) {
	ticker := time.NewTicker(gossipRetry)
	defer ticker.Stop()
	for {
		if g.list.NumMembers() < 2 {
			var names []string
			for _, id := range others() {
				names = append(names, string(id)+"/"+mesh.GossipAddress)
			}
			// Errors say only that a node is not up yet; the ticker tries again.
			_, _ = g.list.Join(names)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// stop ends the gossip; announce tells the others that the node leaves.
func (g *gossip) stop(announce time.Duration) error {
	if g.list == nil {
		return nil
	}
	if announce > 0 {
		_ = g.list.Leave(announce) // a missed farewell costs the others a probe
	}
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("stop gossip: %w", err)
	}
	return nil
}

// address is where a node said that it is, "" for one that was not heard.
func (g *gossip) address(id tlsid.NodeID) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.heard[id].Address
}

func (g *gossip) hear(node *memberlist.Node) {
	var meta gossipMeta
	if err := json.Unmarshal(node.Meta, &meta); err != nil {
		return
	}
	if _, _, err := net.SplitHostPort(meta.Address); err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.heard[tlsid.NodeID(node.Name)]; known || len(g.heard) < maxMembers {
		g.heard[tlsid.NodeID(node.Name)] = meta
	}
}

type gossipEvents struct{ *gossip }

func (e gossipEvents) NotifyJoin(node *memberlist.Node)   { e.hear(node) }
func (e gossipEvents) NotifyUpdate(node *memberlist.Node) { e.hear(node) }
func (e gossipEvents) NotifyLeave(node *memberlist.Node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.heard, tlsid.NodeID(node.Name))
}

type gossipDelegate struct{ *gossip }

func (d gossipDelegate) NodeMeta(limit int) []byte {
	meta, err := json.Marshal(d.own)
	if err != nil || len(meta) > limit {
		return nil
	}
	return meta
}

func (gossipDelegate) NotifyMsg([]byte)                {}
func (gossipDelegate) GetBroadcasts(int, int) [][]byte { return nil }
func (gossipDelegate) LocalState(bool) []byte          { return nil }
func (gossipDelegate) MergeRemoteState([]byte, bool)   {}
