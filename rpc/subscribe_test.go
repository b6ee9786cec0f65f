package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	client "quicproquo/client/conn"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// put makes a node put a body into a queue.
func (n *accountNode) put(tb testing.TB, q fsm.QueueID, body string) {
	tb.Helper()
	n.mustWrite(tb, func(to schemas.Entry_command) error {
		p, err := to.NewBatchEnqueue()
		must(tb, err)
		p.SetVersion(schemas.WireVersion)
		list, err := p.NewRecipients(1)
		must(tb, err)
		return errors.Join(list.At(0).SetKey(q.Owner[:]), list.At(0).SetDevice(deviceField(q.Device)),
			p.SetChannelId(q.Channel.Bytes()), p.SetPayload([]byte(body)))
	})
}

// channel makes a channel of two members.
func (d accountDoor) channel(tb testing.TB, a, b member) client.ChannelID {
	tb.Helper()
	id, _, err := a.CreateChannel(tb.Context(), b.key)
	must(tb, err)
	return id
}

// subscriber is a subscription that a test takes envelopes from.
type subscriber struct {
	next chan client.Envelope
	end  chan error
	stop context.CancelFunc
}

// subscribe runs a subscription of the client library.
func (m member) subscribe(tb testing.TB, what client.Subscription) subscriber {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	s := subscriber{make(chan client.Envelope), make(chan error, 1), cancel}
	go func() {
		for e, err := range m.Subscribe(ctx, what) {
			if err != nil {
				s.end <- err
				return
			}
			select {
			case s.next <- e:
			case <-ctx.Done():
			}
		}
		s.end <- nil
	}()
	tb.Cleanup(cancel)
	return s
}

// take returns the next envelope.
func (s *subscriber) take(tb testing.TB) client.Envelope {
	tb.Helper()
	select {
	case e := <-s.next:
		return e
	case err := <-s.end:
		tb.Fatalf("the subscription ended: %v", err)
	case <-time.After(testPatience):
		tb.Fatal("nothing came")
	}
	return client.Envelope{}
}

func (s *subscriber) takeBody(tb testing.TB, seq uint64, body string) {
	tb.Helper()
	if e := s.take(tb); e.Seq != seq || string(e.Data) != body {
		tb.Errorf("got %d %q, want %d %q", e.Seq, e.Data, seq, body)
	}
}

func (s *subscriber) ended(tb testing.TB, want schemas.Code) {
	tb.Helper()
	for {
		select {
		case err := <-s.end:
			wantCode(tb, "the end of the subscription", err, want)
			return
		case e := <-s.next:
			tb.Errorf("%q came after the end", e.Data)
		case <-time.After(testPatience):
			tb.Fatal("the subscription does not end")
		}
	}
}

// Reads return what is there, in order and no more than asked for, and remove
// nothing.
func TestReadQueue(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	inbox := fsm.QueueID{Owner: ownerOf(ann)}
	for i := range 250 {
		d.node.put(t, inbox, fmt.Sprint("m", i+1))
	}
	for range 2 {
		list, err := ann.Fetch(t.Context(), client.Read{})
		if err != nil || len(list) != schemas.DefaultFetch || string(list[0].Data) != "m1" || list[99].Seq != 100 {
			t.Fatalf("fetch: %d envelopes, %v", len(list), err)
		}
	}
	list, last, err := ann.Peek(t.Context(), client.Read{After: 100, Limit: 10_000})
	if err != nil || last != 250 || len(list) != 150 || string(list[0].Data) != "m101" || list[149].Seq != 250 {
		t.Fatalf("peek: %d envelopes up to %d, %v", len(list), last, err)
	}
	list, last, err = ann.Peek(t.Context(), client.Read{After: 9999})
	if err != nil || last != 250 || len(list) != 0 {
		t.Errorf("peek beyond the end: %d envelopes up to %d, %v", len(list), last, err)
	}
	if _, err := ann.Ack(t.Context(), client.Queue{}, 249); err != nil {
		t.Fatal(err)
	}
	list, err = ann.FetchWait(t.Context(), client.Read{Linearizable: true}, time.Minute)
	if err != nil || len(list) != 1 || string(list[0].Data) != "m250" {
		t.Errorf("fetchWait: %d envelopes, %v", len(list), err)
	}
	drained, err := ann.Drain(t.Context(), client.Queue{}, 0, nil)
	if err != nil || len(drained) != 1 || string(drained[0].Data) != "m250" {
		t.Errorf("drain: %d envelopes, %v", len(drained), err)
	}
	if list, err := ann.Fetch(t.Context(), client.Read{}); err != nil || len(list) != 0 {
		t.Errorf("fetch after drain: %d envelopes, %v", len(list), err)
	}
}

