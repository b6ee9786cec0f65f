package mls

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
)

// StateVersion is the version of the state encoding. A group of an older version must
// stay loadable; a newer one is refused.
const StateVersion uint16 = 1

// ErrState says that bytes are not a saved group of a version we know.
var ErrState = errors.New("not a saved group of a known version")

// Marshal returns the whole state: version, epoch part, moving part. It is secret and
// canonical: equal states have equal encodings.
func (g *Group) Marshal() []byte {
	epoch, moving := g.MarshalParts()
	b := codec.Uint16(make([]byte, 0, len(epoch)+len(moving)+16), StateVersion)
	return codec.Bytes(codec.Bytes(b, epoch), moving)
}

// MarshalParts returns the state in two parts: one that stays the same through an epoch
// (tree, keys, secrets), and one that every message changes (ratchets, proposals). A
// caller that stores them apart writes kilobytes per message instead of the tree.
func (g *Group) MarshalParts() (epoch, moving []byte) {
	return g.appendEpoch(nil), g.appendMoving(nil)
}

// MarshalMoving returns the second of MarshalParts, for a step within an epoch.
func (g *Group) MarshalMoving() []byte { return g.appendMoving(nil) }

// Unmarshal loads what Marshal returned, under a configuration.
func Unmarshal(cfg *Config, state []byte) (*Group, error) {
	r := codec.NewReader(bytes.Clone(state))
	version, epoch, moving := r.Uint16(), r.Bytes(), r.Bytes()
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("load group: %w: %w", ErrState, err)
	}
	if version != StateVersion {
		return nil, fmt.Errorf("load group: version %d: %w", version, ErrState)
	}
	return unmarshalParts(cfg, epoch, moving)
}

// UnmarshalParts loads what MarshalParts returned. Both parts must be of the same epoch.
func UnmarshalParts(cfg *Config, epoch, moving []byte) (*Group, error) {
	return unmarshalParts(cfg, bytes.Clone(epoch), bytes.Clone(moving))
}

func unmarshalParts(cfg *Config, epoch, moving []byte) (*Group, error) {
	g := &Group{cfg: cfg}
	if err := g.readEpoch(codec.NewReader(epoch)); err != nil {
		return nil, fmt.Errorf("load group: %w: %w", ErrState, err)
	}
	if err := g.readMoving(codec.NewReader(moving)); err != nil {
		return nil, fmt.Errorf("load group: %w: %w", ErrState, err)
	}
	return g, nil
}

func (g *Group) appendEpoch(b []byte) []byte {
	b = append(g.pub.context.AppendTo(b), byte(g.status))
	b = codec.Optional(b, g.reinit != nil)
	if g.reinit != nil {
		b = g.reinit.AppendTo(b)
	}
	b = g.id.appendTo(b)
	b = g.pub.tree.AppendTo(b)
	b = codec.Bytes(codec.Bytes(b, g.pub.interim), g.pub.tag)
	b = codec.Uint32(b, uint32(g.priv.Self))
	var nodes []tree.NodeIndex
	for x := range g.priv.Keys {
		nodes = append(nodes, x)
	}
	slices.Sort(nodes)
	b = codec.Vector(b, func(b []byte) []byte {
		for _, x := range nodes {
			b = codec.Bytes(codec.Uint32(b, uint32(x)), g.priv.Key(x).Bytes())
		}
		return b
	})
	b = g.epoch.AppendTo(b)
	b = codec.Vector(b, func(b []byte) []byte {
		for _, r := range g.resumption {
			b = codec.Bytes(codec.Uint64(b, r.epoch), r.secret)
		}
		return b
	})
	return g.history.appendTo(b)
}

