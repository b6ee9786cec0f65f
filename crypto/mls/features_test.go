package mls

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// wantRule fails the test unless err carries r.
func wantRule(tb testing.TB, err error, r rule.Rule) {
	tb.Helper()
	if got, ok := rule.Of(err); !ok || got != r {
		tb.Fatalf("got %v, want rule %s", err, r)
	}
}

// agree checks that the given members share an epoch.
func (w *world) agree(members ...*Group) {
	w.t.Helper()
	for i, g := range members {
		if !bytes.Equal(g.EpochAuthenticator(), members[0].EpochAuthenticator()) || g.Epoch() != members[0].Epoch() {
			w.t.Fatalf("member %d in epoch %d does not agree with the first in epoch %d", i, g.Epoch(), members[0].Epoch())
		}
	}
}

// commitAll has member 1 propose, member 0 commit all of it, and tells what member 2 sees.
func (w *world) commitAll(steps []func(g *Group) (*Group, []byte, error)) (*Pending, *EpochStarted) {
	w.t.Helper()
	for _, propose := range steps {
		next, msg, err := propose(w.members[1])
		must(next, err)(w.t)
		w.members[1] = next
		for to := range w.members {
			if to != 1 && w.members[to].Status() == Active {
				w.deliver(to, msg)
			}
		}
	}
	p := must(w.members[0].Commit(CommitOptions{}, worldTime))(w.t)
	_, ev, err := w.members[2].Process(p.Commit, worldTime)
	return p, must(ev, err)(w.t).(*EpochStarted)
}

// Every kind of proposal travels from a member to the others and takes effect by
// reference, over both wire formats.
func TestProposalsByReference(t *testing.T) {
	psks := func(id schedule.PSKID) (suite.Secret, bool) {
		return suite.Secret(strings.Repeat("k", 32)), string(id.ID) == "shared"
	}
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprintf("private=%v", private), func(t *testing.T) {
			w := newWorld(t, worldOptions{cfg: Config{PrivateHandshake: private, PSK: psks}})
			kp := must(identity(t, "new").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
			steps := []func(g *Group) (*Group, []byte, error){
				func(g *Group) (*Group, []byte, error) { return g.ProposeUpdate(nil, worldTime) },
				func(g *Group) (*Group, []byte, error) {
					return g.ProposePSK(schedule.PSKID{Type: schedule.PSKExternal, ID: []byte("shared")}, nil, worldTime)
				},
				func(g *Group) (*Group, []byte, error) {
					return g.ProposePSK(schedule.PSKID{Type: schedule.PSKResumption, Usage: schedule.UsageApplication, GroupID: g.ID(), Epoch: g.Epoch()}, nil, worldTime)
				},
				func(g *Group) (*Group, []byte, error) { return g.ProposeRemove(3, nil, worldTime) },
				func(g *Group) (*Group, []byte, error) {
					return g.ProposeExtensions(append(g.pub.context.Extensions, tree.Extension{Type: extKnown, Data: []byte("v")}), nil, worldTime)
				},
			}
			p, started := w.commitAll(steps)
			if len(started.Removed) != 1 || len(started.Updated) != 1 || len(started.PSKs) != 2 || !started.NewExtensions {
				t.Errorf("event does not name what happened: %+v", started)
			}
			w.accept(0, p)
			if w.members[3].Status() != Removed {
				t.Error("the removed member does not know")
			}
			// Who is added has none of the group's own PSKs.
			p, started = w.commitAll(append(steps[1:2:2], func(g *Group) (*Group, []byte, error) {
				return g.ProposeAdd(kp.Public, nil, worldTime)
			}))
			if len(started.Added) != 1 || len(started.PSKs) != 1 {
				t.Errorf("event does not name what happened: %+v", started)
			}
			w.members = w.members[:3]
			w.accept(0, p)
			joined := must(Join(w.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime))(t)
			w.agree(append(w.members, joined)...)
		})
	}
}

