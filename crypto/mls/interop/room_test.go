package interop

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
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

	mayMissJoin bool    // whether newcomers may be strictUnmerged
	absent      []*peer // in the tree, but strictUnmerged
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
	r.t.Logf("%v commits %v, adds %v, removes %v", by, slices.Sorted(maps.Keys(a)), joining, leaving)
	delete(a, "byReference")
	a["brief"] = true
	out := r.must(by, "commit", a)
	r.members = slices.DeleteFunc(r.members, func(p *peer) bool { return slices.Contains(leaving, p) })
	r.deliver(by, out.Commit, "commit")
	r.expel(by, out.Commit, joining, leaving)
	for _, p := range joining {
		r.welcome(p, out, a["psk"])
	}
	r.agree()
	r.locksOut(by, leaving)
	r.dropAbsent()
}

// welcome lets p join by the welcome of a commit.
func (r *room) welcome(p *peer, commit answer, psk any) {
	r.t.Helper()
	a := args{"welcome": commit.Welcome}
	if psk != nil {
		a["psk"] = psk
	}
	joined, err := p.ask("join", a)
	if r.refusesUnmerged(p, err) {
		r.absent = append(r.absent, p)
		return
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if joined.Epoch != commit.Epoch {
		r.t.Fatalf("%v joined epoch %d, want %d", p, joined.Epoch, commit.Epoch)
	}
	r.members = append(r.members, p)
}

// unmergedRefused is how both versions of ts-mls say that they are strictUnmerged.
const unmergedRefused = "non-blank intermediate node must list leaf node in its unmerged_leaves"

func (r *room) refusesUnmerged(p *peer, err error) bool {
	return r.mayMissJoin && p.stack.strictUnmerged && err != nil && strings.Contains(err.Error(), unmergedRefused)
}

// dropAbsent lets one of ours remove those who were added but would not join.
func (r *room) dropAbsent() {
	r.t.Helper()
	if len(r.absent) == 0 {
		return
	}
	by := r.members[slices.IndexFunc(r.members, func(p *peer) bool { return p.stack == ours })]
	var indexes []uint32
	for _, p := range r.absent {
		indexes = append(indexes, r.leaf(p))
	}
	r.t.Logf("%v drops %v, who would not join", by, r.absent)
	r.deliver(by, r.must(by, "commit", args{"remove": indexes}).Commit, "commit")
	r.absent = nil
	r.agree()
}

// expel shows those removed the commit that does it.
func (r *room) expel(by *peer, commit string, joining, leaving []*peer) {
	r.t.Helper()
	for _, p := range leaving {
		if p.stack.missesRemoval || p.stack.missesReplacement && len(joining) > 0 {
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
	r.t.Logf("%v proposes %v", by, a["kind"])
	r.deliver(by, r.must(by, "propose", a).Proposal, "proposal")
}

// externalJoin brings p into the group with a commit of its own, from through's group
// info. It reports false if p is strictUnmerged and the tree not for it.
func (r *room) externalJoin(p, through *peer) bool {
	r.t.Helper()
	r.t.Logf("%v joins from outside through %v", p, through)
	info := r.must(through, "state", nil).GroupInfo
	out, err := p.ask("externalJoin", args{"groupInfo": info})
	if r.refusesUnmerged(p, err) {
		return false
	}
	if err != nil {
		r.t.Fatal(err)
	}
	delete(r.leaves, p.identity)
	r.deliver(p, out.Commit, "commit")
	r.members = append(r.members, p)
	r.agree()
	return true
}

// agree checks that all members have the same epoch, epoch authenticator, roster and
// exported secret, and remembers the roster.
func (r *room) agree() {
	r.t.Helper()
	brief := args{"brief": true}
	exporter := args{"label": "interop", "context": "c0ffee", "length": 42}
	first := r.members[0]
	want := r.must(first, "state", brief)
	secret := r.must(first, "export", exporter).Secret
	if len(want.EpochAuthenticator) < 64 || len(secret) != 84 {
		r.t.Fatalf("%v: authenticator %q or exported secret %q is too short", first, want.EpochAuthenticator, secret)
	}
	for _, p := range r.members[1:] {
		got := r.must(p, "state", brief)
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
	if people := len(r.members) + len(r.absent); len(want.Members) != people {
		r.t.Fatalf("the group has %d members, want %d", len(want.Members), people)
	}
	clear(r.leaves)
	for _, m := range want.Members {
		r.leaves[m.Identity] = m.Index
	}
}

// talk lets one member of each stack send a message that all others read.
func (r *room) talk() {
	r.t.Helper()
	heard := map[*stack]bool{}
	for _, p := range r.members {
		if !heard[p.stack] {
			heard[p.stack] = true
			r.say(p)
		}
	}
}

// talkAll lets every member speak.
func (r *room) talkAll() {
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

// reload saves a peer and loads it: ours in a fresh process, a foreign one in its own.
func (r *room) reload(p *peer) {
	r.t.Helper()
	r.t.Logf("%v is saved and loaded", p)
	state := r.must(p, "save", nil).State
	if p.stack == ours {
		next, err := r.h.start(ours)
		if err != nil {
			r.t.Fatal(err)
		}
		p.stop()
		next.identity = p.identity
		*p = *next
	}
	r.must(p, "load", args{"state": state})
}