// A page ends when its bytes are many, and has one envelope whatever its size; the
// largest possible answer is within the limit of responses.
func TestReadLargeEnvelopes(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	large := strings.Repeat("x", schemas.MaxBody)
	for range 6 {
		d.node.put(t, fsm.QueueID{Owner: ownerOf(ann)}, large)
	}
	list, err := ann.Fetch(t.Context(), client.Read{})
	if err != nil || len(list) != schemas.MaxFetchBytes/schemas.MaxBody {
		t.Errorf("fetch: %d envelopes, %v", len(list), err)
	}
	s := ann.subscribe(t, client.Subscription{})
	for i := range 6 {
		s.takeBody(t, uint64(i+1), large)
	}
	if n := d.server.answers.used(); n != 0 {
		t.Errorf("%d bytes of answers are still counted", n)
	}
}

// fetchWait gets what comes while it waits; without anything it returns in time,
// and a drain that found nothing has written nothing.
func TestFetchWait(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	began := time.Now()
	list, err := ann.FetchWait(t.Context(), client.Read{}, 200*time.Millisecond)
	if took := time.Since(began); err != nil || len(list) != 0 || took < 200*time.Millisecond || took > 2*time.Second {
		t.Errorf("an empty queue: %d envelopes, %v, after %v", len(list), err, took)
	}
	got := make(chan []client.Envelope, 1)
	go func() {
		list, err := ann.FetchWait(t.Context(), client.Read{}, time.Minute)
		if err != nil {
			t.Error(err)
		}
		got <- list
	}()
	time.Sleep(50 * time.Millisecond)
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann)}, "news")
	select {
	case list := <-got:
		if len(list) != 1 || string(list[0].Data) != "news" {
			t.Errorf("got %v", list)
		}
	case <-time.After(testPatience):
		t.Fatal("fetchWait does not return")
	}
}

// drainWait calls fetchWait with drain, below the client library.
func drainWait(tb testing.TB, qc *quic.Conn, m member, id []byte, wait time.Duration) raw {
	tb.Helper()
	return callRaw(tb, qc, 4, id, schemas.NewFetchWaitParams, func(p schemas.FetchWaitParams) error {
		p.SetVersion(schemas.WireVersion)
		p.SetDrain(true)
		p.SetTimeoutMs(uint64(wait.Milliseconds()))
		auth, err := p.NewAuth()
		must(tb, err)
		auth.SetVersion(schemas.AuthVersion)
		token := m.Session().Token
		return errors.Join(auth.SetAccessToken(token[:]), p.SetRecipientKey(m.key[:]))
	})
}

// fetchWait with drain waits first; repeated with its request id it gives the
// answer again at once, though the queue is empty by then.
func TestFetchWaitDrainRepeats(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	qc := d.dial(t)
	before := d.node.digest()
	if r := drainWait(t, qc, ann, newRequestID(), 50*time.Millisecond); r.failure.code != schemas.Code_ok || d.node.digest() != before {
		t.Errorf("a drain of nothing: %s, written %v", r.failure.code, d.node.digest() != before)
	}
	id := newRequestID()
	time.AfterFunc(50*time.Millisecond, func() { d.node.put(t, fsm.QueueID{Owner: ownerOf(ann)}, "once") })
	for i := range 3 {
		began := time.Now()
		r := drainWait(t, qc, ann, id, 30*time.Second)
		list, err := schemas.FetchResults(r.results).Payloads()
		must(t, err)
		if list.Len() != 1 || list.At(0).Seq() != 1 {
			t.Fatalf("drain %d: %s, %d envelopes", i, r.failure.code, list.Len())
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("drain %d took %v", i, took)
		}
	}
	if stats := d.node.stats(t, fsm.QueueID{Owner: ownerOf(ann)}); stats.Envelopes != 0 {
		t.Errorf("%d envelopes are left", stats.Envelopes)
	}
}

