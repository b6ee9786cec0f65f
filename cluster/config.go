package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/cluster/diskguard"
	"quicproquo/cluster/keyring"
	"quicproquo/cluster/mesh"
	"quicproquo/cluster/raftlog"
	"quicproquo/crypto/tlsid"
	"quicproquo/internal/planted"
)

// Peer is one node of the set that a cluster starts from.
type Peer struct {
	ID tlsid.NodeID
	// Address is HOST:PORT of the node's one UDP port. Names are resolved at
	// each dial, so a node may come back at another IP address.
	Address string
}

// Config is what a node is made from. Zero values mean the defaults.
type Config struct {
	// ID is the node's name for ever; it is never given to another node.
	ID tlsid.NodeID
	// Address is where peers reach this node.
	Address string
	// Dir is the data directory. The node locks it.
	Dir string
	// Conn carries everything. The node closes it in Close.
	Conn net.PacketConn
	// Identity is the node's certificate.
	Identity *tlsid.Identity
	// Authority is nil on a node that does not hold the CA key.
	Authority *tlsid.Authority
	// Keys are the cluster keys of this node; nil: it takes no part in their rotation, and
	// none ends while it is a member.
	Keys *keyring.Ring
	// Secrets are what the replicated state holds sealed under the cluster key.
	Secrets []Secret
	// Peers is the set that a new cluster starts from, this node included: the
	// same on each. A node that will be added to a running cluster has the
	// running nodes here and Join set.
	Peers []Peer
	// Join says that this node must not start a cluster of its own: it waits
	// to be added by AddMember on a running node.
	Join bool

	// LearnKeys has the node take every certificate of the authority for the member that it
	// names, whatever key the cluster knows that by. It is for the day when the members of
	// a majority have new keys at once, and until the cluster knows them.
	LearnKeys bool

	LogStore raftlog.Kind
	Timing   Timing
	Snapshot SnapshotPolicy
	Batching Batching

	// StoreFS is where the store lives; nil is the operating system's.
	StoreFS vfs.FS
	// StoreCache is the store's block cache in bytes.
	StoreCache int64
	// MinFreeDisk is the share of the disk below which writes are refused.
	MinFreeDisk float64
	// Guests bound what strangers cost this node before they are known.
	Guests mesh.Limits
	// MeasureDisk says how full the disk is; nil asks the operating system. Only
	// tests set it.
	MeasureDisk func(dir string) (diskguard.Usage, error)
	// Now stamps batches. Only tests that skew clocks set it.
	Now func() time.Time
	// Version is announced to peers and operators.
	Version string
	// FeatureLevel is what the node announces; 0 is this build's.
	FeatureLevel uint32
	Logger       *slog.Logger
}

// Timing is when a silent peer counts as gone.
//
// With the heartbeat fast path off (decision 0003), heartbeats wait behind the
// disk on raft's main loop. So the heartbeat time-out must be well above the
// worst disk stall: 800 ms leaves 500 ms for a stall beside the 80–160 ms
// between heartbeats. The lease must also survive a follower's stall:
// 300 ms stall + 160 ms heartbeat < 600 ms.
type Timing struct {
	Heartbeat time.Duration
	Election  time.Duration
	Lease     time.Duration
	// Commit is how often raft says again what is committed, in rounds without entries;
	// followers are told at once (announce.go), so it paces idle traffic.
	Commit time.Duration
}

// DefaultTiming survives 300 ms disk stalls without an election.
func DefaultTiming() Timing {
	return Timing{
		Heartbeat: 800 * time.Millisecond,
		Election:  800 * time.Millisecond,
		Lease:     600 * time.Millisecond,
		Commit:    150 * time.Millisecond,
	}
}