func (g *Group) readEpoch(r *codec.Reader) error {
	context := schedule.ReadGroupContext(r)
	g.status = Status(r.Uint8())
	if r.Optional() {
		g.reinit = message.ReadReInit(r)
	}
	if r.Err() != nil {
		return r.Err()
	}
	if g.status > Removed {
		return fmt.Errorf("status %d: %w", g.status, codec.ErrValue)
	}
	s, err := suite.Lookup(context.Suite)
	if err != nil {
		return err
	}
	if g.id, err = readIdentity(s, r); err != nil {
		return err
	}
	t, err := tree.Read(s, r)
	if err != nil {
		return err
	}
	if !bytes.Equal(t.Hash(), context.TreeHash) {
		return errors.New("the tree is not the context's")
	}
	g.pub = &PublicGroup{s: s, context: context, tree: t, interim: r.Bytes(), tag: r.Bytes()}
	if err := g.readKeys(s, r); err != nil {
		return err
	}
	g.epoch = schedule.ReadEpoch(r)
	g.resumption = codec.List(r, func(r *codec.Reader) resumption { return resumption{r.Uint64(), r.Bytes()} })
	g.history = readHistory(g.pub, r)
	return r.Finish()
}

func (g *Group) readKeys(s *suite.Suite, r *codec.Reader) error {
	self := tree.LeafIndex(r.Uint32())
	if g.pub.tree.Leaf(self) == nil {
		return fmt.Errorf("own leaf %d: %w", self, codec.ErrValue)
	}
	g.priv = tree.NewPrivate(self, nil)
	next := uint64(0)
	for v := r.Vector(); ; {
		if !v.More() {
			r.Done(v)
			break
		}
		x := tree.NodeIndex(v.Uint32())
		raw := v.Bytes()
		if v.Err() == nil && (g.pub.tree.PublicKey(x) == nil || uint64(x) < next) {
			return fmt.Errorf("private key of node %d: %w", x, codec.ErrValue)
		}
		next = uint64(x) + 1 // one encoding for each state: nodes stand in order
		g.priv = g.priv.With(x, s.NewPrivateKey(raw))
	}
	if r.Err() == nil && g.priv.Key(self.Node()) == nil {
		return errors.New("the own leaf's private key is missing")
	}
	return r.Err()
}

func (id *Identity) appendTo(b []byte) []byte {
	b = codec.Bytes(b, id.Signer.Bytes())
	b = id.Credential.AppendTo(b)
	b = codec.Uint16s(codec.Uint16s(codec.Uint16s(b, id.Extensions), id.Proposals), id.Credentials)
	b = codec.Uint16s(b, id.Suites)
	return codec.Optional(id.LeafExtensions.AppendTo(b), id.NoGREASE)
}

func readIdentity(s *suite.Suite, r *codec.Reader) (*Identity, error) {
	raw := r.Bytes()
	if r.Err() != nil {
		return nil, r.Err()
	}
	signer, err := s.NewSigner(raw)
	if err != nil {
		return nil, err
	}
	required := func() tree.RequiredCapabilities { return tree.ReadRequiredCapabilities(r) }
	id := &Identity{Signer: signer, Credential: tree.ReadCredential(r)}
	lists := required() // the same three lists in the same order
	id.Extensions, id.Proposals, id.Credentials = lists.Extensions, lists.Proposals, lists.Credentials
	for _, v := range r.Uint16s() {
		id.Suites = append(id.Suites, suite.ID(v))
	}
	id.LeafExtensions = tree.ReadExtensions(r)
	id.NoGREASE = r.Optional()
	return id, r.Err()
}

func (g *Group) appendMoving(b []byte) []byte {
	b = codec.Uint64(b, g.pub.context.Epoch)
	b = g.exporter.AppendTo(g.secrets.AppendTo(b))
	b = codec.Vector(b, func(b []byte) []byte {
		for _, st := range g.pub.proposals {
			b = st.msg.AppendTo(b)
		}
		return b
	})
	b = codec.Vector(b, func(b []byte) []byte {
		for _, u := range g.updates {
			b = codec.Bytes(codec.Bytes(b, u.ref), u.key.Bytes())
		}
		return b
	})
	b = codec.Vector(b, func(b []byte) []byte {
		for _, p := range g.past {
			b = p.appendTo(b)
		}
		return b
	})
	return g.sent.appendTo(b)
}

