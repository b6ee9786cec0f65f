package rpc

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// A stranger's address gets as many logins as its rate allows, then is told when
// to come again, and then it may. Other addresses and other classes are not
// touched; loopback is an address like any other. On fake time.
func TestAddressesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := NewServer(newFakeNode(1), Options{})
		tab := open
		tab[loginStartMethod].handle = func(*call) error { return refuse(schemas.Code_opaqueStartFailed) }
		server.open = &tab
		login := frameOf(t, loginStartMethod, nil)
		for _, from := range []string{"127.0.0.1", "2001:db8::1"} {
			for i := range 5 {
				if got := server.ask(t, from, login); got.code != schemas.Code_opaqueStartFailed {
					t.Errorf("login %d from %s: got %s", i, from, got.code.ID())
				}
			}
		}
		got := server.ask(t, "127.0.0.1", login)
		if got.code != schemas.Code_rateLimited || got.after != 1000 {
			t.Fatalf("login 6: got %s, to wait %d ms; want RATE_LIMITED, 1000 ms", got.code.ID(), got.after)
		}
		if got := server.ask(t, "2001:db8::2", login); got.code != schemas.Code_rateLimited {
			t.Errorf("another address of the /64: got %s, want RATE_LIMITED", got.code.ID())
		}
		if got := server.ask(t, "2001:db8:0:1::2", login); got.code != schemas.Code_opaqueStartFailed {
			t.Errorf("another /64: got %s", got.code.ID())
		}
		if got := server.ask(t, "127.0.0.1", healthFrame(t)); got.status != "ok" {
			t.Errorf("health is limited with logins: %+v", got)
		}
		time.Sleep(time.Duration(got.after)*time.Millisecond - time.Nanosecond)
		if got := server.ask(t, "127.0.0.1", login); got.code != schemas.Code_rateLimited {
			t.Errorf("a moment too early: got %s", got.code.ID())
		}
		time.Sleep(time.Nanosecond)
		if got := server.ask(t, "127.0.0.1", login); got.code != schemas.Code_opaqueStartFailed {
			t.Errorf("after the wait: got %s, want the login's own answer", got.code.ID())
		}
		if n := limitedOf(server.Stats(), ClassLogin, "address"); n != 3 {
			t.Errorf("%d logins count as refused, want 3", n)
		}
	})
}

const loginStartMethod = 10

// ask makes one call from an address.
func (s *Server) ask(tb testing.TB, from string, frame []byte) answer {
	tb.Helper()
	c := newConn(s, quiet())
	c.address = addressKey(&net.UDPAddr{IP: net.ParseIP(from), Port: 1})
	stream := newFakeStream(frame)
	c.serveStream(stream)
	got := stream.answers(tb)
	if len(got) != 1 {
		tb.Fatalf("got %d answers", len(got))
	}
	return got[0]
}

func limitedOf(s Stats, class Class, by string) uint64 {
	for _, c := range s.Limited {
		if c.Class == class && c.By == by {
			return c.Count
		}
	}
	return 0
}

// Requests that are no call of any method are paid for by their address, too.
func TestNonsenseIsLimited(t *testing.T) {
	server := NewServer(newFakeNode(1), Options{Limits: Limits{Rates: Rates{{Class: ClassFree, Address: Rate{2, time.Hour}}}}})
	nonsense := frameOf(t, 999, nil)
	for range 2 {
		if got := server.ask(t, "192.0.2.1", nonsense); got.code != schemas.Code_unknownMethod {
			t.Errorf("got %s", got.code.ID())
		}
	}
	if got := server.ask(t, "192.0.2.1", nonsense); got.code != schemas.Code_rateLimited {
		t.Errorf("got %s, want RATE_LIMITED", got.code.ID())
	}
}

// Each device of an account has a rate of its own, and so has the account that
// acts without one. Who is over it does not take the rate of others behind the
// same address. On fake time.
func TestDevicesAreLimited(t *testing.T) {
	node := newAccountNode(t)
	synctest.Test(t, func(t *testing.T) {
		p, q := node.newCitizen(t, "alice"), node.newCitizen(t, "bob")
		phone, desk := fsm.DeviceID{1}, fsm.DeviceID{2}
		node.newDevice(t, p, phone, nil)
		node.newDevice(t, p, desk, nil)
		server := NewServer(node, Options{Limits: Limits{Rates: Rates{
			{Class: ClassRead, Device: Rate{3, time.Second}, Address: Rate{13, time.Hour}},
		}}})
		whoami := func(p *citizen, device []byte) schemas.Code {
			return server.ask(t, "127.0.0.1", frameOf(t, whoamiMethod, func(r schemas.Request) {
				params, err := schemas.NewWhoamiParams(r.Segment())
				must(t, err)
				must(t, r.SetParams(params.ToPtr()))
				setAuth(t, params.NewAuth, p.token, device)
			})).code
		}
		for _, who := range []struct {
			*citizen
			device []byte
		}{{p, phone[:]}, {p, desk[:]}, {p, nil}, {q, nil}} {
			for i := range 50 {
				want := schemas.Code_ok
				if i >= 3 {
					want = schemas.Code_rateLimited
				}
				if got := whoami(who.citizen, who.device); got != want {
					t.Fatalf("%s, device %x, call %d: got %s, want %s", who.name, who.device, i, got.ID(), want.ID())
				}
			}
		}
		time.Sleep(time.Second)
		if got := whoami(q, nil); got != schemas.Code_ok {
			t.Errorf("a second later: got %s: 13 calls of 13 were taken, but those that were refused must not count", got.ID())
		}
		if got := whoami(p, nil); got != schemas.Code_rateLimited {
			t.Errorf("the address has its 13 calls: got %s", got.ID())
		}
		s := server.Stats()
		if a, d := limitedOf(s, ClassRead, "address"), limitedOf(s, ClassRead, "device"); a != 1 || d != 4*47 {
			t.Errorf("%d calls were refused for their address and %d for their device, want 1 and %d", a, d, 4*47)
		}
	})
}