// A subscription gives what is there, then what comes, each queue in order.
func TestSubscribe(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	id := d.channel(t, ann, bob)
	channel, err := fsm.ParseChannelID(id[:])
	must(t, err)
	inbox, private := fsm.QueueID{Owner: ownerOf(ann)}, fsm.QueueID{Owner: ownerOf(ann), Channel: channel}
	d.node.put(t, inbox, "old 1")
	d.node.put(t, inbox, "old 2")
	d.node.put(t, private, "old private")
	caughtUp := make(chan struct{}, 100)
	s := ann.subscribe(t, client.Subscription{CaughtUp: func() { caughtUp <- struct{}{} }})
	s.takeBody(t, 1, "old 1")
	s.takeBody(t, 2, "old 2")
	if e := s.take(t); e.Channel != id || e.Seq != 1 || string(e.Data) != "old private" {
		t.Errorf("got %+v", e)
	}
	<-caughtUp
	for i := range 20 {
		d.node.put(t, private, fmt.Sprint("new ", i))
		if e := s.take(t); e.Channel != id || e.Seq != uint64(i+2) || string(e.Data) != fmt.Sprint("new ", i) {
			t.Errorf("got %+v", e)
		}
		if _, err := ann.Ack(t.Context(), client.Queue{Channel: id}, uint64(i+2)); err != nil {
			t.Fatal(err)
		}
	}
	if seen, index := ann.Seen(), d.node.Index(); seen != index {
		t.Errorf("seen is %d, the node is at %d", seen, index)
	}
	// Another one begins behind what was acknowledged, or behind its cursor.
	again := ann.subscribe(t, client.Subscription{Cursors: map[client.ChannelID]uint64{{}: 1}})
	again.takeBody(t, 2, "old 2")
	d.node.put(t, inbox, "both")
	s.takeBody(t, 3, "both")
	again.takeBody(t, 3, "both")
}

// A device gets its own queues and no others; those of the account's own go to
// whoever names them.
func TestSubscribeDevice(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann)}, "the account's")
	phone := d.on(t, ann, "ann", client.DeviceID{1})
	d.on(t, ann, "ann", client.DeviceID{2})
	s, own := phone.subscribe(t, client.Subscription{}), phone.subscribe(t, client.Subscription{Account: true})
	named := ann.subscribe(t, client.Subscription{Device: client.DeviceID{1}})
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann), Device: fsm.DeviceID{2}}, "another device's")
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann), Device: fsm.DeviceID{1}}, "the phone's")
	s.takeBody(t, 1, "the phone's")
	named.takeBody(t, 1, "the phone's")
	own.takeBody(t, 1, "the account's")
	foreign := phone.subscribe(t, client.Subscription{Device: client.DeviceID{2}})
	foreign.ended(t, schemas.Code_deviceNotFound)

	d.node.run(t, schemas.Caller{Kind: schemas.Actor_Kind_account, Account: ann.key[:]}, func(to schemas.Entry_command) error {
		p, err := to.NewRevokeDevice()
		must(t, err)
		return p.SetDeviceId(append([]byte{1}, make([]byte, 15)...))
	})
	s.ended(t, schemas.Code_tokenInvalid)
	own.ended(t, schemas.Code_tokenInvalid)
	named.ended(t, schemas.Code_deviceNotFound)
}

// What enters a queue after the end of a session is not sent to it, whatever it
// waits for.
func TestSessionsEndWaitingReads(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	other := member{Conn: d.client(t), key: ann.key}
	other.SetSession(d.session(t, "ann", ann.key, client.DeviceID{}))
	s := ann.subscribe(t, client.Subscription{})
	waiting := make(chan error, 1)
	go func() {
		_, err := ann.FetchWait(t.Context(), client.Read{}, time.Minute)
		waiting <- err
	}()
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann), Channel: fsm.ChannelID{}}, "before")
	s.takeBody(t, 1, "before")
	must(t, <-waiting)
	if _, err := ann.Ack(t.Context(), client.Queue{}, 1); err != nil {
		t.Fatal(err)
	}
	go func() {
		list, err := ann.FetchWait(t.Context(), client.Read{}, time.Minute)
		if len(list) > 0 {
			t.Errorf("got %q", list[0].Data)
		}
		waiting <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if _, err := other.Logout(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann)}, "after")
	s.ended(t, schemas.Code_tokenInvalid)
	wantCode(t, "fetchWait", <-waiting, schemas.Code_tokenInvalid)
}

