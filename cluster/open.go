package cluster

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"quicproquo/cluster/datadir"
	"quicproquo/cluster/diskguard"
	"quicproquo/cluster/mesh"
	"quicproquo/cluster/raftlog"
	"quicproquo/cluster/snapshot"
	"quicproquo/fsm"
	"quicproquo/internal/planted"
)

func (n *Node) openDir() error {
	dir, err := datadir.Open(n.cfg.Dir)
	if err != nil {
		return err
	}
	n.dir = dir
	if err := dir.Own(n.cfg.Identity.Peer().String()); err != nil && !planted.On(planted.VoteTwice) {
		if errors.Is(err, datadir.ErrOwner) {
			err = fmt.Errorf("%w: %w", ErrIdentity, err)
		}
		return err
	}
	if n.remembered, err = newRemembered(n.dir, n.log); err != nil {
		return err
	}
	n.guard, err = diskguard.Open(diskguard.Options{Dir: n.cfg.Dir, MinFree: n.cfg.MinFreeDisk, Measure: n.cfg.MeasureDisk, Logger: n.log})
	return err
}

func (n *Node) openStore() error {
	store, err := fsm.Open(fsm.Options{
		Dir: n.dir.Store(), FS: n.cfg.StoreFS, CacheBytes: n.cfg.StoreCache, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.store = store
	return nil
}

func (n *Node) openLog() error {
	logs, err := raftlog.Open(raftlog.Options{Dir: n.dir.Raft(), Kind: n.cfg.LogStore, OnFault: n.fail, Logger: n.log})
	if err != nil {
		return err
	}
	n.logs = logs
	return nil
}

// openSnapshots also brings the store to the newest snapshot when the store is
// behind it: raft starts there and would not replay what lies before.
func (n *Node) openSnapshots() error {
	store, err := snapshot.Open(snapshot.Options{Dir: n.dir.Snapshots(), FS: n.cfg.StoreFS, Logger: n.log})
	if err != nil {
		return err
	}
	n.snapshots = store
	newest, ok, err := store.Newest()
	if err != nil {
		return err
	}
	if ok && n.store.Index() < newest.CommandIndex {
		n.log.Warn("the store is behind the newest snapshot; restoring it",
			"store", n.store.Index(), "snapshot", newest.CommandIndex)
		if err := n.store.Restore(newest.Dir); err != nil {
			return err
		}
	}
	return n.checkLogReaches(newest.Meta.Index)
}

// checkLogReaches refuses a log that ends before the store: the store only ever
// holds what the log had durably, so the log was lost or put back from an older
// copy. To go on would apply other entries at indexes that the store skips.
func (n *Node) checkLogReaches(snapshotIndex uint64) error {
	first, err := n.logs.Log.FirstIndex()
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	last, err := n.logs.Log.LastIndex()
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	if first > snapshotIndex+1 {
		return fmt.Errorf("the log in %s begins at %d and no whole snapshot in %s reaches it: %s",
			n.dir.Raft(), first, n.dir.Snapshots(), wipeAdvice)
	}
	if have := n.store.Index(); have > max(last, snapshotIndex) {
		return fmt.Errorf("the store in %s is at index %d, but the log in %s ends at %d: "+
			"the log was lost or replaced: %s",
			n.dir.Store(), have, n.dir.Raft(), last, wipeAdvice)
	}
	return nil
}

// mayCut stops a node whose leader wants it to take entries out of its log that it has
// applied: what was applied was committed, so one of the two has lost what it had.
func (n *Node) mayCut(from uint64) error {
	have := n.store.Index()
	if from > have {
		return nil
	}
	err := fmt.Errorf("%w: a leader has other entries from index %d on, and this node has applied up to %d: "+
		"keep the directories of all nodes, and look at `qpqd status` of each before anything else", ErrDiverged, from, have)
	n.fail(err)
	return err
}

// wipeAdvice is what an operator does with a node whose data is not whole.
const wipeAdvice = "empty this node's raft, store and snapshots directories and start it with --join: " +
	"it fetches everything from the other nodes"

func (n *Node) openMesh() error {
	keys, err := mesh.LoadOrCreateKeys(n.dir.Keys())
	if err != nil {
		return err
	}
	n.gossip = newGossip(gossipMeta{Address: n.cfg.Address, Version: n.cfg.Version, FeatureLevel: n.cfg.FeatureLevel})
	n.mesh, err = mesh.Open(mesh.Options{
		Conn: n.cfg.Conn, Identity: n.cfg.Identity, Keys: keys, Now: n.Now,
		Member: n.mayConnect, Trust: n.trust, Resolve: n.resolve, Limits: n.cfg.Guests, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.peers = newPeerStreams(n.mesh)
	return nil
}

func (n *Node) openRaft() error {
	cfg := n.raftConfig()
	cache := newLogCache(n.logs.Log, n.mayCut)
	layer, err := n.newAdmission(n.mesh.RaftLayer(), cache)
	if err != nil {
		return err
	}
	network := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: layer, MaxPool: raftStreams, Timeout: raftIOTimeout,
		Logger: newRaftLogger(n.log), ServerAddressProvider: byID{},
		MsgpackUseNewTimeFormat: true,
	})
	n.transport = newTransport(network, n.kept)
	if err := n.bootstrap(cfg, cache); err != nil {
		return err
	}
	machine := &machine{store: n.store, meter: n.meter, fail: n.fail, committed: n.transport.news.commit}
	r, err := raft.NewRaft(cfg, machine, cache, n.logs.Stable, n.snapshots, n.transport)
	if err != nil {
		return err
	}
	n.raft = r
	n.configuration.Store(r)
	r.RegisterObserver(raft.NewObserver(n.observations, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	return nil
}

func (n *Node) raftConfig() *raft.Config {
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(n.cfg.ID)
	cfg.HeartbeatTimeout = n.cfg.Timing.Heartbeat
	cfg.ElectionTimeout = n.cfg.Timing.Election
	cfg.LeaderLeaseTimeout = n.cfg.Timing.Lease
	cfg.CommitTimeout = n.cfg.Timing.Commit
	cfg.SnapshotInterval = n.cfg.Snapshot.Interval
	cfg.SnapshotThreshold = n.cfg.Snapshot.Threshold
	cfg.TrailingLogs = n.cfg.Snapshot.Trailing
	// Our own batcher has few raft entries in flight. raft's buffer would only
	// hold some that raft, when it shuts down, never answers.
	cfg.BatchApplyCh = false
	cfg.NoSnapshotRestoreOnStart = true // the store is on disk already
	cfg.ShutdownOnRemove = true
	cfg.NotifyCh = n.notices
	cfg.Logger = newRaftLogger(n.log)
	return cfg
}

// bootstrap starts a new cluster from the configured peers. Every node of the
// set writes the same first configuration, so it doesn't matter who is first. A node
// does so once: one whose state was taken from it would vote, and acknowledge, as if
// nothing had been before.
func (n *Node) bootstrap(cfg *raft.Config, logs raft.LogStore) error {
	has, err := raft.HasExistingState(logs, n.logs.Stable, n.snapshots)
	if err != nil {
		return fmt.Errorf("look for existing state: %w", err)
	}
	if has || n.cfg.Join {
		return n.dir.NoteMember()
	}
	if len(n.cfg.Peers) == 0 {
		return nil
	}
	was, err := n.dir.WasMember()
	if err != nil {
		return err
	}
	if was {
		return fmt.Errorf("%w: %s holds no log and no store: start it with --join, and it fetches everything from the other nodes; "+
			"or, where every node's data is gone and the cluster is to begin anew, remove the file %s of each",
			ErrForgotten, n.cfg.Dir, n.dir.MemberFile())
	}
	if err := n.writeFirstConfiguration(cfg, logs); err != nil {
		return err
	}
	return n.dir.NoteMember()
}

func (n *Node) writeFirstConfiguration(cfg *raft.Config, logs raft.LogStore) error {
	var servers []raft.Server
	for _, p := range n.cfg.Peers {
		servers = append(servers, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Address)})
	}
	if err := raft.BootstrapCluster(cfg, logs, n.logs.Stable, n.snapshots, n.transport, raft.Configuration{Servers: servers}); err != nil {
		return fmt.Errorf("write first configuration: %w", err)
	}
	return nil
}

func (n *Node) openGossip() error {
	return n.gossip.start(n.cfg.ID, n.mesh.GossipTransport(), n.cfg.Timing, newStandardLogger(n.log.With("part", "gossip")))
}

// byID makes raft dial node ids; the mesh finds the address.
type byID struct{}

// ServerAddr returns the id as the address.
func (byID) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return raft.ServerAddress(id), nil
}
