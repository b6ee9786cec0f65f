package rpc

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"

	client "quicproquo/client/conn"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// ownerOf is a member's account key as the store has it.
func ownerOf(m member) fsm.AccountKey { return fsm.AccountKey(m.key) }

// What is sent to an account waits in the queue of each of its devices; before it
// has one, in its own. A device that comes later does not see what was sent before.
func TestEnqueueReachesEveryDevice(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	send := func(body string, want uint64) {
		t.Helper()
		seq, err := ann.Enqueue(t.Context(), client.Message{To: bob.key, Payload: []byte(body)})
		if err != nil || seq != want {
			t.Errorf("enqueue %q: seq %d, %v; want %d", body, seq, err, want)
		}
	}
	holds := func(device fsm.DeviceID, want uint64) {
		t.Helper()
		if got := d.node.stats(t, fsm.QueueID{Owner: ownerOf(bob), Device: device}).Envelopes; got != want {
			t.Errorf("the queue of device %x holds %d envelopes, want %d", device[:2], got, want)
		}
	}
	send("before any device", 1)
	phone := d.on(t, bob, "bob", client.DeviceID{1})
	send("to the phone", 1)
	d.on(t, bob, "bob", client.DeviceID{2})
	send("to both", 2)
	holds(fsm.DeviceID{}, 1)
	holds(fsm.DeviceID{1}, 2)
	holds(fsm.DeviceID{2}, 1)

	// A device empties its own queue; what is the account's own, all may.
	if removed, err := phone.Ack(t.Context(), client.Queue{}, 2); err != nil || removed != 2 {
		t.Errorf("the phone acknowledges: %d, %v; want 2", removed, err)
	}
	if removed, err := phone.Ack(t.Context(), client.Queue{Account: true}, 1); err != nil || removed != 1 {
		t.Errorf("the phone acknowledges for the account: %d, %v; want 1", removed, err)
	}
	_, err := phone.Ack(t.Context(), client.Queue{Device: client.DeviceID{2}}, 1)
	wantCode(t, "the phone acknowledges for the laptop", err, schemas.Code_deviceNotFound)
	holds(fsm.DeviceID{}, 0)
	holds(fsm.DeviceID{1}, 0)
	holds(fsm.DeviceID{2}, 1)

	// A session of the account may do it for any device that it has.
	if removed, err := bob.Ack(t.Context(), client.Queue{Device: client.DeviceID{2}}, 1); err != nil || removed != 1 {
		t.Errorf("the account acknowledges for the laptop: %d, %v; want 1", removed, err)
	}
	_, err = bob.Ack(t.Context(), client.Queue{Device: client.DeviceID{3}}, 0)
	wantCode(t, "the account acknowledges for no device of its own", err, schemas.Code_deviceNotFound)
	holds(fsm.DeviceID{2}, 0)
}

