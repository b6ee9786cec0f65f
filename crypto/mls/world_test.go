package mls

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// worldTime is when the tests happen.
var worldTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// Types that only tests use.
const (
	extKnown     tree.ExtensionType  = 0xF001 // every member supports it
	extUnknown   tree.ExtensionType  = 0xF777
	credAll      tree.CredentialType = 7 // every member supports it
	credNobody   tree.CredentialType = 8
	worldSuite                       = suite.X25519AES128SHA256Ed25519
	evilIdentity                     = "evil"
)

// testAuth accepts every credential type but refuses one identity; a successor must be
// equal.
type testAuth struct{}

func (testAuth) Validate(c tree.Credential, _ suite.SignaturePublicKey, _ time.Time) error {
	if string(c.Identity) == evilIdentity {
		return errors.New("the identity is evil")
	}
	return nil
}

func (testAuth) Successor(old, next tree.Credential) error { return BasicAuth{}.Successor(old, next) }

// worldOptions change what a world is like.
type worldOptions struct {
	extensions tree.Extensions
	proposals  func(member int) []tree.ProposalType
	identity   func(member int, id *Identity)
	cfg        Config
}

// world is a group of four members, each of whom has committed, and an external sender.
type world struct {
	t        testing.TB
	cfg      *Config
	members  []*Group
	external *suite.Signer
	welcome  []byte // that let the last member in
	lastKP   *KeyPackage
}

// must returns a function that fails the test on an error and else gives the value.
func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func identity(tb testing.TB, name string) *Identity {
	tb.Helper()
	signer := must(must(suite.Lookup(worldSuite))(tb).GenerateSigner())(tb)
	return &Identity{
		Signer: signer, Credential: tree.BasicCredential([]byte(name)), NoGREASE: true,
		Extensions: []tree.ExtensionType{extKnown}, Credentials: []tree.CredentialType{credAll},
		Proposals: []tree.ProposalType{tree.ProposalSelfRemove},
	}
}

func newWorld(tb testing.TB, opt worldOptions) *world {
	tb.Helper()
	w := &world{t: tb, cfg: &opt.cfg}
	w.cfg.Auth = testAuth{}
	w.external = identity(tb, "server").Signer
	sender := tree.ExternalSender{SignatureKey: w.external.Public(), Credential: tree.BasicCredential([]byte("server"))}
	ext := slices.Concat(opt.extensions, tree.Extensions{{Type: tree.ExtExternalSenders, Data: codec.AppendList(nil, []tree.ExternalSender{sender})}})
	for i := range 4 {
		id := identity(tb, string(rune('a'+i)))
		if opt.proposals != nil {
			id.Proposals = opt.proposals(i)
		}
		if opt.identity != nil {
			opt.identity(i, id)
		}
		if i == 0 {
			w.members = append(w.members, must(Create(w.cfg, id, []byte("world"), ext, worldTime))(tb))
			continue
		}
		w.lastKP = must(id.NewKeyPackage(worldTime, KeyPackageOptions{}))(tb)
		p := must(w.members[0].Commit(CommitOptions{Add: []*message.KeyPackage{w.lastKP.Public}}, worldTime))(tb)
		w.accept(0, p)
		w.welcome = p.Welcome
		w.members = append(w.members, must(Join(w.cfg, []*KeyPackage{w.lastKP}, p.Welcome, JoinOptions{}, worldTime))(tb))
	}
	for i := range w.members {
		w.accept(i, must(w.members[i].Commit(CommitOptions{}, worldTime))(tb))
	}
	return w
}

// accept delivers a commit of a member to all others.
func (w *world) accept(by int, p *Pending) {
	w.t.Helper()
	for i := range w.members {
		if i == by {
			w.members[i] = p.Next
			continue
		}
		w.deliver(i, p.Commit)
	}
}

func (w *world) deliver(to int, msg []byte) {
	w.t.Helper()
	next, _, err := w.members[to].Process(msg, worldTime)
	if err != nil {
		w.t.Fatalf("member %d: %v", to, err)
	}
	w.members[to] = next
}

// refused processes a message that must be refused, and checks that the group is the
// same value with the same state after it.
func (w *world) refused(to int, msg []byte) error {
	w.t.Helper()
	before := w.members[to].Marshal()
	next, _, err := w.members[to].Process(msg, worldTime)
	if next != w.members[to] || !bytes.Equal(before, next.Marshal()) {
		w.t.Error("a refused message changed the group")
	}
	return err
}

