package rpc

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"capnproto.org/go/capnp/v3"

	client "quicproquo/client/conn"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// A pair has one channel, whoever asks and however often.
func TestCreateChannel(t *testing.T) {
	d := openAccounts(t)
	ann, bob, eve := d.member(t, "ann"), d.member(t, "bob"), d.member(t, "eve")
	id, wasNew, err := ann.CreateChannel(t.Context(), bob.key)
	if err != nil || !wasNew || id == (client.ChannelID{}) {
		t.Fatalf("first: %x, new %v, %v", id, wasNew, err)
	}
	for _, c := range []struct {
		from, to member
	}{{ann, bob}, {bob, ann}, {d.on(t, bob, "bob", client.DeviceID{1}), ann}} {
		again, wasNew, err := c.from.CreateChannel(t.Context(), c.to.key)
		if err != nil || wasNew || again != id {
			t.Errorf("again: %x, new %v, %v; want %x", again, wasNew, err, id)
		}
	}
	other, wasNew, err := eve.CreateChannel(t.Context(), bob.key)
	if err != nil || !wasNew || other == id {
		t.Errorf("another pair: %x, new %v, %v", other, wasNew, err)
	}

	before := d.node.digest()
	_, _, err = ann.CreateChannel(t.Context(), ann.key)
	wantCode(t, "with oneself", err, schemas.Code_channelWithSelf)
	_, _, err = ann.CreateChannel(t.Context(), client.AccountKey{9})
	wantCode(t, "with nobody", err, schemas.Code_accountNotFound)
	for length, want := range map[int]schemas.Code{0: schemas.Code_identityRequired, 31: schemas.Code_keyLength, 33: schemas.Code_keyLength} {
		err := as(t, ann, 18, schemas.NewCreateChannelParams, func(p schemas.CreateChannelParams) error {
			// What a caller proposes as id counts for nothing.
			return errors.Join(p.SetPeerKey(make([]byte, length)), p.SetChannelId(make([]byte, 16)))
		})
		wantCode(t, "with a key of another length", err, want)
	}
	if after := d.node.digest(); after != before {
		t.Error("refused calls were written")
	}
}

// The id of a channel is the node's, whatever a caller puts into the field.
func TestChannelIDsAreTheNodes(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	chosen := bytes.Repeat([]byte{7}, schemas.ChannelIDSize)
	must(t, as(t, ann, 18, schemas.NewCreateChannelParams, func(p schemas.CreateChannelParams) error {
		return errors.Join(p.SetPeerKey(bob.key[:]), p.SetChannelId(chosen))
	}))
	id, wasNew, err := bob.CreateChannel(t.Context(), ann.key)
	if err != nil || wasNew || bytes.Equal(id[:], chosen) {
		t.Errorf("the channel is %x, new %v, %v", id, wasNew, err)
	}
}

