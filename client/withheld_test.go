package client

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/schemas"
)

// record is what the cluster has of the group that an actor founds: the way back into
// its present epoch.
func (a *actor) record(past *groupstate.Known) conn.Group {
	a.t.Helper()
	sealed, err := groupstate.SealReturn(a.group, past, nil, schemas.MaxGroupInfo)
	if err != nil {
		a.t.Fatal(err)
	}
	return conn.Group{Epoch: a.group.Epoch(), GroupInfo: sealed}
}

// wishes keeps an intent for the conversation of a name.
func (o *offline) wishes(name string, w wish) (id int64) {
	o.t.Helper()
	of := o.find(name).id
	err := o.turn(func(t *turn) error {
		row, err := t.talk(of)
		if err == nil {
			id, err = t.intend(row, w)
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return id
}

// intent returns an intent, nil if it has ended.
func (o *offline) intent(id int64) (i *vault.Intent) {
	o.t.Helper()
	if err := o.look(func(t *turn) (err error) { i, err = t.Intent(id); return err }); err != nil {
		o.t.Fatal(err)
	}
	return i
}

// tries does what the client does with an intent when it is due and the cluster has
// given what it needs.
func (o *offline) tries(id int64, p prepared) {
	o.t.Helper()
	i := o.intent(id)
	if i == nil {
		o.t.Fatal("the intent has ended")
	}
	if i.Next.After(o.at) {
		o.at = i.Next
	}
	w := wish{Kind: i.Kind}
	if err := errors.Join(json.Unmarshal(i.Args, &w), o.built(o.t.Context(), i, &w, p, nil)); err != nil {
		o.t.Fatal(err)
	}
}

// ended returns how an intent has ended for who waits for it, and whether it has.
func (o *offline) ended(w *waiter) (error, bool) {
	select {
	case <-w.done:
		return w.err, true
	default:
		return nil, false
	}
}

func (o *offline) waiter(id int64) *waiter {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiters[id]
}

// pending is the commit of a conversation that the cluster is to decide about.
func (o *offline) pending(name string) (p *vault.Pending) {
	o.t.Helper()
	of := o.find(name).id
	if err := o.look(func(t *turn) (err error) { p, err = t.Pending(of); return err }); err != nil {
		o.t.Fatal(err)
	}
	return p
}

// A way back that is withheld is looked for on and on: the user is told once that it
// can't be had, nothing is sent meanwhile and nothing given up, and when the node gives it
// the client comes back by itself.
func TestWithheldWayBackIsLookedForOn(t *testing.T) {
	alice, bob := newActor(t, "alice"), newOffline(t, "bob", Settings{Invitations: FromEverybody})
	data, id := groupData("friends", alice)
	alice.founds(data, id)
	bob.invited(alice)
	past := (*groupstate.Known)(nil).Next(nil, alice.group)
	if _, err := bob.find("friends").Send(t.Context(), content.Text{Text: "written before it was known"}); err != nil {
		t.Fatal(err)
	}
	before := alice.group
	for range 3 { // what bob does not hear
		alice.commits(mls.CommitOptions{})
	}
	rejoin := bob.wishes("friends", wish{Kind: wishRejoin})
	told := bob.waiter(rejoin)
	withheld := prepared{record: conn.Group{Epoch: alice.group.Epoch()}, current: true}
	var last time.Duration
	for range 4 * returnTries { // each second time is to see whether it is merely late
		bob.tries(rejoin, withheld)
		if i := bob.intent(rejoin); i != nil {
			last = max(last, i.Next.Sub(bob.at))
		}
	}
	info := bob.state("friends")
	if info.State != "broken" || !strings.Contains(info.Reason, "no way back") {
		t.Fatalf("the group is %s (%s), want broken, for want of a way back", info.State, info.Reason)
	}
	if err, done := bob.ended(told); !done || !errors.Is(err, ErrNoWayBack) {
		t.Errorf("who waited is told %v (%v), want ErrNoWayBack", err, done)
	}
	notices := 0
	for _, e := range bob.history("friends") {
		if strings.Contains(e.Text, "looked for on and on") {
			notices++
		}
	}
	if notices != 1 {
		t.Errorf("%d notices say that it is looked for, want one", notices)
	}
	if last < longestRetry/4 || last > 2*longestRetry {
		t.Errorf("the pause is %v after many tries, want about %v", last, longestRetry)
	}
	if _, err := bob.find("friends").Send(t.Context(), content.Text{Text: "hello?"}); !errors.Is(err, ErrBroken) {
		t.Errorf("something is said meanwhile: %v, want ErrBroken", err)
	}
	if err := bob.look(func(t *turn) error {
		i, err := t.Intent(rejoin)
		if err == nil && t.ours(i) {
			err = errors.New("a program that waits until all is done waits for what may never come")
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	of := bob.find("friends").id
	waiting, err := bob.nextOutgoing(t.Context(), of)
	if err != nil || waiting == nil || waiting.Payload != nil {
		t.Fatalf("what was written before is to be sent as %+v (%v), want that it waits unencrypted", waiting, err)
	}
	// What was wanted before goes on waiting.
	rekey := bob.wishes("friends", wish{Kind: wishRekey})
	bob.tries(rekey, prepared{})
	if i := bob.intent(rekey); i == nil || !strings.Contains(i.Error, "no way back") {
		t.Errorf("what is wanted meanwhile: %+v, want that it waits, and says for what", i)
	}
	// The node is honest again.
	bob.tries(rejoin, prepared{record: alice.record(past.Next(before, alice.group)), current: true})
	bob.tries(rejoin, prepared{record: alice.record(past.Next(before, alice.group)), current: true})
	p := bob.pending("friends")
	if p == nil {
		t.Fatalf("bob does not come back: %+v", bob.state("friends"))
	}
	if err := bob.turn(func(t *turn) error { return t.adopt(of, p) }); err != nil {
		t.Fatal(err)
	}
	if info := bob.state("friends"); info.State != "active" {
		t.Errorf("after the way back the group is %s (%s), want active", info.State, info.Reason)
	}
	if i := bob.intent(rekey); i == nil || i.Next.After(bob.at) {
		t.Errorf("what has waited is to be done at %+v, want now", i)
	}
	if out, err := bob.nextOutgoing(t.Context(), of); err != nil || out == nil || out.ID != waiting.ID || out.Payload == nil {
		t.Errorf("what was written before is to be sent as %+v (%v), want that it goes out", out, err)
	}
}

// What a node refuses because it knows of no such index is tried again later: nothing
// that was to be sent is given up.
func TestRefusedIndexIsNotHopeless(t *testing.T) {
	if hopeless(schemas.Code_seenTooFarAhead) {
		t.Error("what was to be sent counts as refused for ever")
	}
}

// A refusal by the cluster that is the same forever ends no way back either: a node can
// say anything.
func TestRefusedWayBackIsLookedForOn(t *testing.T) {
	alice, bob := newActor(t, "alice"), newOffline(t, "bob", Settings{Invitations: FromEverybody})
	data, id := groupData("friends", alice)
	alice.founds(data, id)
	bob.invited(alice)
	rejoin := bob.wishes("friends", wish{Kind: wishRejoin})
	w, refused := wish{Kind: wishRejoin}, &Error{Code: schemas.Code_channelAccessDenied}
	if !hopeless(refused.Code) {
		t.Fatalf("%s is to be tried again, the test needs one that is not", refused.Code)
	}
	if err := bob.built(t.Context(), bob.intent(rejoin), &w, prepared{}, refused); err != nil {
		t.Fatal(err)
	}
	if info := bob.state("friends"); info.State != "broken" {
		t.Errorf("the group is %s, want broken", info.State)
	}
	if bob.intent(rejoin) == nil {
		t.Fatal("the way back is given up")
	}
	// It was a lie: there is nothing to come back from.
	bob.tries(rejoin, prepared{record: conn.Group{Epoch: alice.group.Epoch()}, current: true})
	if info := bob.state("friends"); info.State != "active" || bob.intent(rejoin) != nil {
		t.Errorf("the group is %s (%s), want active, and nothing left to do", info.State, info.Reason)
	}
}

// What is wanted of a conversation whose new keys prove nothing waits for the user's
// answer: a yes has it done, a no ends it with that reason.
func TestIntentWaitsForTheAnswer(t *testing.T) {
	for _, yes := range []bool{true, false} {
		alice, bob := newActor(t, "alice"), newOffline(t, "bob", Settings{Invitations: FromEverybody})
		data, id := dmData()
		alice.founds(data, id)
		bob.invited(alice)
		bob.knows(alice)
		rekey := bob.wishes("alice", wish{Kind: wishRekey})
		told := bob.waiter(rekey)
		of := bob.find("alice").id
		err := bob.turn(func(t *turn) error {
			row, err := t.talk(of)
			return errors.Join(err, t.unproven(row, nil))
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			bob.tries(rekey, prepared{})
		}
		i := bob.intent(rekey)
		if i == nil || !strings.Contains(i.Error, "compare the safety number") {
			t.Fatalf("the intent is %+v, want that it waits for the user's answer", i)
		}
		if err, done := bob.ended(told); done {
			t.Errorf("who waits for it is told %v before the answer", err)
		}
		bob.answers(func(t *turn, row *talk) (err error) {
			if yes {
				_, err = t.acceptKeys(row)
			} else {
				_, err = t.decline(row)
			}
			return err
		})
		if i := bob.intent(rekey); i == nil || i.Next.After(bob.at) {
			t.Fatalf("after the answer the intent is %+v, want that it is due", i)
		}
		bob.tries(rekey, prepared{})
		if made := bob.pending("alice") != nil; made != yes {
			t.Errorf("after the answer %t the commit is made: %t", yes, made)
		}
		if err, done := bob.ended(told); !yes && (!done || !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "declined")) {
			t.Errorf("after a no who waits is told %v (%t), want that the keys were declined", err, done)
		}
	}
}