// forge frames any content as a member, whatever the rules say. A nil signer is the
// member's own.
func (w *world) forge(by int, c *message.Content, signer *suite.Signer) []byte {
	w.t.Helper()
	g := w.members[by]
	if c.GroupID == nil {
		c.GroupID, c.Epoch = g.ID(), g.Epoch()
	}
	if c.Sender == (message.Sender{}) {
		c.Sender = message.Member(g.Self())
	}
	if signer == nil {
		signer = g.id.Signer
	}
	auth := must(message.Sign(signer, message.WirePublic, c, g.pub.context))(w.t)
	if c.Type == message.ContentCommit {
		auth = auth.Confirm(make([]byte, g.pub.s.HashSize()))
	}
	m := &message.Message{Public: auth.Public(g.pub.s, g.epoch.MembershipKey, g.pub.context)}
	return codec.Marshal(m)
}

// path is a path as member 0 makes it for an empty commit.
func (w *world) path() *tree.UpdatePath {
	w.t.Helper()
	p := must(w.members[0].Commit(CommitOptions{NoStored: true}, worldTime))(w.t)
	return must(message.Parse(p.Commit))(w.t).Public.Content.Commit.Path
}

// commit has member 1 process a forged commit of member 0 with proposals by value and a
// path made for other proposals.
func (w *world) commit(proposals ...*message.Proposal) error {
	w.t.Helper()
	c := &message.Commit{Path: w.path()}
	for _, p := range proposals {
		c.Proposals = append(c.Proposals, message.ProposalOrRef{Proposal: p})
	}
	return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil))
}

// add has member 1 process a commit that adds a client with a spoiled key package, whose
// leaf and whole are signed after mutate.
func (w *world) add(mutate func(*message.KeyPackage)) error {
	w.t.Helper()
	return w.commit(&message.Proposal{Type: tree.ProposalAdd, Add: w.keyPackage(identity(w.t, "new"), mutate)})
}

func (w *world) keyPackage(id *Identity, mutate func(*message.KeyPackage)) *message.KeyPackage {
	w.t.Helper()
	kp := must(id.NewKeyPackage(worldTime, KeyPackageOptions{}))(w.t).Public
	if mutate != nil {
		mutate(kp)
		if kp.Leaf.Signature != nil {
			if err := kp.Leaf.Sign(id.Signer, nil, 0); err != nil {
				w.t.Fatal(err)
			}
		} else {
			kp.Leaf.Signature = make([]byte, 64)
		}
		if err := kp.Sign(id.Signer); err != nil {
			w.t.Fatal(err)
		}
	}
	return kp
}

// spoilPath has member 1 process a commit of member 0 whose path was changed. A leaf
// that mutate changes is signed again, with signer where given.
func (w *world) spoilPath(mutate func(*tree.UpdatePath), signer *suite.Signer) error {
	w.t.Helper()
	path := w.path()
	mutate(path)
	if signer == nil {
		signer = w.members[0].id.Signer
	}
	if err := path.Leaf.Sign(signer, w.members[0].ID(), 0); err != nil {
		w.t.Fatal(err)
	}
	return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: &message.Commit{Path: path}}, nil))
}

// update has member 1 process an Update proposal of member 0 with a spoiled leaf.
func (w *world) update(mutate func(*tree.LeafNode)) error {
	w.t.Helper()
	return w.refused(1, w.forge(0, &message.Content{Type: message.ContentProposal, Proposal: w.updateProposal(0, mutate)}, nil))
}

func (w *world) updateProposal(by int, mutate func(*tree.LeafNode)) *message.Proposal {
	w.t.Helper()
	g := w.members[by]
	_, pub, err := g.pub.s.GenerateKeyPair()
	must(pub, err)(w.t)
	leaf := g.id.leaf(pub, tree.SourceUpdate)
	if mutate != nil {
		mutate(leaf)
	}
	if err := leaf.Sign(g.id.Signer, g.ID(), g.Self()); err != nil {
		w.t.Fatal(err)
	}
	return &message.Proposal{Type: tree.ProposalUpdate, Update: leaf}
}

