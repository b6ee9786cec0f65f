package mls

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
)

// Status says what a group value can still be used for.
type Status uint8

// Statuses of a group.
const (
	Active   Status = iota
	ReInited        // a ReInit was committed: found or join the successor
	Removed         // we are no longer a member
)

// Group is a member's state in one epoch, with what is left of past ones. An immutable
// value, safe for concurrent use; but two continuations of one value would use the same
// keys, so a caller keeps exactly one.
type Group struct {
	cfg        *Config
	pub        *PublicGroup
	id         *Identity
	priv       *tree.Private
	epoch      *schedule.Epoch
	secrets    *schedule.SecretTree
	exporter   *schedule.ExporterTree
	updates    []ownUpdate  // our Update proposals of this epoch
	past       []pastEpoch  // oldest first
	resumption []resumption // oldest first, the present epoch's last
	history    *history     // of the epochs of resumption; nil if a state kept none
	sent       echoes
	status     Status
	reinit     *message.ReInit // of ReInited
	inviter    *tree.LeafNode  // of the value that Join returned; not saved
	info       tree.Extensions // of the group info that Join returned this value for; not saved
}

// ownUpdate is an Update proposal of ours that somebody may commit.
type ownUpdate struct {
	ref []byte
	key *suite.PrivateKey
}

// resumption is a resumption PSK of this group.
type resumption struct {
	epoch  uint64
	secret suite.Secret
}

// pastEpoch reads late application messages.
type pastEpoch struct {
	context    *schedule.GroupContext
	senderData suite.Secret
	secrets    *schedule.SecretTree
	roster     roster
	self       tree.LeafIndex
}

// roster knows the members of a past epoch.
type roster interface {
	Size() treemath.Size
	Leaf(l tree.LeafIndex) *tree.LeafNode
}

// remember returns a copy that recognises msg as its own.
func (g *Group) remember(msg []byte) *Group {
	next := *g
	next.sent = g.sent.with(msg)
	return &next
}

// Create founds a group with one member (RFC 9420 §11). An empty groupID is replaced by
// a random one of KDF.Nh bytes.
func Create(cfg *Config, id *Identity, groupID []byte, extensions tree.Extensions, now time.Time) (*Group, error) {
	s := id.Signer.Suite()
	if len(groupID) == 0 {
		groupID = suite.Random(s.HashSize())
	}
	leafKey, leafPub, err := s.GenerateKeyPair()
	if err != nil {
		return nil, err
	}
	leaf := id.leaf(leafPub, tree.SourceKeyPackage)
	from := uint64(max(0, now.Add(-time.Hour).Unix()))
	leaf.Lifetime = tree.Lifetime{NotBefore: from, NotAfter: from + uint64(DefaultMaxLifetime/time.Second)}
	if err := leaf.Sign(id.Signer, nil, 0); err != nil {
		return nil, err
	}
	t := tree.New(s, leaf)
	pub := &PublicGroup{s: s, tree: t, context: &schedule.GroupContext{
		Version: tree.MLS10, Suite: s.ID(), GroupID: bytes.Clone(groupID), TreeHash: t.Hash(),
		ConfirmedTranscriptHash: []byte{}, Extensions: extensions,
	}}
	if err := pub.checkFounder(cfg, leaf, extensions, now); err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	epoch, roots := schedule.FromEpochSecret(s, suite.Random(s.HashSize()))
	pub.tag = epoch.ConfirmationTag(s, nil)
	pub.interim = schedule.InterimTranscript(s, nil, pub.tag)
	g := &Group{cfg: cfg, id: id, priv: tree.NewPrivate(0, leafKey)}
	return g.enter(pub, epoch, roots), nil
}

func (p *PublicGroup) checkFounder(cfg *Config, leaf *tree.LeafNode, ext tree.Extensions, now time.Time) error {
	if err := checkContextExtensions(cfg, &PublicGroup{s: p.s, context: &schedule.GroupContext{}}, ext, now); err != nil {
		return err
	}
	if err := leaf.CheckSelf(p.s); err != nil {
		return err
	}
	if err := p.checkSuite(nil, leaf); err != nil {
		return err
	}
	if err := p.checkParameters(leaf, ext); err != nil {
		return err
	}
	return cfg.validate(leaf, now)
}

// enter completes g, which has its keys already, for a new epoch.
func (g *Group) enter(pub *PublicGroup, epoch *schedule.Epoch, roots schedule.Roots) *Group {
	next := *g
	next.pub, next.epoch = pub, epoch
	next.secrets = schedule.NewSecretTree(pub.s, pub.tree.Size(), roots.Encryption, g.cfg.limits())
	next.exporter = schedule.NewExporterTree(pub.s, roots.ApplicationExport)
	next.updates, next.inviter, next.info = nil, nil, nil
	if g.pub != nil {
		next.past = g.withPast()
	}
	kept := g.resumption
	if len(kept) >= DefaultResumptionEpochs {
		kept = kept[len(kept)-DefaultResumptionEpochs+1:]
	}
	next.resumption = append(slices.Clip(kept), resumption{pub.context.Epoch, epoch.ResumptionPSK})
	if g.pub == nil || g.epoch == nil { // we come in with this epoch
		next.history = newHistory(pub.context.Epoch)
	} else {
		next.history = g.history.next(g.pub, pub, next.resumption[0].epoch)
	}
	return &next
}

