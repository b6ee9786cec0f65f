package mls

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Process takes a message of the group at a time and returns the next state with what
// happened. An error leaves the group as it is: the same value is returned. Save the
// next state before acting on the event, since a key was used up.
func (g *Group) Process(msg []byte, now time.Time) (*Group, Event, error) {
	if g.sent.contain(msg) {
		return g, &Echo{g.Epoch()}, nil
	}
	m, err := message.Parse(bytes.Clone(msg))
	if err != nil {
		return g, nil, err
	}
	var next *Group
	var ev Event
	switch {
	case m.Public != nil:
		next, ev, err = g.processPublic(m.Public, now)
	case m.Private != nil:
		next, ev, err = g.processPrivate(m.Private, now)
	default:
		err = fmt.Errorf("process message: it is not a message to a group")
	}
	if err != nil {
		return g, nil, err
	}
	return next, ev, nil
}

func (g *Group) processPublic(m *message.PublicMessage, now time.Time) (*Group, Event, error) {
	if err := g.checkActive(); err != nil {
		return nil, nil, err
	}
	if err := g.pub.checkFrame(m.Content.GroupID, m.Content.Epoch); err != nil {
		return nil, nil, err
	}
	signed, err := m.Unprotect(g.pub.s, g.epoch.MembershipKey, g.pub.context)
	if err != nil {
		return nil, nil, err
	}
	return g.handshake(signed, now)
}

func (g *Group) processPrivate(m *message.PrivateMessage, now time.Time) (*Group, Event, error) {
	if !bytes.Equal(m.GroupID, g.pub.context.GroupID) {
		return nil, nil, rule.Break(rule.FrameGroup, "group id %x", clip(m.GroupID))
	}
	present := m.Epoch == g.pub.context.Epoch && g.status != Removed
	if m.Type == message.ContentApplication && !present {
		return g.processPast(m)
	}
	if err := g.checkActive(); err != nil && m.Type != message.ContentApplication {
		return nil, nil, err
	}
	if m.Epoch != g.pub.context.Epoch {
		return nil, nil, rule.Break(rule.FrameEpoch, "got %d, want %d", m.Epoch, g.pub.context.Epoch)
	}
	signed, from, rest, err := open(g.pub.s, m, g.epoch.SenderData, g.secrets, g.pub.tree, g.priv.Self)
	if err != nil {
		return nil, nil, err
	}
	next := *g
	next.secrets = rest
	if m.Type != message.ContentApplication {
		return next.handshake(signed, now)
	}
	auth, err := g.pub.verify(signed)
	if err != nil {
		return nil, nil, err
	}
	return &next, applicationEvent(auth, from, g.pub.author(auth.Content())), nil
}

func applicationEvent(auth *message.Authenticated, from message.SenderData, by Author) *ApplicationMessage {
	c := auth.Content()
	return &ApplicationMessage{by, c.Epoch, from.Generation, c.Application, c.AuthenticatedData}
}

// open decrypts a private message with the secrets of its epoch.
func open(s *suite.Suite, m *message.PrivateMessage, senderData suite.Secret, secrets *schedule.SecretTree, members roster, self tree.LeafIndex) (*message.Signed, message.SenderData, *schedule.SecretTree, error) {
	from, err := m.SenderData(s, senderData)
	if err != nil {
		return nil, from, nil, err
	}
	if members.Leaf(from.Leaf) == nil {
		return nil, from, nil, rule.Break(rule.FrameSender, "leaf %d is blank", from.Leaf)
	}
	if from.Leaf == self {
		return nil, from, nil, rule.Break(rule.FrameGenerationUsed, "the message claims to be ours")
	}
	key, rest, err := secrets.Take(from.Leaf, m.Type.Kind(), from.Generation)
	if err != nil {
		return nil, from, nil, err
	}
	signed, err := m.Open(s, key, from)
	return signed, from, rest, err
}

// processPast reads a late application message of a retained epoch.
func (g *Group) processPast(m *message.PrivateMessage) (*Group, Event, error) {
	i := slices.IndexFunc(g.past, func(p pastEpoch) bool { return p.context.Epoch == m.Epoch })
	if i < 0 {
		return nil, nil, rule.Break(rule.FrameEpochRetained, "got %d, have %d", m.Epoch, g.pub.context.Epoch)
	}
	p := &g.past[i]
	signed, from, rest, err := open(g.pub.s, m, p.senderData, p.secrets, p.roster, p.self)
	if err != nil {
		return nil, nil, err
	}
	// The members of that epoch count, not today's.
	leaf := p.roster.Leaf(from.Leaf)
	auth, err := signed.Verify(g.pub.s, leaf.SignatureKey, p.context)
	if err != nil {
		return nil, nil, err
	}
	next := *g
	next.past = slices.Clone(g.past)
	next.past[i].secrets = rest
	return &next, applicationEvent(auth, from, Author{auth.Content().Sender, leaf.Credential}), nil
}

