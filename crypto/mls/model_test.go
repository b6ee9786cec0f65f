package mls

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Bounds of the model.
const (
	modelMembers = 12
	modelPast    = 3
)

// post is an application message on its way.
type post struct {
	msg   []byte
	text  string
	epoch uint64
}

// actor is a client in the model.
type actor struct {
	name    string
	id      *Identity
	g       *Group
	cursor  int    // entries of the log seen
	joined  uint64 // first epoch as a member
	inbox   []post
	pending map[string]*Group // our published commits, by message, until we hear of them
	out     bool
}

// model is a group with a delivery service that keeps one order of handshake messages
// and accepts one commit per epoch.
type model struct {
	cfg    *Config
	actors []*actor
	log    [][]byte
	epoch  uint64
	info   []byte
	used   map[string]bool // keys that encrypted a message
	serial int
}

func newModel(t *rapid.T, private bool) *model {
	m := &model{used: map[string]bool{}, cfg: &Config{
		PrivateHandshake: private, SendWithPending: true, PastEpochs: modelPast, Padding: PadTo(32),
		Limits: schedule.Limits{OutOfOrder: 1000, Forward: 1000},
	}}
	a := m.newActor()
	g, err := Create(m.cfg, a.id, nil, nil, worldTime)
	check(t, err)
	a.g = g
	m.info, err = g.GroupInfo(GroupInfoOptions{})
	check(t, err)
	m.actors = append(m.actors, a)
	m.add(t, a)
	return m
}