// SnapshotPolicy is when the log is cut.
type SnapshotPolicy struct {
	// Interval is how often the threshold is looked at (once to twice this).
	Interval time.Duration
	// Threshold is how many raft entries make a new snapshot worth it.
	Threshold uint64
	// Trailing is how many entries stay behind a snapshot for slow followers.
	// hashicorp/raft #697 asks for well above what can be in flight.
	Trailing uint64
	// Bytes of commands since the last snapshot are also worth a new one, and no
	// more than TrailingBytes of them stay behind it: an entry may hold a MiB.
	// 0 means the default's. Both are met to an eighth of the smaller one.
	Bytes, TrailingBytes int64
}

// DefaultSnapshotPolicy keeps about 10,000 entries of log or 1 GiB, whichever is
// less. 1 GiB is what a follower may miss and still catch up without a snapshot:
// 50 seconds of 20,000 writes of 1 KiB a second.
func DefaultSnapshotPolicy() SnapshotPolicy {
	return SnapshotPolicy{
		Interval: 30 * time.Second, Threshold: 8192, Trailing: 10_240,
		Bytes: 256 << 20, TrailingBytes: 1 << 30,
	}
}

// Batching shapes the raft entries that the leader writes.
type Batching struct {
	// Entries and Bytes bound one raft entry.
	Entries int
	Bytes   int
	// InFlight is how many raft entries are on their way at once.
	InFlight int
	// ForwardLanes is how many batches a follower has on the way to the leader.
	ForwardLanes int
}

func (c *Config) setDefaults() {
	if c.LogStore == "" {
		c.LogStore = raftlog.BoltDB
	}
	if c.Timing == (Timing{}) {
		c.Timing = DefaultTiming()
	}
	if c.Snapshot == (SnapshotPolicy{}) {
		c.Snapshot = DefaultSnapshotPolicy()
	}
	if c.Snapshot.Bytes == 0 {
		c.Snapshot.Bytes = DefaultSnapshotPolicy().Bytes
	}
	if c.Snapshot.TrailingBytes == 0 {
		c.Snapshot.TrailingBytes = DefaultSnapshotPolicy().TrailingBytes
	}
	if c.Batching == (Batching{}) {
		c.Batching = DefaultBatching()
	}
	if c.MinFreeDisk == 0 {
		c.MinFreeDisk = defaultMinFreeDisk
	}
	if c.StoreCache == 0 {
		c.StoreCache = defaultStoreCache
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.FeatureLevel == 0 {
		c.FeatureLevel = defaultFeatureLevel
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func (c *Config) check() error {
	if err := c.ID.Validate(); err != nil {
		return err
	}
	if c.Conn == nil || c.Identity == nil {
		return errors.New("a node needs a packet connection and an identity")
	}
	if is := c.Identity.Peer().Node; is != c.ID && !planted.On(planted.VoteTwice) {
		return fmt.Errorf("%w: the configuration is of node %q, the certificate of %q; each node has its own node.toml, tls directory and data: put them back together",
			ErrIdentity, c.ID, is)
	}
	if c.Dir == "" {
		return errors.New("a node needs a data directory: set dir")
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("node address %q is not HOST:PORT: %w", c.Address, err)
	}
	if c.Timing.Commit >= c.Timing.Heartbeat {
		return fmt.Errorf("commit time-out %v must be below the heartbeat time-out %v", c.Timing.Commit, c.Timing.Heartbeat)
	}
	return c.checkPeers()
}

func (c *Config) checkPeers() error {
	seen := map[tlsid.NodeID]bool{}
	for _, p := range c.Peers {
		if seen[p.ID] {
			return fmt.Errorf("node %q stands twice in the peers", p.ID)
		}
		seen[p.ID] = true
		if _, _, err := net.SplitHostPort(p.Address); err != nil {
			return fmt.Errorf("address %q of node %q is not HOST:PORT: %w", p.Address, p.ID, err)
		}
	}
	if !c.Join && len(c.Peers) > 0 && !seen[c.ID] {
		return fmt.Errorf("node %q is not among its own peers: add it, or set join", c.ID)
	}
	return nil
}