// A session that expires while nothing comes ends at the next sign of life.
func TestSubscriptionExpires(t *testing.T) {
	node := newAccountNode(t)
	d := accountDoor{openDoor(t, NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{KeepAlive: 100 * time.Millisecond}})), node}
	node.skew = 2*time.Second - time.Hour // log time never goes back
	node.set(t, "session_ttl_secs", 3600)
	ann := d.member(t, "ann")
	s := ann.subscribe(t, client.Subscription{})
	began := time.Now()
	s.ended(t, schemas.Code_tokenExpired)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it lasted for %v", took)
	}
}

// Channels that the account may not use are passed over.
func TestSubscribePassesForeignChannels(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	gone, err := fsm.ParseChannelID(make([]byte, 16))
	must(t, err)
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann), Channel: gone}, "not hers")
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann)}, "hers")
	s := ann.subscribe(t, client.Subscription{})
	s.takeBody(t, 1, "hers")
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann), Channel: gone}, "not hers")
	d.node.put(t, fsm.QueueID{Owner: ownerOf(ann)}, "hers too")
	s.takeBody(t, 2, "hers too")
}

// A thousand channels, more than a watch remembers and a response holds.
func TestSubscribeManyChannels(t *testing.T) {
	d := openAccounts(t)
	d.node.set(t, "require_channel_authz", 0)
	ann := d.member(t, "ann")
	const channels, rounds = 1000, 3
	put := func(i, round int) {
		id, err := fsm.ParseChannelID(fmt.Appendf(nil, "channel %08d", i))
		must(t, err)
		d.node.put(t, fsm.QueueID{Owner: ownerOf(ann), Channel: id}, fmt.Sprint(round))
	}
	for i := range channels {
		put(i, 1)
	}
	s := ann.subscribe(t, client.Subscription{Limit: 7})
	go func() {
		for round := 2; round <= rounds; round++ {
			for i := range channels {
				put(i, round)
			}
		}
	}()
	have := map[client.ChannelID]uint64{}
	for range channels * rounds {
		e := s.take(t)
		if have[e.Channel]++; e.Seq != have[e.Channel] || string(e.Data) != fmt.Sprint(e.Seq) {
			t.Fatalf("channel %s: got %d %q as number %d", e.Channel, e.Seq, e.Data, have[e.Channel])
		}
	}
	if len(have) != channels {
		t.Errorf("%d channels, want %d", len(have), channels)
	}
}

// One more subscription than a connection may have is refused, and neither it nor
// those that wait keep other calls from running.
func TestSubscriptionsOfAConnection(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	var list []subscriber
	for range DefaultLimits().ConnSubscriptions {
		caughtUp := make(chan struct{}, 10)
		list = append(list, ann.subscribe(t, client.Subscription{CaughtUp: func() { caughtUp <- struct{}{} }}))
		<-caughtUp
	}
	more := ann.subscribe(t, client.Subscription{})
	more.ended(t, schemas.Code_rateLimited)
	if _, err := ann.Whoami(t.Context()); err != nil {
		t.Error(err)
	}
	if n := d.server.Stats().Subscribes; n != int64(len(list)) {
		t.Errorf("%d subscriptions are counted, want %d", n, len(list))
	}
	for _, s := range list {
		s.stop()
	}
	eventually(t, "the subscriptions end", func() bool { return d.server.Stats().Subscribes == 0 && d.node.store.Watching() == 0 })
}

