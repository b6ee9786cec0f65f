package mls

import (
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
)

// Limits of what one message may bring. Beside those of the packages tree and message
// they keep every message's cost near that of its bytes and signatures.
const (
	// MaxContext bounds a group context's extensions, in bytes: every signature of a
	// member covers them, so that each message costs their length.
	MaxContext = 256 << 10
	// MaxStoredBytes bounds the proposals kept for one epoch, in bytes: they are saved
	// with every message.
	MaxStoredBytes = 4 << 20
	// storedShare of MaxStoredProposals and MaxStoredBytes is for one sender, so that no
	// member keeps the others' proposals out.
	storedShare = 8
)

// checkProposalCount bounds a commit of ours; others' are bounded when they are read.
func checkProposalCount(n int) error {
	if n > message.MaxProposals {
		return rule.Break(rule.Limit, "%d proposals in a commit, at most %d", n, message.MaxProposals)
	}
	return nil
}

// checkContextLength bounds the extensions of a group context.
func checkContextLength(ext tree.Extensions) error {
	size := 0
	for _, e := range ext {
		size += len(e.Data)
	}
	if size > MaxContext {
		return rule.Break(rule.Limit, "%d bytes of group context extensions, at most %d", size, MaxContext)
	}
	return nil
}

// checkStored checks that one more proposal has room among those that wait.
func (p *PublicGroup) checkStored(st stored) error {
	from := st.msg.Content().Sender
	count, size, ofSender, sizeOfSender := 1, st.size, 1, st.size
	for _, other := range p.proposals {
		count, size = count+1, size+other.size
		if other.msg.Content().Sender == from { // all strangers who ask to join are one
			ofSender, sizeOfSender = ofSender+1, sizeOfSender+other.size
		}
	}
	if count > MaxStoredProposals || size > MaxStoredBytes {
		return rule.Break(rule.SendPending, "%d proposals of %d bytes wait already: commit", count-1, size-st.size)
	}
	if ofSender > MaxStoredProposals/storedShare || sizeOfSender > MaxStoredBytes/storedShare {
		return rule.Break(rule.SendPending, "%d proposals of %d bytes of one sender wait already: commit", ofSender-1, sizeOfSender-st.size)
	}
	return nil
}