// withPast returns the past epochs with the present one added, without our own
// ratchets: nothing is sent in a past epoch.
func (g *Group) withPast() []pastEpoch {
	keep := g.cfg.pastEpochs()
	if keep == 0 || g.epoch == nil { // a joiner by external commit has no past
		return nil
	}
	past := g.past
	if len(past) >= keep {
		past = past[len(past)-keep+1:]
	}
	return append(slices.Clip(past), pastEpoch{
		g.pub.context, g.epoch.SenderData, g.secrets.Forget(g.priv.Self), g.pub.tree, g.priv.Self,
	})
}

// Public returns the public state.
func (g *Group) Public() *PublicGroup { return g.pub }

// Inviter returns the credential of the member who made the welcome that we joined
// by: the signer of its GroupInfo (RFC 9420 §12.4.3.1). Only the value that Join
// returned knows it.
func (g *Group) Inviter() (credential tree.Credential, known bool) {
	if g.inviter == nil {
		return tree.Credential{}, false
	}
	return g.inviter.Credential, true
}

// InfoExtension returns the data of an extension in the group info of the welcome that
// we joined by, which the inviter has signed. Only the value that Join returned knows it.
func (g *Group) InfoExtension(t tree.ExtensionType) ([]byte, bool) { return g.info.Get(t) }

// Self returns our leaf index.
func (g *Group) Self() tree.LeafIndex { return g.priv.Self }

// OwnLeaf returns our leaf. It is not changed by the caller.
func (g *Group) OwnLeaf() *tree.LeafNode { return g.pub.tree.Leaf(g.priv.Self) }

// Identity returns how we are known in the group.
func (g *Group) Identity() *Identity { return g.id }

// ID returns the group id.
func (g *Group) ID() []byte { return g.pub.ID() }

// Epoch returns the epoch number.
func (g *Group) Epoch() uint64 { return g.pub.context.Epoch }

// Status says whether the group can still be used.
func (g *Group) Status() Status { return g.status }

// Members returns all members from left to right.
func (g *Group) Members() []Member { return g.pub.Members() }

// EpochAuthenticator is equal for all members of an epoch (RFC 9420 §8.7).
func (g *Group) EpochAuthenticator() []byte { return bytes.Clone(g.epoch.Authenticator) }

func (g *Group) checkActive() error {
	switch g.status {
	case ReInited:
		return rule.Break(rule.GroupClosed, "a ReInit was committed")
	case Removed:
		return rule.Break(rule.GroupClosed, "we were removed")
	default:
		return nil
	}
}

// Export derives a secret for use outside of MLS (RFC 9420 §8.5). It can be derived
// again; SafeExport cannot.
func (g *Group) Export(label string, context []byte, length int) (suite.Secret, error) {
	if g.status == Removed {
		return nil, g.checkActive()
	}
	if length < 0 || length > MaxExport {
		return nil, fmt.Errorf("export %d bytes: at most %d", length, MaxExport)
	}
	return g.epoch.Export(g.pub.s, label, context, length), nil
}

// ErrExported says that a component's secret was taken before in this epoch.
var ErrExported = errors.New("the component's secret was exported already in this epoch")

// SafeExport takes a component's secret of this epoch, once, with forward secrecy
// (draft-ietf-mls-extensions §3.4).
func (g *Group) SafeExport(component uint16) (*Group, suite.Secret, error) {
	if err := g.checkActive(); err != nil {
		return g, nil, err
	}
	secret, rest, ok := g.exporter.Take(component)
	if !ok {
		return g, nil, fmt.Errorf("export for component %d: %w", component, ErrExported)
	}
	next := *g
	next.exporter = rest
	return &next, secret, nil
}

// GroupInfoOptions say what a group info carries.
type GroupInfoOptions struct {
	NoTree        bool // leave out the ratchet tree
	NoExternalPub bool // forbid external joins with it
	Extensions    tree.Extensions
}

// GroupInfo returns a signed MLSMessage with which others can join or follow.
func (g *Group) GroupInfo(opt GroupInfoOptions) ([]byte, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	signed, err := g.groupInfo(opt, nil)
	if err != nil {
		return nil, err
	}
	return append(message.AppendHeader(nil, message.WireGroupInfo), signed.Wire()...), nil
}

// groupInfo appends a signed group info to the empty b.
func (g *Group) groupInfo(opt GroupInfoOptions, b []byte) (suite.Signed, error) {
	ext := slices.Clip(opt.Extensions)
	if !opt.NoExternalPub {
		priv, pub, err := g.epoch.ExternalKey(g.pub.s)
		if err != nil {
			return suite.Signed{}, err
		}
		priv.Bytes().Zero()
		ext = append(ext, tree.Extension{Type: tree.ExtExternalPub, Data: codec.Bytes(nil, pub)})
	}
	if !g.id.NoGREASE {
		ext = append(ext, tree.Extension{Type: tree.ExtensionType(grease())})
	}
	info := &message.GroupInfo{
		Context: g.pub.context, Extensions: ext, ConfirmationTag: g.pub.tag, Signer: g.priv.Self,
	}
	if !opt.NoTree {
		info.Tree = g.pub.tree
	}
	return info.Sign(g.id.Signer, b)
}

// RatchetTree returns the encoded ratchet tree, for joiners whose welcome has none.
func (g *Group) RatchetTree() []byte { return g.pub.tree.AppendTo(nil) }

// psk finds a PSK for this group; extra is asked first and may be nil.
func (g *Group) psk(id schedule.PSKID) (suite.Secret, bool) {
	if id.Type == schedule.PSKResumption && bytes.Equal(id.GroupID, g.pub.context.GroupID) {
		for _, r := range g.resumption {
			if r.epoch == id.Epoch {
				return r.secret, true
			}
		}
		return nil, false
	}
	if g.cfg.PSK == nil {
		return nil, false
	}
	return g.cfg.PSK(id)
}
