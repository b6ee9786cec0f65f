// Package planted names faults that the server and the clients can be built with, so that the tests
// that look for faults can be tested: go build -tags planted. One is switched on by
// the environment variable QPQ_PLANTED. Without the tag none of this exists in the
// program: On is a constant.
package planted

// Bug is a fault.
type Bug string

// The faults.
const (
	// AckBeforeCommit acknowledges an enqueue before it is written.
	AckBeforeCommit Bug = "ack-before-commit"
	// DedupeOff applies a repeated request again.
	DedupeOff Bug = "dedupe-off"
	// StaleRead answers a reader without waiting for what it has seen.
	StaleRead Bug = "stale-read"
	// EpochCheckOff lets a commit win an epoch that is over.
	EpochCheckOff Bug = "epoch-check-off"
	// RevokeOnLeader ends a session on the leader alone.
	RevokeOnLeader Bug = "revoke-on-leader"
	// SnapshotWithoutDedupe forgets the request ids that a snapshot came with.
	SnapshotWithoutDedupe Bug = "snapshot-without-dedupe"
	// FsyncOff leaves it to the operating system when a log reaches the disk.
	FsyncOff Bug = "fsync-off"
	// ChecksumOff believes what a log's files say.
	ChecksumOff Bug = "checksum-off"
	// HeartbeatFastPath lets raft take heartbeats beside its main loop (decision 0003).
	HeartbeatFastPath Bug = "heartbeat-fast-path"
	// VerifyLeaderRead trusts raft's VerifyLeader with linearizable reads (decision 0004).
	VerifyLeaderRead Bug = "verify-leader-read"
	// RandomApply makes the state differ from node to node.
	RandomApply Bug = "non-deterministic-apply"
	// RequestIDAlone answers another command under a known request id with the outcome of
	// the first.
	RequestIDAlone Bug = "request-id-alone"
	// StampUnbounded has a leader stamp batches with its own clock, whatever the others' say.
	StampUnbounded Bug = "stamp-unbounded"
	// VoteTwice lets a node start under another's name.
	VoteTwice Bug = "vote-twice"
	// SharesOff lets one caller have all of a node's memory for answers and requests.
	SharesOff Bug = "shares-off"
	// ProposalFilterOff has a client keep and commit whatever members propose.
	ProposalFilterOff Bug = "proposal-filter-off"
	// LineageOff has a client take any way back into a group.
	LineageOff Bug = "lineage-off"
	// WelcomeOff has a client take any welcome for what continues a conversation.
	WelcomeOff Bug = "welcome-off"
)

// All are the faults, in the order in which they are looked for.
//
//nolint:gochecknoglobals // a table
var All = []Bug{
	AckBeforeCommit, DedupeOff, StaleRead, EpochCheckOff, RevokeOnLeader, SnapshotWithoutDedupe, FsyncOff, ChecksumOff,
	HeartbeatFastPath, VerifyLeaderRead, RandomApply, RequestIDAlone, StampUnbounded, VoteTwice, SharesOff,
	ProposalFilterOff, LineageOff, WelcomeOff,
}