// A batch answers for each recipient, and those who exist get it.
func TestBatchEnqueueAnswersForEachRecipient(t *testing.T) {
	d := openAccounts(t)
	ann, bob, eve := d.member(t, "ann"), d.member(t, "bob"), d.member(t, "eve")
	d.on(t, bob, "bob", client.DeviceID{1})
	d.on(t, bob, "bob", client.DeviceID{2})
	outcomes, err := ann.BatchEnqueue(t.Context(), client.Batch{
		Payload: []byte("to all"),
		Recipients: []client.Recipient{
			{Account: bob.key, Header: []byte("bob's")},
			{Account: client.AccountKey{9}},
			{Account: eve.key, Header: []byte("eve's")},
			{Account: eve.key, Device: client.DeviceID{7}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []schemas.Code{schemas.Code_ok, schemas.Code_accountNotFound, schemas.Code_ok, schemas.Code_deviceNotFound} {
		wantCode(t, "recipient", outcomes[i].Err, want)
		if got := outcomes[i].Seq != 0; got != (want == schemas.Code_ok) {
			t.Errorf("recipient %d has the sequence number %d", i, outcomes[i].Seq)
		}
	}
	for _, q := range []fsm.QueueID{
		{Owner: ownerOf(bob), Device: fsm.DeviceID{1}}, {Owner: ownerOf(bob), Device: fsm.DeviceID{2}}, {Owner: ownerOf(eve)},
	} {
		if got := d.node.stats(t, q); got.Envelopes != 1 || got.Bytes != uint64(len("to all")+len("bob's")) {
			t.Errorf("%x of %s holds %d envelopes of %d bytes", q.Device[:1], q.Owner[:3], got.Envelopes, got.Bytes)
		}
	}
}

// A write that is repeated with its request id is applied once and answered alike.
func TestQueueWritesAreAppliedOnce(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	m := client.Message{To: bob.key, Payload: []byte("once"), RequestID: bytes.Repeat([]byte{7}, 16)}
	b := client.Batch{
		Recipients: []client.Recipient{{Account: bob.key}}, Payload: []byte("once"), RequestID: bytes.Repeat([]byte{8}, 16),
	}
	for range 3 {
		if seq, err := ann.Enqueue(t.Context(), m); err != nil || seq != 1 {
			t.Errorf("enqueue: seq %d, %v; want 1", seq, err)
		}
		if outcomes, err := ann.BatchEnqueue(t.Context(), b); err != nil || outcomes[0].Seq != 2 {
			t.Errorf("batchEnqueue: %+v, %v; want seq 2", outcomes, err)
		}
	}
	if got := d.node.stats(t, fsm.QueueID{Owner: ownerOf(bob)}).Last; got != 2 {
		t.Errorf("the queue has given %d numbers, want 2", got)
	}
}

// No part of a call's auth comes into the log.
func TestTokensStayOutOfTheLog(t *testing.T) {
	node := &tapNode{accountNode: newAccountNode(t)}
	d := accountDoor{openDoor(t, NewServer(node, Options{ClusterKey: accountKEK})), node.accountNode}
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	channel, _, err := ann.CreateChannel(t.Context(), bob.key)
	must(t, err)
	_, err = ann.Enqueue(t.Context(), client.Message{To: bob.key, Channel: channel, Payload: []byte("x")})
	must(t, err)
	_, err = ann.BatchEnqueue(t.Context(), client.Batch{Recipients: []client.Recipient{{Account: bob.key}}, Payload: []byte("x")})
	must(t, err)
	_, err = bob.Ack(t.Context(), client.Queue{}, 1)
	must(t, err)
	node.tap.Lock()
	defer node.tap.Unlock()
	if len(node.entries) != 4 {
		t.Fatalf("%d entries were proposed, want 4", len(node.entries))
	}
	for i, entry := range node.entries {
		for _, m := range []member{ann, bob} {
			if bytes.Contains(entry, m.Session().Token[:]) {
				t.Errorf("entry %d holds a session token", i)
			}
		}
	}
}

// tapNode keeps what calls propose. tap guards entries.
type tapNode struct {
	*accountNode
	tap     sync.Mutex
	entries [][]byte
}

func (n *tapNode) Propose(ctx context.Context, entry []byte) (uint64, fsm.Result, error) {
	n.tap.Lock()
	n.entries = append(n.entries, bytes.Clone(entry))
	n.tap.Unlock()
	return n.accountNode.Propose(ctx, entry)
}

// queueParamsOf are the setters of parameters that name a queue.
type queueParamsOf interface {
	~capnp.StructKind
	NewAuth() (schemas.Auth, error)
	SetVersion(uint16)
	SetChannelId([]byte) error
}

// Everything that is wrong with a call has its code, comes in order of precedence,
// and changes nothing.
func TestBadQueueCalls(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	phone := d.on(t, ann, "ann", client.DeviceID{1})
	enq := func(edit func(schemas.EnqueueParams) error) error {
		return as(t, ann, 2, schemas.NewEnqueueParams, func(p schemas.EnqueueParams) error {
			p.SetVersion(schemas.WireVersion)
			return errors.Join(p.SetRecipientKey(bob.key[:]), p.SetPayload([]byte("x")), edit(p))
		})
	}
	batch := func(to int, edit func(schemas.BatchEnqueueParams, schemas.Recipient_List) error) error {
		return as(t, ann, 17, schemas.NewBatchEnqueueParams, func(p schemas.BatchEnqueueParams) error {
			p.SetVersion(schemas.WireVersion)
			list, err := p.NewRecipients(int32(to))
			must(t, err)
			for i := range to {
				must(t, list.At(i).SetKey(bob.key[:]))
			}
			return errors.Join(p.SetPayload([]byte("x")), edit(p, list))
		})
	}
	ackOf := func(m member, edit func(schemas.AckParams) error) error {
		return as(t, m, 15, schemas.NewAckParams, func(p schemas.AckParams) error {
			p.SetVersion(schemas.WireVersion)
			return errors.Join(p.SetRecipientKey(m.key[:]), edit(p))
		})
	}
	before := d.node.digest()
	for _, c := range []struct {
		name string
		err  error
		want schemas.Code
	}{
		{"enqueue: nothing at all", as(t, ann, 2, schemas.NewEnqueueParams, nil), schemas.Code_wireVersionUnsupported},
		{"enqueue: version 2", enq(func(p schemas.EnqueueParams) error { p.SetVersion(2); return nil }), schemas.Code_wireVersionUnsupported},
		{"enqueue: no key", enq(func(p schemas.EnqueueParams) error { return p.SetRecipientKey(nil) }), schemas.Code_keyLength},
		{"enqueue: long key", enq(func(p schemas.EnqueueParams) error { return p.SetRecipientKey(make([]byte, 2000)) }), schemas.Code_keyLength},
		{"enqueue: channel of 15", enq(func(p schemas.EnqueueParams) error { return p.SetChannelId(make([]byte, 15)) }), schemas.Code_channelIdLength},
		{"enqueue: no payload", enq(func(p schemas.EnqueueParams) error { return p.SetPayload(nil) }), schemas.Code_payloadEmpty},
		{"enqueue: a byte too much", enq(func(p schemas.EnqueueParams) error { return p.SetPayload(make([]byte, schemas.MaxBody+1)) }), schemas.Code_payloadTooLarge},
		{"enqueue: two pages too much", enq(func(p schemas.EnqueueParams) error { return p.SetPayload(make([]byte, schemas.MaxBody+8<<10)) }), schemas.Code_messageTooLarge},
		{"enqueue: kept for ever", enq(func(p schemas.EnqueueParams) error { p.SetTtlSecs(1 << 31); return nil }), schemas.Code_ttlTooLarge},
		{"enqueue: to nobody", enq(func(p schemas.EnqueueParams) error { return p.SetRecipientKey(make([]byte, 32)) }), schemas.Code_accountNotFound},

		{"batch: version 0", batch(1, func(p schemas.BatchEnqueueParams, _ schemas.Recipient_List) error { p.SetVersion(0); return nil }), schemas.Code_wireVersionUnsupported},
		{"batch: to nobody", batch(0, func(schemas.BatchEnqueueParams, schemas.Recipient_List) error { return nil }), schemas.Code_recipientsEmpty},
		{"batch: to 4097", batch(schemas.MaxRecipients+1, func(schemas.BatchEnqueueParams, schemas.Recipient_List) error { return nil }), schemas.Code_tooManyRecipients},
		{"batch: twice", batch(2, func(schemas.BatchEnqueueParams, schemas.Recipient_List) error { return nil }), schemas.Code_duplicateRecipient},
		{"batch: no key", batch(1, func(_ schemas.BatchEnqueueParams, l schemas.Recipient_List) error { return l.At(0).SetKey(nil) }), schemas.Code_keyLength},
		{"batch: short device", batch(1, func(_ schemas.BatchEnqueueParams, l schemas.Recipient_List) error {
			return l.At(0).SetDevice(make([]byte, 15))
		}), schemas.Code_keyLength},
		{"batch: long header", batch(1, func(_ schemas.BatchEnqueueParams, l schemas.Recipient_List) error {
			return l.At(0).SetHeader(make([]byte, schemas.MaxHeader+1))
		}), schemas.Code_payloadTooLarge},
		{"batch: no payload", batch(1, func(p schemas.BatchEnqueueParams, _ schemas.Recipient_List) error { return p.SetPayload(nil) }), schemas.Code_payloadEmpty},
		{"batch: kept for ever", batch(1, func(p schemas.BatchEnqueueParams, _ schemas.Recipient_List) error { p.SetTtlSecs(1 << 31); return nil }), schemas.Code_ttlTooLarge},

		{"ack: nothing at all", as(t, ann, 15, schemas.NewAckParams, nil), schemas.Code_wireVersionUnsupported},
		{"ack: no key", ackOf(ann, func(p schemas.AckParams) error { return p.SetRecipientKey(nil) }), schemas.Code_keyLength},
		{"ack: short device", ackOf(ann, func(p schemas.AckParams) error { return p.SetDeviceId(make([]byte, 15)) }), schemas.Code_keyLength},
		{"ack: channel of 17", ackOf(ann, func(p schemas.AckParams) error { return p.SetChannelId(make([]byte, 17)) }), schemas.Code_channelIdLength},
		{"ack: unknown device", ackOf(ann, func(p schemas.AckParams) error { return p.SetDeviceId(bytes.Repeat([]byte{9}, 16)) }), schemas.Code_deviceNotFound},
		{"ack: a device that is not the session's", ackOf(phone, func(p schemas.AckParams) error { return p.SetDeviceId(bytes.Repeat([]byte{9}, 16)) }), schemas.Code_deviceNotFound},
		{"ack: somebody else's", ackOf(ann, func(p schemas.AckParams) error { return p.SetRecipientKey(bob.key[:]) }), schemas.Code_identityMismatch},
		{"ack: what was never given", ackOf(ann, func(p schemas.AckParams) error { p.SetSeq(1); return nil }), schemas.Code_ackBeyondEnd},
	} {
		wantCode(t, c.name, c.err, c.want)
	}
	if after := d.node.digest(); after != before {
		t.Errorf("refused calls were written: the store went from %+v to %+v", before, after)
	}
}

// A list of elements that have no size claims any number of recipients in a few
// bytes.
func TestRecipientsWithoutSize(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	for claimed, want := range map[int32]schemas.Code{
		1 << 28: schemas.Code_malformed, // over the traversal limit
		10_000:  schemas.Code_tooManyRecipients,
		7:       schemas.Code_keyLength,
	} {
		started := time.Now()
		err := as(t, ann, 17, schemas.NewBatchEnqueueParams, func(p schemas.BatchEnqueueParams) error {
			p.SetVersion(schemas.WireVersion)
			list, err := capnp.NewCompositeList(p.Segment(), capnp.ObjectSize{}, claimed)
			if err != nil {
				return err
			}
			return errors.Join(p.SetPayload(make([]byte, 32<<10)), p.SetRecipients(schemas.Recipient_List(list)))
		})
		wantCode(t, "batchEnqueue", err, want)
		if took := time.Since(started); took > time.Second {
			t.Errorf("it took %v to refuse %d recipients", took, claimed)
		}
	}
}

// Nobody learns from a wait when something comes for somebody else: it is refused
// before it waits, with drain and without.
func TestNobodyWaitsForAnothersQueue(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	for _, drain := range []bool{false, true} {
		started := time.Now()
		err := as(t, ann, 4, schemas.NewFetchWaitParams, func(p schemas.FetchWaitParams) error {
			p.SetVersion(schemas.WireVersion)
			p.SetDrain(drain)
			p.SetTimeoutMs(5000)
			return p.SetRecipientKey(bob.key[:])
		})
		wantCode(t, "fetchWait", err, schemas.Code_identityMismatch)
		if took := time.Since(started); took > 2*time.Second {
			t.Errorf("drain %v: it waited %v before it was refused", drain, took)
		}
	}
}

// Draining removes exactly what it returns; under the same request id it returns the
// same again, whatever has come meanwhile; and it reaches the session's queues only.
func TestDrain(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	phone := d.on(t, bob, "bob", client.DeviceID{1})
	send := func(body string) {
		t.Helper()
		_, err := ann.Enqueue(t.Context(), client.Message{To: bob.key, Payload: []byte(body)})
		must(t, err)
	}
	drain := func(m member, q client.Queue, limit int, id byte, want ...string) {
		t.Helper()
		list, err := m.Drain(t.Context(), q, limit, bytes.Repeat([]byte{id}, schemas.RequestIDSize))
		must(t, err)
		var got []string
		for _, e := range list {
			got = append(got, string(e.Data))
		}
		if !slices.Equal(got, want) {
			t.Errorf("drain %d: got %q, want %q", id, got, want)
		}
	}
	send("one")
	send("two")
	send("three")
	drain(phone, client.Queue{}, 2, 1, "one", "two")
	send("four")
	drain(phone, client.Queue{}, 2, 1, "one", "two")
	drain(phone, client.Queue{Account: true}, 0, 2)
	drain(bob, client.Queue{}, 0, 3)
	drain(bob, client.Queue{Device: client.DeviceID{1}}, 0, 4, "three", "four")
	drain(phone, client.Queue{}, 0, 5)
	if got := d.node.stats(t, fsm.QueueID{Owner: ownerOf(bob), Device: fsm.DeviceID{1}}); got.Envelopes != 0 || got.First != 5 {
		t.Errorf("the queue is %+v after everything was drained", got)
	}
	_, err := phone.Drain(t.Context(), client.Queue{Device: client.DeviceID{2}}, 0, nil)
	wantCode(t, "drain another device's", err, schemas.Code_deviceNotFound)
}
