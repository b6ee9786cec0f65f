package mls

import (
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
)

// Event says what a processed message did. It is one of *ApplicationMessage,
// *ProposalStored, *EpochStarted and *Echo.
type Event interface{ event() }

// Author is the sender of a message as known in the epoch the message was sent in:
// a leaf may belong to somebody else by now.
type Author struct {
	Sender     message.Sender
	Credential tree.Credential
}

// ApplicationMessage is decrypted application data.
type ApplicationMessage struct {
	Author
	Epoch             uint64
	Generation        uint32
	Data              []byte
	AuthenticatedData []byte
}

// ProposalStored says that a valid proposal waits for a commit.
type ProposalStored struct {
	Author
	Epoch    uint64
	Ref      []byte
	Proposal *message.Proposal
}

// Member is a member's place and leaf.
type Member struct {
	Index tree.LeafIndex
	Leaf  *tree.LeafNode
}

// EpochStarted says that a commit was applied.
type EpochStarted struct {
	Author               // the committer; for a joiner by external commit its new credential
	Epoch         uint64 // the new one
	Committer     tree.LeafIndex
	Joined        bool // the committer came in by this commit (RFC 9420 §12.4.3.2)
	Added         []Member
	Removed       []Member // with their last leaves
	Updated       []Member // by Update proposals
	PathUpdated   bool     // the committer renewed its keys
	NewExtensions bool
	PSKs          []schedule.PSKID
	// AuthenticatedData is the commit's (RFC 9420 §6.3.1).
	AuthenticatedData []byte
	LeftOut           []*ProposalStored // what waited and is void, in order of arrival
	ReInit            *message.ReInit   // the group is closed; its successor is to come
	RemovedUs         bool              // we are out: the group value can only be asked about the past
}

// Echo says that a message was one of our own, come back from the delivery service. If
// it was a pending commit, that commit won: continue from its Next.
type Echo struct{ Epoch uint64 }

func (*ApplicationMessage) event() {}
func (*ProposalStored) event()     {}
func (*EpochStarted) event()       {}
func (*Echo) event()               {}