// A group is reinitialised into another suite with all members, who check its lineage.
func TestReInit(t *testing.T) {
	w := newWorld(t, worldOptions{})
	r := &message.ReInit{GroupID: []byte("successor"), Version: tree.MLS10, Suite: suite.Default}
	next, msg, err := w.members[1].ProposeReInit(r, nil, worldTime)
	w.members[1] = must(next, err)(t)
	for _, to := range []int{0, 2, 3} {
		w.deliver(to, msg)
	}
	w.accept(0, must(w.members[0].Commit(CommitOptions{}, worldTime))(t))
	_, _, err = w.members[2].Encrypt([]byte("x"), nil)
	wantRule(t, err, rule.GroupClosed)

	var kps []*KeyPackage
	var public []*message.KeyPackage
	ids := make([]*Identity, 4)
	for i := range ids {
		ids[i] = must(NewIdentity(suite.Default, []byte{byte('a' + i)}))(t)
		if i != 2 {
			kp := must(ids[i].NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
			kps, public = append(kps, kp), append(public, kp.Public)
		}
	}
	_, err = w.members[2].Succeed(ids[2], public[:2], worldTime)
	wantRule(t, err, rule.JoinReInit)
	p := must(w.members[2].Succeed(ids[2], public, worldTime))(t)
	joined := must(Join(w.cfg, kps[:1], p.Welcome, JoinOptions{From: w.members[0]}, worldTime))(t)
	w.agree(p.Next, joined)
	if joined.Epoch() != 1 || joined.Public().Suite().ID() != suite.Default {
		t.Errorf("joined epoch %d of suite %x", joined.Epoch(), joined.Public().Suite().ID())
	}
	_, err = Join(w.cfg, kps[1:2], p.Welcome, JoinOptions{}, worldTime)
	wantRule(t, err, rule.WelcomePSK)
}

// Some members branch off into a group of their own.
func TestBranch(t *testing.T) {
	w := newWorld(t, worldOptions{})
	kp := must(w.members[3].id.NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	p := must(w.members[1].Branch([]byte("branch"), []*message.KeyPackage{kp.Public}, worldTime))(t)
	joined := must(Join(w.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{From: w.members[3]}, worldTime))(t)
	w.agree(p.Next, joined)
	_, err := w.members[1].Branch([]byte("branch"), []*message.KeyPackage{w.keyPackage(identity(t, "stranger"), nil)}, worldTime)
	wantRule(t, err, rule.JoinBranch)
}

// External senders and would-be members propose from outside; a member commits.
func TestExternalProposals(t *testing.T) {
	w := newWorld(t, worldOptions{})
	kp := must(identity(t, "new").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	for _, msg := range [][]byte{
		must(ExternalProposal(w.external, 0, w.members[0].ID(), w.members[0].Epoch(), remove(3)))(t),
		must(ProposeJoin(kp, w.members[0].ID(), w.members[0].Epoch()))(t),
	} {
		for to := range w.members {
			w.deliver(to, msg)
		}
	}
	p := must(w.members[1].Commit(CommitOptions{}, worldTime))(t)
	w.accept(1, p)
	joined := must(Join(w.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime))(t)
	w.agree(w.members[0], w.members[1], w.members[2], joined)
}

// A SelfRemove travels along with an external commit, so that a member leaves at once.
func TestSelfRemoveInExternalCommit(t *testing.T) {
	w := newWorld(t, worldOptions{cfg: Config{PrivateHandshake: true}})
	info := must(w.members[0].GroupInfo(GroupInfoOptions{}))(t)
	_, msg, err := w.members[2].ProposeLeave(nil, worldTime)
	must(msg, err)(t)
	for _, to := range []int{0, 1, 3} {
		w.deliver(to, msg)
	}
	p := must(ExternalJoin(w.cfg, identity(t, "e"), info, ExternalOptions{SelfRemoves: [][]byte{msg}}, worldTime))(t)
	for _, to := range []int{0, 1, 2, 3} {
		if to == 2 {
			continue
		}
		w.deliver(to, p.Commit)
	}
	w.agree(w.members[0], w.members[1], w.members[3], p.Next)
	if p.Next.Self() != 2 {
		t.Errorf("the joiner sits at leaf %d, want the one that was left", p.Next.Self())
	}
}

// A member that lost its state takes its old place by external commit.
func TestResync(t *testing.T) {
	w := newWorld(t, worldOptions{})
	info := must(w.members[0].GroupInfo(GroupInfoOptions{}))(t)
	p := must(ExternalJoin(w.cfg, w.members[0].id, info, ExternalOptions{Resync: true}, worldTime))(t)
	for to := 1; to < 4; to++ {
		w.deliver(to, p.Commit)
	}
	w.agree(p.Next, w.members[1], w.members[2], w.members[3])
	if p.Next.Self() != 0 || p.Next.Public().Tree().Count() != 4 {
		t.Errorf("resynced into leaf %d of %d members", p.Next.Self(), p.Next.Public().Tree().Count())
	}
}

// The public part follows a group without secrets, through public handshake messages.
func TestPublicGroupFollows(t *testing.T) {
	w := newWorld(t, worldOptions{})
	info := must(w.members[0].GroupInfo(GroupInfoOptions{}))(t)
	watcher := must(NewPublicGroup(w.cfg, info, nil, worldTime))(t)
	next, msg, err := w.members[1].ProposeUpdate(nil, worldTime)
	w.members[1] = must(next, err)(t)
	for _, to := range []int{0, 2, 3} {
		w.deliver(to, msg)
	}
	watcher, _, err = watcher.Process(w.cfg, msg, worldTime)
	must(watcher, err)(t)
	p := must(w.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{3}}, worldTime))(t)
	w.accept(0, p)
	watcher, ev, err := watcher.Process(w.cfg, p.Commit, worldTime)
	must(watcher, err)(t)
	if !bytes.Equal(codec.Marshal(watcher.Context()), codec.Marshal(w.members[0].pub.context)) {
		t.Error("the watcher's group context differs")
	}
	if started := ev.(*EpochStarted); len(started.Removed) != 1 || started.Committer != 0 {
		t.Errorf("event does not name what happened: %+v", started)
	}
}

// A component's secret can be taken once per epoch, is the same for all members, and
// leaves the others' secrets in place.
func TestSafeExport(t *testing.T) {
	w := newWorld(t, worldOptions{})
	a, first, err := w.members[0].SafeExport(0x8001)
	must(a, err)(t)
	_, second, err := w.members[1].SafeExport(0x8001)
	must(second, err)(t)
	if !first.Equal(second) || len(first) != 32 {
		t.Error("two members export different secrets")
	}
	if _, _, err := a.SafeExport(0x8001); !errors.Is(err, ErrExported) {
		t.Errorf("got %v, want ErrExported", err)
	}
	b, other, err := reloaded(t, w.cfg, a).SafeExport(0x8000)
	must(b, err)(t)
	if first.Equal(other) {
		t.Error("two components get the same secret")
	}
}

func reloaded(tb testing.TB, cfg *Config, g *Group) *Group {
	tb.Helper()
	epoch, moving := g.MarshalParts()
	loaded := must(UnmarshalParts(cfg, epoch, moving))(tb)
	if !bytes.Equal(loaded.Marshal(), g.Marshal()) {
		tb.Fatal("the loaded state saves to other bytes")
	}
	return loaded
}

// A last-resort key package is marked, and a second welcome for it still opens.
func TestLastResortKeyPackage(t *testing.T) {
	w := newWorld(t, worldOptions{})
	id := identity(t, "busy")
	kp := must(id.NewKeyPackage(worldTime, KeyPackageOptions{LastResort: true}))(t)
	kp = must(ParseKeyPackage(kp.AppendTo(nil)))(t)
	if !LastResort(kp.Public) || LastResort(w.lastKP.Public) {
		t.Error("the mark is not read back")
	}
	p := must(w.members[0].Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(t)
	q := must(must(Create(w.cfg, identity(t, "z"), nil, nil, worldTime))(t).Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(t)
	must(Join(w.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime))(t)
	must(Join(w.cfg, []*KeyPackage{kp}, q.Welcome, JoinOptions{}, worldTime))(t)
}

// X.509 credentials are accepted with a chain to the caller's roots and the leaf's key,
// and refused without.
func TestX509Credentials(t *testing.T) {
	s := must(suite.Lookup(worldSuite))(t)
	rootDER, rootKey := certificate(t, "root")
	root := must(x509.ParseCertificate(rootDER))(t)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	member := func(name string) *Identity {
		seed := suite.Random(32)
		key := ed25519.NewKeyFromSeed(seed)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
			NotBefore: worldTime.Add(-time.Hour), NotAfter: worldTime.Add(time.Hour),
		}
		der := must(x509.CreateCertificate(rand.Reader, template, root, key.Public(), rootKey))(t)
		return &Identity{
			Signer:     must(s.NewSigner(seed))(t),
			Credential: tree.Credential{Type: tree.CredentialX509, Certificates: [][]byte{der}},
		}
	}
	cfg := &Config{Auth: X509Auth{Roots: pool}}
	alice, bob := member("alice"), member("bob")
	g := must(Create(cfg, alice, nil, nil, worldTime))(t)
	kp := must(bob.NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	p := must(g.Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(t)
	must(Join(cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime))(t)

	_, err := Join(&Config{Auth: X509Auth{Roots: x509.NewCertPool()}}, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime)
	wantRule(t, err, rule.LeafCredential)
	_, err = Join(cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime.Add(48*time.Hour))
	wantRule(t, err, rule.LeafCredential)
	if err := (X509Auth{}).Successor(alice.Credential, bob.Credential); err == nil {
		t.Error("another subject may succeed")
	}
}

// A member replaces its signature key in a commit; its later messages verify under the
// new one.
func TestSignatureKeyRotation(t *testing.T) {
	w := newWorld(t, worldOptions{})
	next := *w.members[0].id
	next.Signer = identity(t, "a").Signer
	w.accept(0, must(w.members[0].Commit(CommitOptions{Identity: &next}, worldTime))(t))
	_, msg, err := w.members[0].Encrypt([]byte("new key"), nil)
	must(msg, err)(t)
	w.deliver(1, msg)
	if !bytes.Equal(w.members[1].pub.tree.Leaf(0).SignatureKey, next.Signer.Public()) {
		t.Error("the tree has the old key")
	}
}

// Padding hides lengths within a block, and is removed.
func TestPadding(t *testing.T) {
	w := newWorld(t, worldOptions{cfg: Config{Padding: PadTo(64)}})
	sizes := map[int]bool{}
	for _, n := range []int{1, 10, 60} {
		_, msg, err := w.members[0].Encrypt(make([]byte, n), nil)
		must(msg, err)(t)
		sizes[len(msg)] = true
		_, ev, err := w.members[1].Process(msg, worldTime)
		must(ev, err)(t)
		if got := len(ev.(*ApplicationMessage).Data); got != n {
			t.Errorf("got %d bytes, want %d", got, n)
		}
	}
	if len(sizes) != 1 {
		t.Errorf("messages within a block have %d different sizes", len(sizes))
	}
}

// GREASE values of RFC 9420 §13.5 appear where they may and disturb nobody.
func TestGREASE(t *testing.T) {
	id := must(NewIdentity(worldSuite, []byte("greasy")))(t)
	kp := must(id.NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	isGrease := func(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff && v != 0xfafa }
	c := kp.Public.Leaf.Capabilities
	if !isGrease(c.Suites[1]) || !isGrease(uint16(c.Proposals[1])) || !isGrease(uint16(c.Credentials[1])) {
		t.Errorf("no GREASE in %+v", c)
	}
	for _, e := range append(kp.Public.Extensions, kp.Public.Leaf.Extensions...) {
		if isGrease(uint16(e.Type)) {
			t.Errorf("a key package with an extension of type 0x%04x, which OpenMLS refuses", uint16(e.Type))
		}
	}
	g := must(Create(&Config{}, id, nil, nil, worldTime))(t)
	other := must(NewIdentity(worldSuite, []byte("other")))(t)
	okp := must(other.NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	p := must(g.Commit(CommitOptions{Add: []*message.KeyPackage{okp.Public}}, worldTime))(t)
	must(Join(&Config{}, []*KeyPackage{okp}, p.Welcome, JoinOptions{}, worldTime))(t)
}

// Late application messages of retained epochs are read and attributed to who sent them
// then, also after a reload.
func TestPastEpochs(t *testing.T) {
	w := newWorld(t, worldOptions{})
	_, late, err := w.members[2].Encrypt([]byte("late"), nil)
	must(late, err)(t)
	// The sender is removed and its leaf taken by somebody else.
	kp := must(identity(t, "heir").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	w.accept(0, must(w.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{2}}, worldTime))(t))
	w.members = append(w.members[:2], w.members[3])
	w.accept(0, must(w.members[0].Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(t))
	for _, g := range []*Group{w.members[1], reloaded(t, w.cfg, w.members[1])} {
		next, ev, err := g.Process(late, worldTime)
		must(ev, err)(t)
		app := ev.(*ApplicationMessage)
		if string(app.Credential.Identity) != "c" || app.Sender.Index != 2 || string(app.Data) != "late" {
			t.Errorf("attributed to %q at leaf %d", app.Credential.Identity, app.Sender.Index)
		}
		_, _, err = next.Process(late, worldTime)
		wantRule(t, err, rule.FrameGenerationUsed)
	}
}
