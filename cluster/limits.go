package cluster

import (
	"time"

	"quicproquo/schemas"
)

// Limits and paces of a node, each with its reason.
const (
	// defaultMinFreeDisk refuses writes while there is still room for raft's
	// own term, snapshots and compactions.
	defaultMinFreeDisk = 0.10
	// defaultStoreCache keeps a node with a million queued envelopes well
	// below 512 MiB resident.
	defaultStoreCache = 64 << 20
	// defaultFeatureLevel is what this build knows.
	defaultFeatureLevel = schemas.FeatureLevel

	// maxQueuedEntries and maxQueuedBytes bound what waits in one batcher;
	// beyond, callers get UNAVAILABLE at once rather than after their deadline.
	maxQueuedEntries = 16 << 10
	maxQueuedBytes   = 64 << 20

	// enqueueTimeout bounds the wait for raft's main loop. ErrEnqueueTimeout
	// is certain: not applied.
	enqueueTimeout = 2 * time.Second
	// defaultProposeTimeout holds when the caller's context has no deadline.
	defaultProposeTimeout = 10 * time.Second
	// retryPause and maxRetryPause are the backoff between attempts.
	retryPause    = 10 * time.Millisecond
	maxRetryPause = 200 * time.Millisecond

	// keptBytes is how much of what a follower forwards it keeps, so that the leader
	// need not send it back: many times what its lanes have on the way.
	keptBytes = 8 << 20
	// fullFor is how long a node gets log entries in full after it has refused some
	// that referred to what it had forwarded: it is further behind than it keeps.
	fullFor = 10 * time.Second

	// confirmTimeout bounds one confirm round; the caller may try again.
	confirmTimeout = time.Second
	// statusTimeout bounds asking one member for its status.
	statusTimeout = time.Second
	// observeTimeout bounds asking a member from outside, handshake included.
	observeTimeout = 2 * time.Second
	// peerTimeout bounds a peer call that names no time.
	peerTimeout = 5 * time.Second
	// maxPeerTimeout bounds what a peer may ask for.
	maxPeerTimeout = schemas.MaxCallTimeout
	// maxIdlePeerStreams is how many finished streams are kept per member.
	maxIdlePeerStreams = 16

	// maxMarks bounds the digest marks that a peer sends.
	maxMarks = 4096
	// maxMembers bounds lists of members that come from a peer.
	maxMembers = 64
	// maxSettings bounds the settings that a peer sends; there are 33.
	maxSettings = 1024

	// defaultClockError is the setting clock_error_secs before it can be read.
	defaultClockError = 30 * time.Second
	// clockPause is how soon a node that does not know the others' clocks yet asks again,
	// the first time.
	clockPause = 50 * time.Millisecond
	// watchInterval is how often a node asks the others for their status:
	// digests are compared, feature levels and lag noted.
	watchInterval = 2 * time.Second
	// dutyInterval is how often the leader looks for expired rows and for
	// nodes to promote.
	dutyInterval = time.Second
	// expireRows is how many rows one expiry entry removes at most.
	expireRows = 4096
	// expireRounds bounds the expiry entries of one duty round.
	expireRounds = 16
	// promoteLag is how many entries a node may be behind when it becomes a
	// voter, and promoteRounds for how many duty rounds in a row.
	promoteLag    = 256
	promoteRounds = 2
	// maxAdmissionPause is how seldom a node asks that nobody has added yet.
	maxAdmissionPause = time.Second
	// memberChangeTimeout bounds one change of the raft configuration.
	memberChangeTimeout = 10 * time.Second
	// transferTimeout bounds a leadership transfer.
	transferTimeout = 5 * time.Second
	// maxSilence is how long replication waits for the heartbeat of a silent peer
	// before it tries all the same.
	maxSilence = time.Minute
	// minTrailing is how many entries stay behind a snapshot however long they
	// are: far above what the batcher has in flight (hashicorp/raft #697).
	minTrailing = 64
	// raftIOTimeout bounds one raft request; a snapshot gets it per 256 KiB.
	raftIOTimeout = 10 * time.Second
	// raftStreams is how many idle raft streams are kept per peer.
	raftStreams = 3
	// handoverPause lets the new leader's first heartbeat arrive before a
	// leaving leader closes its connections.
	handoverPause = 50 * time.Millisecond
	// vouchLifetime is how long a member's word for an unknown node counts.
	vouchLifetime = time.Minute
	// keyAdviceInterval is how often a node whose key the others do not know says so.
	keyAdviceInterval = time.Minute
	// certificateInterval is how often a node looks at its certificate's age.
	certificateInterval = time.Minute
	// gossipRetry is the pause between attempts to find the others.
	gossipRetry = 500 * time.Millisecond
)

// DefaultBatching follows what was measured (docs/performance.md): see
// logShare for why four are in flight.
func DefaultBatching() Batching {
	return Batching{
		Entries:      256,
		Bytes:        schemas.MaxBatchBytes,
		InFlight:     4,
		ForwardLanes: 16,
	}
}