// externalCommit has member 1 process an external commit whose proposals and path were
// changed. Its leaf is signed again for the place at.
func (w *world) externalCommit(name string, at tree.LeafIndex, mutate func(*message.Commit)) error {
	w.t.Helper()
	info := must(w.members[0].GroupInfo(GroupInfoOptions{}))(w.t)
	id := identity(w.t, name)
	p := must(ExternalJoin(w.cfg, id, info, ExternalOptions{}, worldTime))(w.t)
	c := must(message.Parse(p.Commit))(w.t).Public.Content
	mutate(c.Commit)
	if c.Commit.Path != nil {
		if err := c.Commit.Path.Leaf.Sign(id.Signer, w.members[0].ID(), at); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.refused(1, w.forge(0, c, id.Signer))
}

// psk names an external PSK.
func psk(id string, nonce int) *message.Proposal {
	return &message.Proposal{Type: tree.ProposalPSK, PSK: schedule.PSKID{
		Type: schedule.PSKExternal, ID: []byte(id), Nonce: make([]byte, nonce),
	}}
}

// reseal changes the welcome of the last member and tries to join with it.
func (w *world) reseal(opt JoinOptions, mutate func(*message.GroupSecrets, *message.GroupInfo) (lookup lookupKey)) error {
	w.t.Helper()
	s := w.members[0].pub.s
	welcome := must(parseWelcome(w.welcome))(w.t)
	entry, _ := welcome.Find(w.lastKP.Public.Ref(s))
	secrets := must(welcome.OpenSecrets(s, w.lastKP.initKey, entry))(w.t)
	info := must(welcome.OpenInfo(s, secrets.Joiner, s.Zero()))(w.t)
	psk := s.Zero()
	if lookup := mutate(secrets, info); lookup != nil {
		psk = must(pskSecret(s, secrets.PSKs, lookup, rule.WelcomePSK))(w.t)
	}
	var wire []byte
	if info.Signature != nil {
		wire = must(info.Sign(w.members[0].id.Signer, nil))(w.t).Wire()
	} else {
		info.Signature = make([]byte, 64)
		wire = codec.Marshal(info)
	}
	forged := must(message.SealWelcome(s, wire, secrets.Joiner, psk, secrets.PSKs,
		[]message.Joiner{{KeyPackage: w.lastKP.Public, PathSecret: secrets.PathSecret}}))(w.t)
	_, err := Join(w.cfg, []*KeyPackage{w.lastKP}, codec.Marshal(forged), opt, worldTime)
	return err
}

// mirrorNode is a node of the ratchet_tree extension, for building invalid trees.
type mirrorNode struct {
	leaf   *tree.LeafNode
	parent *tree.ParentNode
}

func (n mirrorNode) AppendTo(b []byte) []byte {
	switch {
	case n.leaf != nil:
		return n.leaf.AppendTo(append(b, 1, 1))
	case n.parent != nil:
		return n.parent.AppendTo(append(b, 1, 2))
	default:
		return append(b, 0)
	}
}

// spoilTree joins with a welcome for a tree whose nodes were changed; the tree hash and
// the group info's signature are made to fit.
func (w *world) spoilTree(mutate func([]mirrorNode) []mirrorNode) error {
	w.t.Helper()
	// The present tree, where every parent is filled, with an invitation into it.
	id := identity(w.t, "guest")
	kp := must(id.NewKeyPackage(worldTime, KeyPackageOptions{}))(w.t)
	p := must(w.members[0].Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}, NoPath: true}, worldTime))(w.t)
	w.welcome, w.lastKP = p.Welcome, kp
	return w.reseal(JoinOptions{}, func(_ *message.GroupSecrets, info *message.GroupInfo) lookupKey {
		for i, e := range info.Extensions {
			if e.Type != tree.ExtRatchetTree {
				continue
			}
			nodes := mutate(must(codec.Unmarshal(e.Data, readMirror))(w.t))
			info.Extensions[i].Data = codec.AppendList(nil, nodes)
			if t, err := tree.Read(w.members[0].pub.s, codec.NewReader(info.Extensions[i].Data)); err == nil {
				info.Context.TreeHash = t.Hash()
			}
		}
		return nil
	})
}

func readMirror(r *codec.Reader) []mirrorNode {
	return codec.List(r, func(r *codec.Reader) mirrorNode {
		if !r.Optional() {
			return mirrorNode{}
		}
		if r.Uint8() == 1 {
			return mirrorNode{leaf: tree.ReadLeafNode(r)}
		}
		return mirrorNode{parent: tree.ReadParentNode(r)}
	})
}