// handshake verifies and applies a proposal or commit.
func (g *Group) handshake(signed *message.Signed, now time.Time) (*Group, Event, error) {
	auth, err := g.pub.verify(signed)
	if err != nil {
		return nil, nil, err
	}
	if auth.Content().Type == message.ContentCommit {
		return g.apply(auth, now)
	}
	pub, ev, err := g.pub.store(g.cfg, auth, now)
	if err != nil {
		return nil, nil, err
	}
	next := *g
	next.pub = pub
	return &next, ev, nil
}

// apply applies a verified commit (RFC 9420 §12.4.2).
func (g *Group) apply(auth *message.Authenticated, now time.Time) (*Group, Event, error) {
	if l, member := auth.Content().Sender.Leaf(); member && l == g.priv.Self {
		return nil, nil, rule.Break(rule.FrameSender, "a commit of ours that we do not know: resync by external commit")
	}
	st, err := g.pub.stage(g.cfg, auth, now)
	if err != nil {
		return nil, nil, err
	}
	ev := st.event(g.pub, auth)
	for _, m := range st.removed {
		if m.Index == g.priv.Self {
			ev.RemovedUs = true
			return g.leave(), ev, nil
		}
	}
	priv, commitSecret, err := g.receivePath(st)
	if err != nil {
		return nil, nil, err
	}
	initSecret := g.epoch.Init
	if st.external() {
		if initSecret, err = g.externalInit(st.kemOutput); err != nil {
			return nil, nil, err
		}
		defer initSecret.Zero()
	}
	psk, err := pskSecret(g.pub.s, st.psks, g.psk, rule.PSKAvailable)
	if err != nil {
		return nil, nil, err
	}
	context := codec.Marshal(st.next.context)
	joiner := schedule.Joiner(g.pub.s, initSecret, commitSecret, context)
	epoch, roots := schedule.FromJoiner(g.pub.s, joiner, psk, context)
	joiner.Zero()
	commitSecret.Zero()
	if !g.pub.s.VerifyMAC(epoch.ConfirmationKey, st.next.context.ConfirmedTranscriptHash, auth.ConfirmationTag()) {
		return nil, nil, rule.Break(rule.ConfirmationTag, "epoch %d", st.next.context.Epoch)
	}
	moved := *g
	moved.priv = priv
	next := moved.enter(st.next, epoch, roots)
	if st.reinit != nil {
		next.status, next.reinit = ReInited, st.reinit
	}
	return next, ev, nil
}

// receivePath returns our keys after a commit, and the commit secret.
func (g *Group) receivePath(st *staged) (*tree.Private, suite.Secret, error) {
	priv := g.priv
	for _, r := range st.list {
		if r.Type != tree.ProposalUpdate || tree.LeafIndex(r.sender.Index) != g.priv.Self {
			continue
		}
		i := slices.IndexFunc(g.updates, func(u ownUpdate) bool { return bytes.Equal(u.ref, r.ref) })
		if i < 0 {
			return nil, nil, rule.Break(rule.PathSecret, "an Update of ours whose key we do not have")
		}
		priv = priv.With(g.priv.Self.Node(), g.updates[i].key)
	}
	priv = priv.Prune(st.next.tree)
	if st.path == nil {
		return priv, g.pub.s.Zero(), nil
	}
	return st.next.tree.Decrypt(priv, st.at, st.path, codec.Marshal(st.provisional), st.addedLeaves())
}

func (g *Group) externalInit(kemOutput []byte) (suite.Secret, error) {
	key, _, err := g.epoch.ExternalKey(g.pub.s)
	if err != nil {
		return nil, err
	}
	defer key.Bytes().Zero()
	secret, err := g.pub.s.ExternalInitReceive(key, kemOutput)
	return secret, rule.Because(rule.PathSecret, err)
}

// leave is our state after we were removed: late messages of past epochs can be read.
func (g *Group) leave() *Group {
	next := *g
	next.past = g.withPast()
	next.status, next.updates = Removed, nil
	return &next
}