func check(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (m *model) newActor() *actor {
	m.serial++
	name := fmt.Sprintf("client %d", m.serial)
	id, err := NewIdentity(suite.X25519AES128SHA256Ed25519, []byte(name))
	if err != nil {
		panic(err)
	}
	return &actor{name: name, id: id, pending: map[string]*Group{}}
}

func (m *model) in() []*actor {
	var in []*actor
	for _, a := range m.actors {
		if !a.out {
			in = append(in, a)
		}
	}
	return in
}

func (m *model) pick(t *rapid.T) *actor { return rapid.SampledFrom(m.in()).Draw(t, "actor") }

// useKey records the key of a private message and fails if it was used before.
func (m *model) useKey(t *rapid.T, g *Group, msg []byte) {
	parsed, err := message.Parse(msg)
	check(t, err)
	if parsed.Private == nil {
		return
	}
	from, err := parsed.Private.SenderData(g.pub.s, g.epoch.SenderData)
	check(t, err)
	use := fmt.Sprint(parsed.Private.Epoch, from.Leaf, parsed.Private.Type.Kind(), from.Generation)
	if m.used[use] {
		t.Fatalf("key %s is used twice", use)
	}
	m.used[use] = true
}

// sync processes what the log has for an actor.
func (m *model) sync(t *rapid.T, a *actor) {
	for a.cursor < len(m.log) && !a.out {
		msg := m.log[a.cursor]
		next, ev, err := a.g.Process(msg, worldTime)
		if err != nil {
			t.Fatalf("%s: entry %d: %v", a.name, a.cursor, err)
		}
		a.cursor++
		a.g = next
		switch ev := ev.(type) {
		case *EpochStarted:
			a.out = ev.RemovedUs
		case *Echo:
			if won := a.pending[string(msg)]; won != nil {
				a.g = won // we crashed before we heard that our commit won
			}
		default:
		}
	}
}

// publish hands a commit to the service; the loser of a race gets false.
func (m *model) publish(t *rapid.T, a *actor, p *Pending) bool {
	if p.Next.Epoch() != m.epoch+1 {
		a.g = p.Current
		return false
	}
	var err error
	m.info, err = p.Next.GroupInfo(GroupInfoOptions{})
	check(t, err)
	m.log = append(m.log, p.Commit)
	m.epoch++
	if rapid.Bool().Draw(t, "crash after publishing") {
		// The state was saved before the commit went out, with the pending one beside it.
		a.pending[string(p.Commit)] = m.reload(t, p.Next)
		a.g = m.reload(t, p.Current)
	} else {
		a.g, a.cursor = p.Next, len(m.log)
	}
	return true
}

func (m *model) reload(t *rapid.T, g *Group) *Group {
	state := g.Marshal()
	loaded, err := Unmarshal(m.cfg, state)
	check(t, err)
	if !bytes.Equal(state, loaded.Marshal()) {
		t.Fatal("the loaded state saves to other bytes")
	}
	return loaded
}

func (m *model) commit(t *rapid.T, a *actor, opt CommitOptions) *Pending {
	p, err := a.g.Commit(opt, worldTime)
	if err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	m.useKey(t, a.g, p.Commit)
	return p
}

func (m *model) add(t *rapid.T, a *actor) {
	m.sync(t, a)
	if a.out || len(m.in()) >= modelMembers {
		return
	}
	fresh := m.newActor()
	kp, err := fresh.id.NewKeyPackage(worldTime, KeyPackageOptions{})
	check(t, err)
	p := m.commit(t, a, CommitOptions{Add: []*message.KeyPackage{kp.Public}, NoPath: rapid.Bool().Draw(t, "no path")})
	if !m.publish(t, a, p) {
		t.Fatal("a commit of a member that has seen everything lost")
	}
	fresh.g, err = Join(m.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime)
	check(t, err)
	fresh.cursor, fresh.joined = len(m.log), m.epoch
	m.actors = append(m.actors, fresh)
}

func (m *model) remove(t *rapid.T) {
	a := m.pick(t)
	m.sync(t, a)
	if a.out || len(m.in()) < 2 {
		return
	}
	members := a.g.Members()
	victim := rapid.SampledFrom(members).Draw(t, "victim")
	if victim.Index == a.g.Self() || len(members) < 3 {
		return
	}
	m.publish(t, a, m.commit(t, a, CommitOptions{Remove: []tree.LeafIndex{victim.Index}}))
}

// race has two members commit in the same epoch; the second loses and goes on.
func (m *model) race(t *rapid.T) {
	a, b := m.pick(t), m.pick(t)
	m.sync(t, a)
	m.sync(t, b)
	if a == b || a.out || b.out {
		return
	}
	first, second := m.commit(t, a, CommitOptions{}), m.commit(t, b, CommitOptions{})
	if !m.publish(t, a, first) || m.publish(t, b, second) {
		t.Fatal("the first of two commits must win")
	}
	m.sync(t, b)
}

func (m *model) propose(t *rapid.T) {
	a := m.pick(t)
	m.sync(t, a)
	if a.out || len(m.in()) < 3 {
		return
	}
	var err error
	var msg []byte
	before := a.g
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		a.g, msg, err = a.g.ProposeUpdate(nil, worldTime)
	case 1:
		if slices.ContainsFunc(a.g.pub.Proposals(), func(p *ProposalStored) bool {
			return p.Proposal.Type == tree.ProposalSelfRemove
		}) {
			return // keep somebody in
		}
		a.g, msg, err = a.g.ProposeLeave(nil, worldTime)
	default:
		fresh := m.newActor()
		kp, kpErr := fresh.id.NewKeyPackage(worldTime, KeyPackageOptions{})
		check(t, kpErr)
		msg, err = ProposeJoin(kp, a.g.ID(), m.epoch) // it never answers its welcome
		m.log = append(m.log, msg)
		check(t, err)
		return
	}
	check(t, err)
	m.useKey(t, before, msg)
	m.log = append(m.log, msg)
	a.g = m.reload(t, a.g)
}

func (m *model) externalJoin(t *rapid.T) {
	if len(m.in()) >= modelMembers {
		return
	}
	fresh := m.newActor()
	p, err := ExternalJoin(m.cfg, fresh.id, m.info, ExternalOptions{}, worldTime)
	check(t, err)
	m.log = append(m.log, p.Commit)
	m.epoch++
	m.info, err = p.Next.GroupInfo(GroupInfoOptions{})
	check(t, err)
	fresh.g, fresh.cursor, fresh.joined = p.Next, len(m.log), m.epoch
	m.actors = append(m.actors, fresh)
}