func (g *Group) readMoving(r *codec.Reader) error {
	s, lim := g.pub.s, g.cfg.limits()
	if epoch := r.Uint64(); r.Err() == nil && epoch != g.pub.context.Epoch {
		return fmt.Errorf("parts of epochs %d and %d", g.pub.context.Epoch, epoch)
	}
	g.secrets = schedule.ReadSecretTree(s, g.pub.tree.Size(), lim, r)
	g.exporter = schedule.ReadExporterTree(s, r)
	for _, m := range codec.List(r, message.ReadSigned) {
		auth := m.Trust()
		if auth.Content().Type != message.ContentProposal {
			return errors.New("a stored message is not a proposal")
		}
		g.pub.proposals = append(g.pub.proposals, newStored(s, auth))
	}
	g.updates = codec.List(r, func(r *codec.Reader) ownUpdate {
		return ownUpdate{r.Bytes(), s.NewPrivateKey(r.Bytes())}
	})
	g.past = codec.List(r, func(r *codec.Reader) pastEpoch { return readPastEpoch(s, lim, r) })
	g.sent = readEchoes(r)
	return r.Finish()
}

// rosterList is what a saved past epoch keeps of its tree: keys and credentials.
type rosterList struct {
	size   treemath.Size
	leaves map[tree.LeafIndex]*tree.LeafNode
}

func (l *rosterList) Size() treemath.Size                  { return l.size }
func (l *rosterList) Leaf(i tree.LeafIndex) *tree.LeafNode { return l.leaves[i] }

func (p *pastEpoch) appendTo(b []byte) []byte {
	b = codec.Bytes(p.context.AppendTo(b), p.senderData)
	b = codec.Uint32(codec.Uint32(b, uint32(p.self)), uint32(p.roster.Size()))
	b = codec.Vector(b, func(b []byte) []byte {
		for i := range tree.LeafIndex(p.roster.Size()) {
			if l := p.roster.Leaf(i); l != nil {
				b = codec.Bytes(codec.Uint32(b, uint32(i)), l.SignatureKey)
				b = l.Credential.AppendTo(b)
			}
		}
		return b
	})
	return p.secrets.AppendTo(b)
}

func readPastEpoch(s *suite.Suite, lim schedule.Limits, r *codec.Reader) pastEpoch {
	p := pastEpoch{context: schedule.ReadGroupContext(r), senderData: r.Bytes(), self: tree.LeafIndex(r.Uint32())}
	list := &rosterList{treemath.Size(r.Uint32()), map[tree.LeafIndex]*tree.LeafNode{}}
	p.roster = list
	v := r.Vector()
	for next := uint64(0); v.More(); {
		i := tree.LeafIndex(v.Uint32())
		if uint64(i) < next || uint64(i) >= uint64(list.size) {
			v.Fail(fmt.Errorf("leaf %d of a past epoch: %w", i, codec.ErrValue))
			break
		}
		next = uint64(i) + 1
		list.leaves[i] = &tree.LeafNode{SignatureKey: v.Bytes(), Credential: tree.ReadCredential(v)}
	}
	r.Done(v)
	// A tree has more members than half its leaves can be blank: bound what it costs.
	if n := list.size; n == 0 || n&(n-1) != 0 || int(n) > treemath.MaxLeaves || int(n) > 64*(r.Len()+64) {
		r.Fail(fmt.Errorf("past epoch of %d leaves: %w", n, codec.ErrValue))
		return p
	}
	p.secrets = schedule.ReadSecretTree(s, list.size, lim, r)
	if r.Err() == nil { // earlier versions kept our own ratchets too
		p.secrets = p.secrets.Forget(p.self)
	}
	return p
}
