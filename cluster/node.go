package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/quic-go/quic-go"

	"quicproquo/cluster/clock"
	"quicproquo/cluster/datadir"
	"quicproquo/cluster/diskguard"
	"quicproquo/cluster/mesh"
	"quicproquo/cluster/raftlog"
	"quicproquo/cluster/reference"
	"quicproquo/cluster/snapshot"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// Node is one member of the cluster. All methods are safe for concurrent use.
//
// Everything above mu is set by Open and not changed afterwards. Goroutines are
// started in Open, counted in tasks and joined in Close.
type Node struct {
	cfg     Config
	log     *slog.Logger
	started time.Time

	// ctx ends when the node closes; its goroutines watch it.
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	dir       *datadir.Dir
	guard     *diskguard.Guard
	store     *fsm.Store
	logs      *raftlog.Stores
	snapshots *snapshot.Store
	mesh      *mesh.Endpoint
	peers     *peerStreams
	gossip    *gossip
	transport *transport
	raft      *raft.Raft
	// configuration is raft for those who may ask before Open has set it.
	configuration atomic.Pointer[raft.Raft]

	observations chan raft.Observation // leader changes
	notices      chan bool             // this node won or lost leadership
	proposals    *batcher              // to raft, while this node leads
	kept         *reference.Kept       // what this node has forwarded lately
	forwards     *batcher              // to the leader, while another does
	confirms     *confirmer
	clock        *clock.Clock
	meter        *logMeter
	remembered   *remembered
	// readyTerm is the last term in which this node led and its barrier was done.
	readyTerm atomic.Uint64

	// raftGone closes when raft has shut down whole: it answers nothing any more.
	raftGone  chan struct{}
	closeOnce sync.Once
	closeErr  error
	failed    chan struct{} // closed by the first fail

	mu           sync.Mutex
	err          error         // why the node stopped
	leaderSignal chan struct{} // closed when the leader changes
	levels       map[tlsid.NodeID]uint32
	vouches      map[vouch]time.Time
	asking       bool // a goroutine asks members about a stranger
}

// Open starts a node: it takes the data directory, brings the store back to
// where the disk has it, and joins the others. It returns when raft runs; the
// cluster may still be electing. The node owns cfg.Conn from here on, also when
// Open fails.
func Open(cfg Config) (*Node, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("node configuration: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &Node{
		cfg: cfg, log: cfg.Logger.With("node", string(cfg.ID)), started: cfg.Now(),
		ctx: ctx, cancel: cancel, failed: make(chan struct{}), raftGone: make(chan struct{}),
		observations: make(chan raft.Observation, observationBuffer),
		notices:      make(chan bool, noticeBuffer),
		leaderSignal: make(chan struct{}),
		levels:       map[tlsid.NodeID]uint32{},
		vouches:      map[vouch]time.Time{},
		proposals:    newBatcher(cfg.Batching.Entries, cfg.Batching.Bytes, cfg.Batching.InFlight, logShare),
		kept:         reference.NewKept(cfg.ID, keptBytes),
		forwards:     newBatcher(cfg.Batching.Entries, cfg.Batching.Bytes, cfg.Batching.ForwardLanes, forwardShare),
	}
	n.meter = newLogMeter(cfg.Snapshot)
	n.confirms = &confirmer{round: n.confirmRound}
	n.clock = clock.New(cfg.ID, cfg.Now, defaultClockError)
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"open data directory", n.openDir},
		{"open store", n.openStore},
		{"open log", n.openLog},
		{"open snapshots", n.openSnapshots},
		{"open network", n.openMesh},
		{"look for this node's key", n.checkOwnKey},
		{"start raft", n.openRaft},
		{"start gossip", n.openGossip},
	} {
		if err := step.do(); err != nil {
			return nil, errors.Join(fmt.Errorf("node %s: %s: %w", cfg.ID, step.what, err), n.abandon())
		}
	}
	n.startTasks()
	return n, nil
}

const (
	// observationBuffer and noticeBuffer: raft must never wait for us.
	observationBuffer = 16
	noticeBuffer      = 16
)

// ID returns the node's id.
func (n *Node) ID() tlsid.NodeID { return n.cfg.ID }

// Serve hands the connections of an ALPN to handle, each on a goroutine that
// Close joins. The node serves its peers by itself; clients are the caller's.
func (n *Node) Serve(alpn string, handle func(*quic.Conn, tlsid.PeerID)) {
	n.mesh.Serve(alpn, handle)
}

// Failed closes when the node has stopped by itself; Err says why.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err returns why the node stopped, nil while it runs.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err == nil && n.ctx.Err() != nil {
		return ErrClosed
	}
	return n.err
}

// fail stops the node for good: it must not serve another call. The owner sees
// Failed and closes it.
func (n *Node) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil || n.ctx.Err() != nil {
		return
	}
	n.err = err
	close(n.failed)
	n.log.Error("the node stops", "error", err)
	n.cancel()
	if r := n.configuration.Load(); r != nil {
		// Not waited for: the caller may be raft itself.
		r.Shutdown()
	}
}

// startTasks starts what runs as long as the node.
func (n *Node) startTasks() {
	n.mesh.Serve(tlsid.ALPNPeer, n.servePeer)
	for range n.cfg.Batching.InFlight {
		n.tasks.Go(func() { n.proposals.run(n.ctx, n.applyBatch) })
	}
	for range n.cfg.Batching.ForwardLanes {
		n.tasks.Go(func() { n.forwards.run(n.ctx, n.forwardBatch) })
	}
	n.tasks.Go(n.watchLeader)
	n.tasks.Go(n.runLeadership)
	n.tasks.Go(n.learnTime)
	n.tasks.Go(n.watchMembers)
	n.tasks.Go(n.watchRemoval)
	n.tasks.Go(n.watchStore)
	n.tasks.Go(n.watchKeys)
	n.tasks.Go(n.watchClusterKey)
	n.tasks.Go(n.boundLog)
	n.tasks.Go(n.renewCertificate)
	n.tasks.Go(func() { n.gossip.join(n.ctx, n.others) })
}

// others are the nodes that this one looks for.
func (n *Node) others() []tlsid.NodeID {
	found := map[tlsid.NodeID]bool{n.cfg.ID: true}
	var ids []tlsid.NodeID
	add := func(id tlsid.NodeID) {
		if !found[id] {
			found[id] = true
			ids = append(ids, id)
		}
	}
	for _, p := range n.cfg.Peers {
		add(p.ID)
	}
	for _, m := range n.Members() {
		add(m.ID)
	}
	return ids
}

// watchRemoval stops the node when raft has shut down because the node was
// removed from the configuration.
func (n *Node) watchRemoval() {
	ticker := time.NewTicker(dutyInterval)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
			if n.raft.State() == raft.Shutdown {
				n.fail(ErrRemoved)
				return
			}
		}
	}
}

// watchStore stops the node when its store has failed, be it in the background
// where no call met it.
func (n *Node) watchStore() {
	select {
	case <-n.ctx.Done():
	case <-n.store.Stopped():
		n.fail(n.store.Err())
	}
}