// A client that takes nothing loses its stream, and the node its memory; no other
// stream is held up.
func TestSlowSubscriberIsCut(t *testing.T) {
	node := newAccountNode(t)
	d := accountDoor{openDoor(t, NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{Write: 300 * time.Millisecond}})), node}
	ann, bob := d.member(t, "ann"), d.member(t, "bob")
	for range 12 {
		node.put(t, fsm.QueueID{Owner: ownerOf(ann)}, strings.Repeat("x", schemas.MaxBody))
	}
	qc := d.dial(t)
	token := ann.Session().Token
	stream := openStream(t, qc, frameWith(t, 33, nil, schemas.NewSubscribeParams, func(p schemas.SubscribeParams) error {
		auth, err := p.NewAuth()
		must(t, err)
		auth.SetVersion(schemas.AuthVersion)
		return auth.SetAccessToken(token[:])
	}))
	eventually(t, "the subscription begins", func() bool { return d.server.Stats().Subscribes == 1 })
	if _, err := bob.Whoami(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the node gives the reader up", func() bool { return d.server.Stats().Subscribes == 0 && d.server.answers.used() == 0 })
	_, err := io.Copy(io.Discard, stream)
	var reset *quic.StreamError
	if !errors.As(err, &reset) || reset.ErrorCode != StreamTimeout {
		t.Errorf("the stream ended with %v, want a reset for its time", err)
	}
}

// A slow program gets everything all the same, once: the library resumes.
func TestSlowProgramMissesNothing(t *testing.T) {
	node := newAccountNode(t)
	d := accountDoor{openDoor(t, NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{Write: 200 * time.Millisecond}})), node}
	ann := d.member(t, "ann")
	for range 20 {
		node.put(t, fsm.QueueID{Owner: ownerOf(ann)}, strings.Repeat("x", schemas.MaxBody))
	}
	s := ann.subscribe(t, client.Subscription{})
	for i := range 20 {
		if i%5 == 0 {
			time.Sleep(500 * time.Millisecond)
		}
		if e := s.take(t); e.Seq != uint64(i+1) {
			t.Fatalf("got %d, want %d", e.Seq, i+1)
		}
	}
}

// While nothing comes, the node shows that it is there; a client that knows no
// other node finds out that it is about to stop.
func TestSubscriptionKeepAliveAndDrain(t *testing.T) {
	node := newAccountNode(t)
	d := accountDoor{openDoor(t, NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{KeepAlive: 50 * time.Millisecond, Linger: 2 * time.Second}})), node}
	ann := d.member(t, "ann")
	token := ann.Session().Token
	stream := openStream(t, d.dial(t), frameWith(t, 33, nil, schemas.NewSubscribeParams, func(p schemas.SubscribeParams) error {
		auth, err := p.NewAuth()
		must(t, err)
		auth.SetVersion(schemas.AuthVersion)
		return auth.SetAccessToken(token[:])
	}))
	read := func() raw {
		frame, err := schemas.ReadFrame(stream, schemas.MaxResponse, nil)
		must(t, err)
		return parseRaw(t, frame)
	}
	for range 5 {
		r := read()
		list, err := schemas.SubscribeResults(r.results).Payloads()
		must(t, err)
		if r.failure.code != schemas.Code_ok || list.Len() != 0 || !schemas.SubscribeResults(r.results).CaughtUp() {
			t.Fatalf("got %s with %d envelopes", r.failure.code, list.Len())
		}
	}
	waiting := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := ann.FetchWait(ctx, client.Read{}, time.Minute)
		waiting <- err
	}()
	time.Sleep(100 * time.Millisecond)
	closed := make(chan time.Duration, 1)
	go func() {
		began := time.Now()
		d.close(t, 20*time.Second)
		closed <- time.Since(began)
	}()
	// Read while it closes: what is not taken then is lost with the connection.
	r := read()
	for r.failure.code == schemas.Code_ok {
		r = read()
	}
	if r.failure.code != schemas.Code_unavailable {
		t.Errorf("the subscription ended with %s", r.failure.code)
	}
	if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the failure: %v, want the end of the stream", err)
	}
	if took := <-closed; took > 10*time.Second {
		t.Errorf("a node with idle subscriptions took %v to stop", took)
	}
	if err := <-waiting; err == nil {
		t.Error("fetchWait found a node to wait on")
	}
}