func (m *model) send(t *rapid.T) {
	a := m.pick(t) // it may be behind
	m.serial++
	text := fmt.Sprintf("message %d", m.serial)
	before := a.g
	next, msg, err := a.g.Encrypt([]byte(text), nil)
	check(t, err)
	m.useKey(t, before, msg)
	a.g = m.reload(t, next)
	for _, b := range m.actors {
		if b != a {
			b.inbox = append(b.inbox, post{msg, text, before.Epoch()})
		}
	}
}

// deliver gives an actor any of its messages, in any order, or loses it.
func (m *model) deliver(t *rapid.T) {
	a := rapid.SampledFrom(m.actors).Draw(t, "actor")
	if len(a.inbox) == 0 {
		return
	}
	i := rapid.IntRange(0, len(a.inbox)-1).Draw(t, "message")
	p := a.inbox[i]
	a.inbox = slices.Delete(a.inbox, i, i+1)
	if rapid.IntRange(0, 4).Draw(t, "fate") == 0 {
		return
	}
	last := a.g.Epoch() // of a removed member the last epoch it was in
	readable := p.epoch >= a.joined && p.epoch <= last && p.epoch+modelPast >= last
	if a.out && p.epoch+modelPast <= last {
		readable = false // the last epoch took a place among the past ones
	}
	next, ev, err := a.g.Process(p.msg, worldTime)
	if readable != (err == nil) {
		t.Fatalf("%s: %q of epoch %d, we joined in %d and are in %d: %v", a.name, p.text, p.epoch, a.joined, last, err)
	}
	if err != nil {
		if next != a.g {
			t.Fatal("a refused message changed the group")
		}
		return
	}
	if got := string(ev.(*ApplicationMessage).Data); got != p.text {
		t.Fatalf("got %q, want %q", got, p.text)
	}
	if _, _, err := next.Process(p.msg, worldTime); err == nil {
		t.Fatal("a message was read twice")
	}
	a.g = next
}

// agree brings everyone up to date and compares.
func (m *model) agree(t *rapid.T) {
	for _, a := range m.actors {
		m.sync(t, a)
	}
	in := m.in()
	for _, a := range in {
		if a.g.Epoch() != m.epoch || !bytes.Equal(a.g.EpochAuthenticator(), in[0].g.EpochAuthenticator()) {
			t.Fatalf("%s in epoch %d does not agree with %s in epoch %d", a.name, a.g.Epoch(), in[0].name, in[0].g.Epoch())
		}
	}
}

func runModel(t *rapid.T, private bool) {
	m := newModel(t, private)
	t.Repeat(map[string]func(*rapid.T){
		"add":           func(t *rapid.T) { m.add(t, m.pick(t)) },
		"remove":        m.remove,
		"update":        func(t *rapid.T) { a := m.pick(t); m.publish(t, a, m.commit(t, a, CommitOptions{})) },
		"race":          m.race,
		"propose":       m.propose,
		"external join": m.externalJoin,
		"send":          m.send,
		"send again":    m.send,
		"deliver":       m.deliver,
		"deliver again": m.deliver,
		"reload":        func(t *rapid.T) { a := m.pick(t); a.g = m.reload(t, a.g) },
		"sync":          func(t *rapid.T) { m.sync(t, m.pick(t)) },
	})
	m.agree(t)
}

// Whatever members do, in whatever order messages arrive, and wherever they crash: all
// agree on the epoch, removed members read nothing later, joined ones nothing earlier,
// and no key is used twice.
func TestModel(t *testing.T) {
	t.Run("public", func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { runModel(t, false) }) })
	t.Run("private", func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { runModel(t, true) }) })
}
