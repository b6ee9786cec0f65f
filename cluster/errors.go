package cluster

import (
	"errors"

	"github.com/hashicorp/raft"
)

// What a proposal can end in besides a result. The two must never be mixed up:
// a caller may repeat the first freely and the second only with the same
// request id.
var (
	// ErrUnavailable means that the entry was certainly not applied.
	ErrUnavailable = errors.New("no leader took the entry in time; it was not applied")
	// ErrUnknownOutcome means that the entry may have been applied or may yet be.
	ErrUnknownOutcome = errors.New("the entry may or may not have been applied")
)

// Errors of a node.
var (
	// ErrClosed is returned by calls on a node that is closing.
	ErrClosed = errors.New("node is closed")
	// ErrDiskFull refuses writes while the disk guard is up; nothing was applied.
	ErrDiskFull = errors.New("node refuses writes because its disk is nearly full")
	// ErrBadEntry refuses bytes that are no entry; they must not reach the log.
	ErrBadEntry = errors.New("not a valid log entry")
	// ErrFeatureLevel refuses a command that not every member knows yet.
	ErrFeatureLevel = errors.New("not every member knows this command yet")
	// ErrMemberUnknown means that the raft configuration has no such node.
	ErrMemberUnknown = errors.New("no member has this id")
	// ErrMemberExists means that the address is another member's.
	ErrMemberExists = errors.New("another member has this address")
	// ErrRemoved stops a node that is no longer in the raft configuration.
	ErrRemoved = errors.New("this node was removed from the cluster")
	// ErrKeyDenied stops a node whose key the cluster denies.
	ErrKeyDenied = errors.New("the cluster denies this node's key")
	// ErrKeyMajority refuses what would leave too few members with keys that are let in.
	ErrKeyMajority = errors.New("too few members would be left whose keys are not denied")
	// ErrIdentity keeps a node from starting as another one: its configuration, its
	// certificate and its data directory are not of one node.
	ErrIdentity = errors.New("this is another node's directory")
	// ErrForgotten keeps a member from starting a cluster of its own without its state.
	ErrForgotten = errors.New("this node has been a member of a cluster and has lost what it knew")
	// ErrDiverged stops a node whose store differs from the majority's.
	ErrDiverged = errors.New("this node's store differs from the majority's at the same index")
)

// notApplied tells whether a raft error means that the entry certainly did not
// enter the log. Every other error, our own time-outs included, leaves it open.
func notApplied(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) ||
		errors.Is(err, raft.ErrEnqueueTimeout) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress)
}
