package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls"
	"quicproquo/schemas"
)

// won has the client renew its keys and believe that its commit has won. It returns what
// the others would get of it.
func (o *offline) won(name string) (commit []byte) {
	o.t.Helper()
	rekey := o.wishes(name, wish{Kind: wishRekey})
	o.tries(rekey, prepared{})
	return o.adopts(name).Deliveries[0].Payload
}

// adopts has the client believe that what it has pending has won.
func (o *offline) adopts(name string) *conn.Commit {
	o.t.Helper()
	p := o.pending(name)
	if p == nil {
		o.t.Fatalf("no commit is on its way: %+v", o.state(name))
	}
	var call conn.Commit
	if err := json.Unmarshal(p.Call, &call); err != nil {
		o.t.Fatal(err)
	}
	of := o.find(name).id
	if err := o.turn(func(t *turn) error { return t.adopt(of, p) }); err != nil {
		o.t.Fatal(err)
	}
	return &call
}

// intends demands that the client intends something of a kind, and returns it.
func (o *offline) intends(name, kind string) (id int64) {
	o.t.Helper()
	of := o.find(name).id
	err := o.look(func(t *turn) error {
		list, err := t.IntentsOf(of)
		for _, i := range list {
			if i.Kind == kind {
				id = i.ID
			}
		}
		return err
	})
	if err != nil || id == 0 {
		o.t.Fatalf("nothing is intended of the kind %s (%v)", kind, err)
	}
	return id
}

// later is what the client does after a while.
func (o *offline) later(d time.Duration) {
	o.t.Helper()
	o.at = o.at.Add(d)
	if err := o.turn((*turn).keepUp); err != nil {
		o.t.Fatal(err)
	}
}

// keepsEarlier is how many bytes of earlier keys of its leaf the client keeps for a conversation.
func (o *offline) keepsEarlier(name string) (n int) {
	o.t.Helper()
	of := o.find(name).id
	err := o.look(func(t *turn) error {
		keys, err := t.EarlierLeaves(of)
		n = len(keys)
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return n
}

// forgets what is in memory, as a program does that is started again.
func (o *offline) forgets() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.talks)
}

// comesBack gives the client the group's record until it has a commit to come back with,
// and has the actor take it. It tells what the others would say of that.
func (o *offline) comesBack(name string, rejoin int64, by *actor, past *groupstate.Known) {
	o.t.Helper()
	for range 3 {
		if o.pending(name) == nil && o.intent(rejoin) != nil {
			o.tries(rejoin, prepared{record: by.record(past), current: true})
		}
	}
	ends := by.group.Epoch()
	call := o.adopts(name)
	if call.Epoch != ends {
		o.t.Fatalf("the client comes back by a commit that ends epoch %d, want %d", call.Epoch, ends)
	}
	next, ev, err := by.group.Process(call.Deliveries[0].Payload[1:], o.at)
	if err != nil {
		o.t.Fatalf("%s can't take the client back: %v", by.name, err)
	}
	began, ok := ev.(*mls.EpochStarted)
	if !ok {
		o.t.Fatalf("%s takes %+v for the return", by.name, ev)
	}
	credential, err := groupstate.ParseCredential(began.Credential)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := past.CheckReturning(by.group.ID(), ends, credential.Member, began.AuthenticatedData); err != nil {
		o.t.Errorf("what the client says of its past is for %s: %v", by.name, err)
	}
	by.group = next
}

// A member's commits win, so a node says, and reach nobody, while the others go on or do
// not: it finds the true group by the leaf that it has there, as soon as anything tells
// it that the group has another epoch than its own. So it is after a restart, for one
// such commit and several, and for a return that is swallowed too.
func TestSwallowedCommitLeavesAWayBack(t *testing.T) {
	t.Parallel()
	for _, dm := range []bool{false, true} {
		for _, swallowed := range []int{1, 3, 2 * 4} {
			for _, others := range []int{1, 6} {
				t.Run(fmt.Sprintf("dm %t, %d swallowed, %d of others", dm, swallowed, others), func(t *testing.T) {
					t.Parallel()
					alice, bob, name := joined(t, "alice", dm)
					past := (*groupstate.Known)(nil).Next(nil, alice.group)
					bob.gets(alice.says(text("hello")))
					for range swallowed {
						bob.won(name)
					}
					var rivals [][]byte
					for range others {
						before := alice.group
						commit, _ := alice.commits(mls.CommitOptions{})
						past = past.Next(before, alice.group)
						rivals = append(rivals, commit)
					}
					if others > 1 { // started again
						bob.forgets()
					}
					bob.gets(rivals...)
					rejoin := bob.intends(name, wishRejoin)
					bob.comesBack(name, rejoin, alice, past)
					if info := bob.state(name); info.State != "active" {
						t.Errorf("the conversation is %s (%s), want active", info.State, info.Reason)
					}
					bob.gets(alice.says(text("there you are")))
					bob.reads(name, "alice: hello", "alice: there you are")
					if n := bob.keepsEarlier(name); n != 0 {
						t.Errorf("%d bytes of earlier keys are kept after the others have spoken", n)
					}
				})
			}
		}
	}
}