// An account lists its channels page by page, in the order of their ids, with what
// waits in each for the device that asks.
func TestListChannels(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	var want []client.Channel
	for _, name := range []string{"bob", "cat", "dog", "eel", "fox"} {
		peer := d.member(t, name)
		id, _, err := peer.CreateChannel(t.Context(), ann.key)
		must(t, err)
		for range len(want) {
			_, err := peer.Enqueue(t.Context(), client.Message{To: ann.key, Channel: id, Payload: []byte("x")})
			must(t, err)
		}
		want = append(want, client.Channel{ID: id, Peer: peer.key, Queued: uint64(len(want))})
	}
	slices.SortFunc(want, func(a, b client.Channel) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	for _, limit := range []int{0, 1, 2, 4, 5, 6, 9999} {
		var got []client.Channel
		after, more := client.ChannelID{}, true
		for more {
			var page []client.Channel
			var err error
			page, more, err = ann.ListChannels(t.Context(), after, limit)
			must(t, err)
			if len(page) == 0 || limit > 0 && len(page) > limit {
				t.Fatalf("limit %d: a page of %d", limit, len(page))
			}
			got = append(got, page...)
			after = page[len(page)-1].ID
		}
		for i := range got {
			if got[i].Created.IsZero() {
				t.Errorf("channel %d has no time", i)
			}
			got[i].Created = want[min(i, len(want)-1)].Created
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: got %+v, want %+v", limit, got, want)
		}
	}
	phone := d.on(t, ann, "ann", client.DeviceID{1})
	page, _, err := phone.ListChannels(t.Context(), client.ChannelID{}, 0)
	must(t, err)
	for _, c := range page {
		if c.Queued != 0 {
			t.Errorf("%d envelopes wait for a device that is new", c.Queued)
		}
	}
	err = as(t, ann, 32, schemas.NewListChannelsParams, func(p schemas.ListChannelsParams) error { return p.SetAfter(make([]byte, 3)) })
	wantCode(t, "after three bytes", err, schemas.Code_channelIdLength)
}

// channelMethods are the methods that work on the queues of channels. A row is a
// call of a member: owner is whose queue it names.
var channelMethods = []struct {
	name  string
	sends bool // it puts into the queue of another; others work on the caller's own
	call  func(testing.TB, member, client.AccountKey, []byte) error
}{
	{"enqueue", true, inChannel(2, schemas.NewEnqueueParams, func(p schemas.EnqueueParams, owner []byte) error {
		return errors.Join(p.SetRecipientKey(owner), p.SetPayload([]byte("x")))
	})},
	{"batchEnqueue", true, inChannel(17, schemas.NewBatchEnqueueParams, func(p schemas.BatchEnqueueParams, owner []byte) error {
		list, err := p.NewRecipients(1)
		return errors.Join(err, list.At(0).SetKey(owner), p.SetPayload([]byte("x")))
	})},
	{"ack", false, inChannel(15, schemas.NewAckParams, schemas.AckParams.SetRecipientKey)},
	{"fetch", false, inChannel(3, schemas.NewFetchParams, schemas.FetchParams.SetRecipientKey)},
	{"fetch with drain", false, inChannel(3, schemas.NewFetchParams, func(p schemas.FetchParams, owner []byte) error {
		p.SetDrain(true)
		return p.SetRecipientKey(owner)
	})},
	{"fetchWait", false, inChannel(4, schemas.NewFetchWaitParams, schemas.FetchWaitParams.SetRecipientKey)},
	{"fetchWait with drain", false, inChannel(4, schemas.NewFetchWaitParams, func(p schemas.FetchWaitParams, owner []byte) error {
		p.SetDrain(true)
		return p.SetRecipientKey(owner)
	})},
	{"peek", false, inChannel(14, schemas.NewPeekParams, schemas.PeekParams.SetRecipientKey)},
}

// inChannel makes a row's call.
func inChannel[P queueParamsOf](
	method uint16, newParams func(*capnp.Segment) (P, error), fill func(P, []byte) error,
) func(testing.TB, member, client.AccountKey, []byte) error {
	return func(tb testing.TB, m member, owner client.AccountKey, channel []byte) error {
		tb.Helper()
		return as(tb, m, method, newParams, func(p P) error {
			p.SetVersion(schemas.WireVersion)
			return errors.Join(p.SetChannelId(channel), fill(p, owner[:]))
		})
	}
}

// Only its two members get anywhere in a channel, and only towards each other: the
// same refusals in the same order from every method.
func TestChannelAuthorization(t *testing.T) {
	d := openAccounts(t)
	ann, bob, eve := d.member(t, "ann"), d.member(t, "bob"), d.member(t, "eve")
	id, _, err := ann.CreateChannel(t.Context(), bob.key)
	must(t, err)
	theirs, _, err := eve.CreateChannel(t.Context(), bob.key)
	must(t, err)
	const (
		ok       = schemas.Code_ok
		denied   = schemas.Code_channelAccessDenied
		notFound = schemas.Code_channelNotFound
		length   = schemas.Code_channelIdLength
		mismatch = schemas.Code_identityMismatch
	)
	unknown := bytes.Repeat([]byte{9}, schemas.ChannelIDSize)
	for _, c := range []struct {
		name    string
		caller  member
		owner   member
		channel []byte
		sends   schemas.Code // of methods that put into the owner's queue
		own     schemas.Code // of methods that work on the caller's own
		open    [2]schemas.Code
	}{
		{"to the other member", ann, bob, id[:], ok, mismatch, [2]schemas.Code{ok, mismatch}},
		{"back", bob, ann, id[:], ok, mismatch, [2]schemas.Code{ok, mismatch}},
		{"own queue", ann, ann, id[:], denied, ok, [2]schemas.Code{ok, ok}},
		{"to a stranger", ann, eve, id[:], denied, mismatch, [2]schemas.Code{ok, mismatch}},
		{"by a stranger", eve, bob, id[:], denied, denied, [2]schemas.Code{ok, mismatch}},
		{"by a stranger, own queue", eve, eve, id[:], denied, denied, [2]schemas.Code{ok, ok}},
		{"somebody else's channel with the same peer", ann, bob, theirs[:], denied, denied, [2]schemas.Code{ok, mismatch}},
		{"unknown", ann, bob, unknown, notFound, notFound, [2]schemas.Code{ok, mismatch}},
		{"unknown, own queue", ann, ann, unknown, notFound, notFound, [2]schemas.Code{ok, ok}},
		{"zeros", ann, bob, make([]byte, 16), notFound, notFound, [2]schemas.Code{ok, mismatch}},
		{"1 byte", ann, bob, []byte{1}, length, length, [2]schemas.Code{length, length}},
		{"15 bytes", eve, eve, id[:15], length, length, [2]schemas.Code{length, length}},
		{"17 bytes", ann, bob, append(slices.Clone(id[:]), 0), length, length, [2]schemas.Code{length, length}},
		{"no channel", eve, ann, nil, ok, mismatch, [2]schemas.Code{ok, mismatch}},
		{"no channel, own queue", eve, eve, nil, ok, ok, [2]schemas.Code{ok, ok}},
	} {
		for _, m := range channelMethods {
			for setting, want := range [2][2]schemas.Code{c.open, {c.sends, c.own}} {
				d.node.set(t, "require_channel_authz", uint64(setting))
				code := want[1]
				if m.sends {
					code = want[0]
				}
				before := d.node.digest()
				wantCode(t, m.name+" "+c.name, m.call(t, c.caller, c.owner.key, c.channel), code)
				if after := d.node.digest(); code != ok && after != before {
					t.Errorf("%s %s: a refused call was written", m.name, c.name)
				}
			}
		}
	}
}

// Envelopes of a channel go to the queues of that channel and to no others.
func TestChannelsAreSeparateQueues(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	id, _, err := ann.CreateChannel(t.Context(), bob.key)
	must(t, err)
	for range 2 {
		_, err := ann.Enqueue(t.Context(), client.Message{To: bob.key, Channel: id, Payload: []byte("private")})
		must(t, err)
	}
	channel, err := fsm.ParseChannelID(id[:])
	must(t, err)
	if got := d.node.stats(t, fsm.QueueID{Owner: ownerOf(bob), Channel: channel}).Envelopes; got != 2 {
		t.Errorf("the channel's queue holds %d, want 2", got)
	}
	if got := d.node.stats(t, fsm.QueueID{Owner: ownerOf(bob)}).Last; got != 0 {
		t.Errorf("the inbox has given %d numbers, want none", got)
	}
	if removed, err := bob.Ack(t.Context(), client.Queue{Channel: id}, 2); err != nil || removed != 2 {
		t.Errorf("ack in the channel: %d, %v; want 2", removed, err)
	}
}
