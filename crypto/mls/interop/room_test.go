package interop

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// room is one group and the peers around it. Every step ends with all members in
// agreement, or the test fails.
type room struct {
	t       *testing.T
	h       *harness
	foreign *stack // who ours is paired with
	suite   suiteID
	wire    string
	members []*peer
	leaves  map[string]uint32 // leaf index by identity, as of the last agreement
	people  int               // identities given out
}

func newRoom(t *testing.T, h *harness, foreign *stack, suite suiteID, wire string) *room {
	return &room{t: t, h: h, foreign: foreign, suite: suite, wire: wire, leaves: map[string]uint32{}}
}

// must asks and fails the test on any error.
func (r *room) must(p *peer, op string, a args) answer {
	r.t.Helper()
	out, err := p.ask(op, a)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// refuses asks and fails the test unless the peer answers with an error that contains why.
func (r *room) refuses(p *peer, op string, a args, why string) {
	r.t.Helper()
	out, err := p.ask(op, a)
	if !errors.Is(err, errRefused) || !strings.Contains(out.Error, why) {
		r.t.Fatalf("%v: %s: want a refusal with %q, got %v", p, op, why, err)
	}
}

// person returns a new client over stack s that is in no group.
func (r *room) person(s *stack) *peer {
	r.t.Helper()
	p := r.h.peer(r.t, s)
	r.fresh(p)
	return p
}

// fresh makes p a new client with new keys.
func (r *room) fresh(p *peer) {
	r.t.Helper()
	p.identity = hex.EncodeToString(fmt.Appendf(nil, "client-%d", r.people))
	r.people++
	r.must(p, "init", args{
		"suite": r.suite, "identity": p.identity, "wire": r.wire, "credentials": []int{1, 2},
		"ignoreLifetime": r.foreign.endlessLifetime,
	})
}

// create opens the group.
func (r *room) create(p *peer) {
	r.t.Helper()
	r.must(p, "create", args{"groupId": hex.EncodeToString([]byte(r.t.Name()))})
	r.members = []*peer{p}
	r.agree()
}

// group opens the group with its first member as creator, who adds the others at once.
func (r *room) group(people ...*peer) {
	r.t.Helper()
	r.create(people[0])
	if len(people) > 1 {
		r.add(people[0], people[1:]...)
	}
}

func (r *room) add(by *peer, joining ...*peer) {
	r.t.Helper()
	r.commit(by, args{}, joining, nil)
}

func (r *room) update(by *peer) {
	r.t.Helper()
	r.commit(by, args{"update": true}, nil, nil)
}

func (r *room) remove(by *peer, leaving ...*peer) {
	r.t.Helper()
	r.commit(by, args{}, nil, leaving)
}

// commit commits with by, lets everybody process it and those added join, and checks that
// those removed are out. Proposals by reference that add or remove are named the same way.
func (r *room) commit(by *peer, a args, joining, leaving []*peer) {
	r.t.Helper()
	if len(joining) > 0 && a["byReference"] == nil {
		var packages []string
		for _, p := range joining {
			packages = append(packages, r.must(p, "keyPackage", nil).KeyPackage)
		}
		a["add"] = packages
	}
	if len(leaving) > 0 && a["byReference"] == nil {
		var indexes []uint32
		for _, p := range leaving {
			indexes = append(indexes, r.leaf(p))
		}
		a["remove"] = indexes
	}
	delete(a, "byReference")
	out := r.must(by, "commit", a)
	r.members = slices.DeleteFunc(r.members, func(p *peer) bool { return slices.Contains(leaving, p) })
	r.deliver(by, out.Commit, "commit")
	r.expel(by, out.Commit, leaving)
	for _, p := range joining {
		welcome := args{"welcome": out.Welcome}
		if psk, ok := a["psk"]; ok {
			welcome["psk"] = psk
		}
		joined := r.must(p, "join", welcome)
		if joined.Epoch != out.Epoch {
			r.t.Fatalf("%v joined epoch %d, want %d", p, joined.Epoch, out.Epoch)
		}
		r.members = append(r.members, p)
	}
	r.agree()
	r.locksOut(by, leaving)
}

// expel shows those removed the commit that does it.
func (r *room) expel(by *peer, commit string, leaving []*peer) {
	r.t.Helper()
	for _, p := range leaving {
		if p.stack.missesRemoval {
			r.refuses(p, "process", args{"message": commit}, "")
			continue
		}
		r.sees(p, by, r.must(p, "process", args{"message": commit}), "commit")
		r.refuses(p, "encrypt", args{"plaintext": "00"}, "")
	}
}

// locksOut checks that those removed cannot read what is said next.
func (r *room) locksOut(by *peer, gone []*peer) {
	r.t.Helper()
	if len(gone) == 0 {
		return
	}
	message := r.must(by, "encrypt", args{"plaintext": "5ec4e7"}).Message
	for _, p := range gone {
		r.refuses(p, "process", args{"message": message}, "")
	}
	for _, p := range r.members {
		if p != by {
			r.reads(p, by, message, "5ec4e7")
		}
	}
}

// leaf returns a member's leaf index.
func (r *room) leaf(p *peer) uint32 {
	r.t.Helper()
	index, ok := r.leaves[p.identity]
	if !ok {
		r.t.Fatalf("%v is not in the group", p)
	}
	return index
}

// deliver lets every member but the sender process a message and checks what they see.
func (r *room) deliver(by *peer, message, kind string) {
	r.t.Helper()
	for _, p := range r.members {
		if p == by {
			continue
		}
		r.sees(p, by, r.must(p, "process", args{"message": message}), kind)
	}
}

func (r *room) sees(p, by *peer, event answer, kind string) {
	r.t.Helper()
	if event.Kind != kind {
		r.t.Fatalf("%v saw %q, want %q", p, event.Kind, kind)
	}
	index, known := r.leaves[by.identity]
	if event.Sender != nil && known && *event.Sender != index {
		r.t.Fatalf("%v saw sender %d, want %d", p, *event.Sender, index)
	}
}

// propose sends a proposal and lets everybody store it.
func (r *room) propose(by *peer, a args) {
	r.t.Helper()
	r.deliver(by, r.must(by, "propose", a).Proposal, "proposal")
}

// externalJoin brings p into the group with a commit of its own, from through's group info.
func (r *room) externalJoin(p, through *peer) {
	r.t.Helper()
	info := r.must(through, "state", nil).GroupInfo
	out := r.must(p, "externalJoin", args{"groupInfo": info})
	delete(r.leaves, p.identity)
	r.deliver(p, out.Commit, "commit")
	r.members = append(r.members, p)
	r.agree()
}

// agree checks that all members have the same epoch, epoch authenticator, roster and
// exported secret, and remembers the roster.
func (r *room) agree() {
	r.t.Helper()
	exporter := args{"label": "interop", "context": "c0ffee", "length": 42}
	first := r.members[0]
	want := r.must(first, "state", nil)
	secret := r.must(first, "export", exporter).Secret
	if len(want.EpochAuthenticator) < 64 || len(secret) != 84 {
		r.t.Fatalf("%v: authenticator %q or exported secret %q is too short", first, want.EpochAuthenticator, secret)
	}
	for _, p := range r.members[1:] {
		got := r.must(p, "state", nil)
		if got.Epoch != want.Epoch || got.EpochAuthenticator != want.EpochAuthenticator {
			r.t.Fatalf("%v is at epoch %d with authenticator %s, want %d with %s as %v",
				p, got.Epoch, got.EpochAuthenticator, want.Epoch, want.EpochAuthenticator, first)
		}
		if !slices.Equal(got.Members, want.Members) {
			r.t.Fatalf("%v sees members %v, want %v as %v", p, got.Members, want.Members, first)
		}
		if exported := r.must(p, "export", exporter).Secret; exported != secret {
			r.t.Fatalf("%v exported %s, want %s as %v", p, exported, secret, first)
		}
	}
	if len(want.Members) != len(r.members) {
		r.t.Fatalf("the group has %d members, want %d", len(want.Members), len(r.members))
	}
	clear(r.leaves)
	for _, m := range want.Members {
		r.leaves[m.Identity] = m.Index
	}
}

// talk lets every member send a message that all others read.
func (r *room) talk() {
	r.t.Helper()
	for _, p := range r.members {
		r.say(p)
	}
}

func (r *room) say(by *peer) {
	r.t.Helper()
	text := hex.EncodeToString([]byte("hello from " + by.identity))
	message := r.must(by, "encrypt", args{"plaintext": text, "aad": "0a0b"}).Message
	for _, p := range r.members {
		if p != by {
			r.reads(p, by, message, text)
		}
	}
}

func (r *room) reads(p, by *peer, message, text string) {
	r.t.Helper()
	event := r.must(p, "process", args{"message": message})
	r.sees(p, by, event, "application")
	if event.Plaintext != text {
		r.t.Fatalf("%v read %q, want %q", p, event.Plaintext, text)
	}
}

// reload moves a peer over ours into a fresh process by save and load.
func (r *room) reload(p *peer) {
	r.t.Helper()
	state := r.must(p, "save", nil).State
	old := *p
	next, err := r.h.start(p.stack)
	if err != nil {
		r.t.Fatal(err)
	}
	next.identity = old.identity
	*p = *next
	old.stop()
	r.must(p, "load", args{"state": state})
}