// A commit with which somebody comes back can be swallowed as well: the next way back is
// sealed to the leaf of before.
func TestSwallowedReturnLeavesAWayBack(t *testing.T) {
	t.Parallel()
	alice, bob, _ := joined(t, "alice", false)
	past := (*groupstate.Known)(nil).Next(nil, alice.group)
	step := func() []byte {
		before := alice.group
		commit, _ := alice.commits(mls.CommitOptions{})
		past = past.Next(before, alice.group)
		return commit
	}
	step() // bob never gets it
	rejoin := bob.wishes("friends", wish{Kind: wishRejoin})
	for range 2 {
		bob.tries(rejoin, prepared{record: alice.record(past), current: true})
	}
	bob.adopts("friends") // and nobody hears of it
	bob.gets(step())
	bob.comesBack("friends", bob.intends("friends", wishRejoin), alice, past)
	bob.gets(alice.says(text("there you are")))
	bob.reads("friends", "alice: there you are")
}

// A node takes a member's commit, passes it on, and tells the member that it has lost: the
// group's record is sealed to a leaf whose key only that commit had. It comes back by it,
// after a restart too, unless another's commit has won in truth: then the key is erased.
func TestRefusedCommitThatWasAccepted(t *testing.T) {
	t.Parallel()
	for _, accepted := range []bool{true, false} {
		alice, bob, _ := joined(t, "alice", false)
		past := (*groupstate.Known)(nil).Next(nil, alice.group)
		rekey := bob.wishes("friends", wish{Kind: wishRekey})
		bob.tries(rekey, prepared{})
		p, of := bob.pending("friends"), bob.find("friends").id
		var call conn.Commit
		if err := json.Unmarshal(p.Call, &call); err != nil {
			t.Fatal(err)
		}
		lost := &Error{Code: schemas.Code_epochConflict, Value: call.Epoch + 1}
		if err := bob.turn(func(t *turn) error { return t.lostRace(of, p, &call, lost) }); err != nil {
			t.Fatal(err)
		}
		bob.forgets()
		before := alice.group
		if !accepted {
			won, _ := alice.commits(mls.CommitOptions{})
			bob.gets(won, alice.says(text("mine has won")))
			bob.reads("friends", "alice: mine has won")
			if n := bob.keepsEarlier("friends"); n != 0 {
				t.Errorf("%d bytes of keys are kept of a commit that has lost", n)
			}
			if i := bob.intent(rekey); i == nil || i.Tries == 0 {
				t.Errorf("what lost the race is %+v, want that it is wanted still", i)
			}
			continue
		}
		alice.hears(call.Deliveries[0].Payload)
		past = past.Next(before, alice.group)
		bob.gets(alice.says(text("in the new epoch")))
		bob.comesBack("friends", bob.wishes("friends", wish{Kind: wishRejoin}), alice, past)
		bob.gets(alice.says(text("there you are")))
		bob.reads("friends", "alice: there you are")
	}
}

// A node may withhold the commit of the others and pass on what they say: a message of an
// epoch that our own unconfirmed commit has begun, which we can't read, has us look.
func TestUnreadableMessageBesideOurCommit(t *testing.T) {
	t.Parallel()
	alice, bob, _ := joined(t, "alice", false)
	past := (*groupstate.Known)(nil).Next(nil, alice.group)
	bob.won("friends")
	before := alice.group
	alice.commits(mls.CommitOptions{}) // withheld from bob
	past = past.Next(before, alice.group)
	bob.gets(alice.says(text("can you read this?")))
	bob.comesBack("friends", bob.intends("friends", wishRejoin), alice, past)
	bob.gets(alice.says(text("there you are")))
	bob.reads("friends", "alice: there you are")
}