const whoamiMethod = 28

// A send is charged for its recipients besides: who addresses thousands at once
// is not cheaper than who sends to each.
func TestFanOutIsLimited(t *testing.T) {
	node := newAccountNode(t)
	p := node.newCitizen(t, "alice")
	server := NewServer(node, Options{Limits: Limits{Rates: Rates{
		{Class: ClassSend, Device: Rate{3, time.Hour}},
		{Class: ClassCommit, Device: Rate{9, time.Hour}},
		{Class: ClassFanOut, Device: Rate{100, time.Hour}},
	}}})
	tab := authenticated
	for _, ordinal := range []int{batchMethod, commitMethod} {
		tab[ordinal].handle = func(*call) error { return refuse(schemas.Code_notServed) } // let through
	}
	tab[batchMethod].auth = authOf[schemas.BatchEnqueueParams]
	tab[commitMethod].auth = authOf[schemas.PublishCommitParams]
	server.authenticated = &tab
	batch := func(n int32) []byte {
		return frameOf(t, batchMethod, func(r schemas.Request) {
			params, err := schemas.NewBatchEnqueueParams(r.Segment())
			must(t, err)
			must(t, r.SetParams(params.ToPtr()))
			setAuth(t, params.NewAuth, p.token, nil)
			_, err = params.NewRecipients(n)
			must(t, err)
		})
	}
	commit := frameOf(t, commitMethod, func(r schemas.Request) {
		params, err := schemas.NewPublishCommitParams(r.Segment())
		must(t, err)
		must(t, r.SetParams(params.ToPtr()))
		setAuth(t, params.NewAuth, p.token, nil)
		list, err := params.NewDeliveries(2)
		must(t, err)
		for i := range list.Len() {
			_, err := list.At(i).NewRecipients(10)
			must(t, err)
		}
	})
	for i, step := range []struct {
		frame []byte
		want  schemas.Code
	}{
		{batch(60), schemas.Code_notServed},
		{commit, schemas.Code_notServed},      // 80 of 100
		{batch(21), schemas.Code_rateLimited}, // and is not charged as a send
		{batch(20), schemas.Code_notServed},
		{commit, schemas.Code_rateLimited},
		{batch(0), schemas.Code_notServed},
		{batch(0), schemas.Code_rateLimited}, // three sends
	} {
		if got := server.ask(t, "192.0.2.1", step.frame); got.code != step.want {
			t.Errorf("step %d: got %s, want %s", i, got.code.ID(), step.want.ID())
		}
	}
}

const (
	batchMethod  = 17
	commitMethod = 34
)

// Stats count every call once, by method and code, and what was sent.
func TestStatsCountCalls(t *testing.T) {
	server := NewServer(newFakeNode(1), Options{Limits: Limits{ConnStreams: 1}})
	d := openDoor(t, server)
	qc := d.dial(t)
	calls := bytes.Join([][]byte{
		healthFrame(t), healthFrame(t), frameOf(t, 999, nil), frameOf(t, whoamiMethod, nil), head(0),
	}, nil)
	s := openStream(t, qc, calls)
	sent := 0
	for range 5 {
		frame, err := schemas.ReadFrame(s, schemas.MaxResponse, nil)
		must(t, err)
		sent += len(frame)
	}
	over := openStream(t, qc, healthFrame(t))
	if _, err := readAnswer(t, over); err == nil {
		t.Error("a stream over the limit was served")
	}
	var got Stats
	eventually(t, "the last answer is counted", func() bool { got = server.Stats(); return got.BytesOut == uint64(sent) })
	want := map[CallCount]bool{
		{"health", schemas.Code_ok, 2}:           true,
		{"none", schemas.Code_unknownMethod, 1}:  true,
		{"none", schemas.Code_malformed, 1}:      true,
		{"whoami", schemas.Code_tokenMissing, 1}: true,
	}
	for _, c := range got.Calls {
		if !want[c] {
			t.Errorf("unexpected count %+v", c)
		}
		delete(want, c)
	}
	if len(want) > 0 {
		t.Errorf("not counted: %v", want)
	}
	if got.Conns != 1 || got.ConnsServed != 1 || got.StreamsRefused != 1 || got.Streams != 1 || got.BytesIn != uint64(len(calls)) {
		t.Errorf("got %+v; want 1 connection, 1 stream, 1 refused, %d bytes in", got, len(calls))
	}
}

// A subscription counts as one for as long as it lasts.
func TestStatsCountSubscriptions(t *testing.T) {
	node := newAccountNode(t)
	p := node.newCitizen(t, "alice")
	server := NewServer(node, Options{})
	qc := openDoor(t, server).dial(t)
	s := openStream(t, qc, frameOf(t, subscribeMethod, func(r schemas.Request) {
		params, err := schemas.NewSubscribeParams(r.Segment())
		must(t, err)
		must(t, r.SetParams(params.ToPtr()))
		setAuth(t, params.NewAuth, p.token, nil)
	}))
	if _, err := schemas.ReadFrame(s, schemas.MaxResponse, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one subscription counts", func() bool { return server.Stats().Subscribes == 1 })
	s.CancelRead(0)
	s.CancelWrite(0)
	eventually(t, "none counts", func() bool { return server.Stats().Subscribes == 0 })
}
