package mls

import (
	"time"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
)

// staged is a verified commit applied to the public state: all that can be done without
// secrets.
type staged struct {
	*change
	at          tree.LeafIndex // the committer's leaf
	path        *tree.UpdatePath
	provisional *schedule.GroupContext
	next        *PublicGroup
}

// stage validates a commit and applies it to the public state (RFC 9420 §12.4.2).
func (p *PublicGroup) stage(cfg *Config, auth *message.Authenticated, now time.Time) (*staged, error) {
	content := auth.Content()
	commit := content.Commit
	if content.Sender.Type == message.SenderNewMemberCommit && commit.Path == nil {
		return nil, rule.Break(rule.ExternalPath, "the commit has none")
	}
	list, err := p.resolve(commit, content.Sender)
	if err != nil {
		return nil, err
	}
	// Founding commits are never processed: the only other members join by welcome.
	c, err := p.change(cfg, list, content.Sender, false, now)
	if err != nil {
		return nil, err
	}
	if commit.Path == nil && c.pathRequired {
		return nil, rule.Break(rule.PathRequired, "%d proposals", len(list))
	}
	st := &staged{change: c, at: tree.LeafIndex(content.Sender.Index), path: commit.Path}
	if err := st.mergePath(p, cfg, now); err != nil {
		return nil, err
	}
	t := st.edit.Freeze()
	st.provisional = p.provisional(t, c.extensions)
	st.next = p.advance(st.provisional, t, auth)
	return st, nil
}

func (st *staged) mergePath(p *PublicGroup, cfg *Config, now time.Time) error {
	if st.external() {
		at, err := st.edit.Reserve()
		if err != nil {
			return err
		}
		st.at = at
	}
	if st.path == nil {
		return nil
	}
	if err := p.checkPathLeaf(cfg, st.change, st.at, st.path, now); err != nil {
		return err
	}
	if err := st.checkPathKeys(st.path); err != nil {
		return err
	}
	if err := st.edit.Apply(st.at, st.path); err != nil {
		return err
	}
	// Ciphertext counts can be checked by everyone.
	t := st.edit.Tree()
	return t.CheckCiphertexts(t.FilteredDirectPath(st.at), st.path, st.addedLeaves())
}

// advance returns the public state of the epoch that a commit starts.
func (p *PublicGroup) advance(provisional *schedule.GroupContext, t *tree.Tree, auth *message.Authenticated) *PublicGroup {
	context := *provisional
	context.ConfirmedTranscriptHash = schedule.ConfirmedTranscript(p.s, p.interim, auth.TranscriptInput())
	next := &PublicGroup{s: p.s, context: &context, tree: t, tag: auth.ConfirmationTag()}
	next.interim = schedule.InterimTranscript(p.s, context.ConfirmedTranscriptHash, next.tag)
	return next
}

// event describes the commit; p is the epoch it ended.
func (st *staged) event(p *PublicGroup, auth *message.Authenticated) *EpochStarted {
	return &EpochStarted{
		Author:        p.author(auth.Content()),
		Epoch:         st.next.context.Epoch,
		Committer:     st.at,
		Joined:        st.external(),
		Added:         st.added,
		Removed:       st.removed,
		Updated:       st.updated,
		PathUpdated:   st.path != nil,
		NewExtensions: !st.extensions.Equal(p.context.Extensions),
		PSKs:          st.psks,
		LeftOut:       p.without(st.list),
		ReInit:        st.reinit,

		AuthenticatedData: auth.Content().AuthenticatedData,
	}
}