// What a commit of a rival, or a message that can't be read, makes the client look for:
// nothing but the truth in the group's record. Where its own commit has won, a record
// that is older leads nowhere.
func TestUnconfirmedCommitThatHasWon(t *testing.T) {
	t.Parallel()
	alice, bob, _ := joined(t, "alice", false)
	past := (*groupstate.Known)(nil).Next(nil, alice.group)
	old := alice.record(past)
	stale := *alice.group
	rival, err := stale.Commit(mls.CommitOptions{}, bob.at)
	if err != nil {
		t.Fatal(err)
	}
	lost := alice.says(text("lost"))
	before := alice.group
	alice.hears(bob.won("friends"))
	past = past.Next(before, alice.group)
	bob.gets(groupstate.Wrap(rival.Commit))
	bob.gets(append(lost[:len(lost)-1:len(lost)-1], lost[len(lost)-1]^1))
	rejoin := bob.wishes("friends", wish{Kind: wishRejoin})
	for _, record := range []conn.Group{old, {Epoch: old.Epoch + 1, GroupInfo: old.GroupInfo}, alice.record(past)} {
		if bob.intent(rejoin) == nil {
			rejoin = bob.wishes("friends", wish{Kind: wishRejoin})
		}
		for range 2 {
			if bob.intent(rejoin) != nil {
				bob.tries(rejoin, prepared{record: record, current: true})
			}
		}
		if p := bob.pending("friends"); p != nil {
			t.Fatal("bob leaves the epoch that his own commit has begun")
		}
		if info := bob.state("friends"); info.State != "active" {
			t.Fatalf("the group is %s (%s), want active", info.State, info.Reason)
		}
	}
	if n := bob.keepsEarlier("friends"); n == 0 {
		t.Fatal("no earlier key is kept though nobody has confirmed the commit")
	}
	bob.gets(alice.says(text("I have it")))
	bob.reads("friends", "alice: I have it")
}

// The earlier key of a leaf is erased with the first word of another member that was said
// with the keys of the new epoch, whatever it is; after a month at the latest; and with
// the group's keys. A word of before proves nothing, and who comes in from outside has
// not been there.
func TestEarlierLeafKeysAreErased(t *testing.T) {
	t.Parallel()
	for _, scene := range []struct {
		name string
		kept bool
		does func(t *testing.T, alice *actor, bob *offline, commit []byte)
	}{
		{"nothing", true, func(*testing.T, *actor, *offline, []byte) {}},
		{"a word of the epoch before", true, func(_ *testing.T, alice *actor, bob *offline, _ []byte) { bob.gets(alice.says(text("late"))) }},
		{"a word", false, func(_ *testing.T, alice *actor, bob *offline, commit []byte) {
			alice.hears(commit)
			bob.gets(alice.says(text("hello")))
		}},
		{"a proposal", false, func(_ *testing.T, alice *actor, bob *offline, commit []byte) {
			alice.hears(commit)
			bob.gets(alice.proposed(alice.group.ProposeUpdate(nil, bob.at)))
		}},
		{"a commit", false, func(_ *testing.T, alice *actor, bob *offline, commit []byte) {
			alice.hears(commit)
			next, _ := alice.commits(mls.CommitOptions{})
			bob.gets(next)
		}},
		{"a stranger by the link", true, func(t *testing.T, alice *actor, bob *offline, commit []byte) {
			alice.hears(commit)
			info, err := alice.group.GroupInfo(mls.GroupInfoOptions{})
			if err != nil {
				t.Fatal(err)
			}
			carol := newActor(t, "carol")
			made, err := mls.ExternalJoin(carol.config, carol.identity, info, mls.ExternalOptions{}, bob.at)
			if err != nil {
				t.Fatal(err)
			}
			bob.gets(groupstate.Wrap(made.Commit))
		}},
		{"29 days", true, func(_ *testing.T, _ *actor, bob *offline, _ []byte) { bob.later(groupstate.MaxEarlierAge - 1) }},
		{"a month", false, func(_ *testing.T, _ *actor, bob *offline, _ []byte) { bob.later(groupstate.MaxEarlierAge + 1e9) }},
		{"the end", false, func(t *testing.T, _ *actor, bob *offline, _ []byte) {
			bob.inGroup(func(t *turn, row *talk) error { return t.end(row, stateLeft, EventLeft, notice{}) })
		}},
	} {
		t.Run(scene.name, func(t *testing.T) {
			t.Parallel()
			alice, bob := newActor(t, "alice"), newOffline(t, "bob", Settings{Invitations: FromEverybody})
			data, id := groupData("friends", alice)
			alice.founds(data, id)
			bob.invited(alice)
			if bob.keepsEarlier("friends") != 0 {
				t.Fatal("there is an earlier key after the invitation")
			}
			commit := bob.won("friends")
			var held *groupstate.EarlierLeaves
			bob.inGroup(func(_ *turn, row *talk) error { held = row.earlier; return nil })
			was := held.AppendTo(nil)
			scene.does(t, alice, bob, commit)
			if n := bob.keepsEarlier("friends"); (n > 0) != scene.kept {
				t.Errorf("%d bytes of earlier keys are kept, want some: %t", n, scene.kept)
			}
			if zero := !bytes.Equal(held.AppendTo(nil), was); zero == scene.kept {
				t.Errorf("the earlier key is erased in memory: %t, want %t", zero, !scene.kept)
			}
		})
	}
}
