package interop

import (
	"slices"
	"testing"
)

// defect is something a stack does that RFC 9420 forbids and ours must refuse, without
// harm to the group, or that RFC 9420 allows and the stack refuses. A stack that mends it makes its case fail: then drop the case and
// the flag in stacks_test.go.
type defect struct {
	name  string
	stack *stack
	suite suiteID
	rule  string // that ours, or where ours is right theirs, names in its refusal
	run   func(r *room, theirs *stack, rule string)
}

func defects() []defect {
	return []defect{
		{"commit with one remove lacks a path", tsmls2, 0x004F, "PathRequired", removeWithoutPath},
		{"commit with one update lacks a path", tsmls2, 0x004F, "PathRequired", updateWithoutPath},
		{"path is encrypted to replaced leaf keys", tsmls2, 0x004F, "PathSecret", pathToReplacedLeaves},
		{"commit with new extensions lacks a path", tsmls1, 1, "PathRequired", extensionsWithoutPath},
		{"commit with new extensions lacks a path", tsmls2, 0x004F, "PathRequired", extensionsWithoutPath},
		{"commit secret is taken too far below the root", tsmls1, 1, "ConfirmationTag", wrongBelowRoot},
		{"newcomer refuses leaves merged further up", tsmls1, 1, unmergedRefused, strictUnmerged},
		{"newcomer refuses leaves merged further up", tsmls2, 0x004F, unmergedRefused, strictUnmerged},
		{"external_pub has no length", tsmls1, 2, "GroupInfoExternalPub", externalPubWithoutLength},
		{"external_pub has no length", tsmls2, 0x004F, "GroupInfoExternalPub", externalPubWithoutLength},
		{"leaf lives for ever", tsmls1, 1, "LeafLifetimeTotal", endlessLifetime},
		{"P-256 signature key is a compressed point", tsmls1, 2, "LeafKeys", compressedSignatureKey},
		{"P-521 signature key is a compressed point", tsmls1, 5, "LeafKeys", compressedSignatureKey},
		{"P-384 signature key is a compressed point", tsmls1, 7, "LeafKeys", compressedSignatureKey},
	}
}

// What a foreign stack gets wrong is refused and leaves our group as it was.
func TestDefects(t *testing.T) {
	h := newHarness(t)
	for _, d := range defects() {
		t.Run(d.stack.name+"/"+d.name, func(t *testing.T) {
			for _, wire := range wires() {
				t.Run(wire, func(t *testing.T) { d.run(newRoom(t, h, d.stack, d.suite, wire), d.stack, d.rule) })
			}
		})
	}
}

// refusesCommit checks that ours, whose state must not change, refuses theirs' commit.
func (r *room) refusesCommit(ours, theirs *peer, a args, rule string) {
	r.t.Helper()
	before := r.must(ours, "state", nil)
	commit := r.must(theirs, "commit", a).Commit
	r.refuses(ours, "process", args{"message": commit}, rule)
	after := r.must(ours, "state", nil)
	if before.Epoch != after.Epoch || before.EpochAuthenticator != after.EpochAuthenticator {
		r.t.Fatalf("%v moved from epoch %d to %d by a commit that it refused", ours, before.Epoch, after.Epoch)
	}
}

// goOn checks that the group works once ours has removed the peer that broke it.
func (r *room) goOn(by, broken *peer) {
	r.t.Helper()
	out := r.must(by, "commit", args{"remove": []uint32{r.leaf(broken)}})
	r.members = slices.DeleteFunc(r.members, func(p *peer) bool { return p == broken })
	r.deliver(by, out.Commit, "commit")
	r.agree()
	r.talk()
}

func removeWithoutPath(r *room, theirs *stack, rule string) {
	first, second, third := r.person(ours), r.person(theirs), r.person(ours)
	r.group(first, second, third)
	r.refusesCommit(first, second, args{"remove": []uint32{r.leaf(third)}}, rule)
	r.goOn(first, second)
}

func updateWithoutPath(r *room, theirs *stack, rule string) {
	first, second, third := r.person(ours), r.person(theirs), r.person(ours)
	r.group(first, second, third)
	r.propose(third, args{"kind": "update"})
	r.refusesCommit(first, second, nil, rule)
	r.goOn(first, second)
}

func pathToReplacedLeaves(r *room, theirs *stack, rule string) {
	first, second, third := r.person(ours), r.person(theirs), r.person(ours)
	r.group(first, second, third)
	r.propose(first, args{"kind": "update"})
	r.propose(third, args{"kind": "update"})
	r.refusesCommit(first, second, nil, rule)
	r.goOn(first, second)
}

func extensionsWithoutPath(r *room, theirs *stack, rule string) {
	first, second, third := r.person(ours), r.person(theirs), r.person(ours)
	r.group(first, second, third)
	r.refusesCommit(first, second, args{"groupContextExtensions": []args{}}, rule)
	r.goOn(first, second)
}

func externalPubWithoutLength(r *room, theirs *stack, rule string) {
	first, second := r.person(theirs), r.person(ours)
	r.create(first)
	info := r.must(first, "state", args{"asWritten": true}).GroupInfo
	r.refuses(second, "externalJoin", args{"groupInfo": info}, rule)
}

func compressedSignatureKey(r *room, theirs *stack, rule string) {
	first, second := r.person(ours), r.person(theirs)
	r.create(first)
	r.must(second, "init", args{"suite": r.suite, "identity": second.identity, "wire": r.wire, "asWritten": true})
	kp := r.must(second, "keyPackage", nil).KeyPackage
	r.refuses(first, "commit", args{"add": []string{kp}}, rule)
	r.agree()
	r.add(first, r.person(theirs))
	r.talk()
}

func endlessLifetime(r *room, theirs *stack, rule string) {
	first, second := r.person(ours), r.person(theirs)
	r.must(first, "init", args{"suite": r.suite, "identity": first.identity, "wire": r.wire})
	r.create(first)
	kp := r.must(second, "keyPackage", nil).KeyPackage
	r.refuses(first, "commit", args{"add": []string{kp}}, rule)
}

func wrongBelowRoot(r *room, theirs *stack, rule string) {
	first, second, third, fourth := r.person(ours), r.person(ours), r.person(theirs), r.person(ours)
	r.group(first, second, third, fourth)
	r.refusesCommit(fourth, third, args{"remove": []uint32{r.leaf(first), r.leaf(second)}}, rule)
	r.goOn(first, third)
}

func strictUnmerged(r *room, theirs *stack, rule string) {
	var people []*peer
	for range 5 {
		people = append(people, r.person(ours))
	}
	r.group(people...)
	r.remove(people[0], people[3]) // blanks the nodes above leaf 3 and fills those above leaf 0
	r.fresh(people[3])
	r.add(people[0], people[3]) // unmerged where the two paths meet and at the root
	r.update(people[4])         // merged at the root
	newcomer := r.person(theirs)
	kp := r.must(newcomer, "keyPackage", nil).KeyPackage
	added := r.must(people[0], "commit", args{"add": []string{kp}})
	r.refuses(newcomer, "join", args{"welcome": added.Welcome}, rule)
}
