package rpc

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// What each owner may have of a pool, and who loses what they have to whom.
func TestShares(t *testing.T) {
	const mib = 1 << 20
	whole, ofConn, ofAddress, ofAccount := int64(64*mib), int64(16*mib), int64(32*mib), int64(24*mib)
	type held struct {
		conn          int
		address, user byte // user 0: not known
		bytes         int64
		rate          int64 // bytes a second; -1: no transfer is under way
	}
	for _, c := range []struct {
		name    string
		held    []held
		bytes   int64 // that connection 9 of address 9 and account 9 asks for
		full    ownerKind
		ok      bool
		dropped int // which of held, if ok was got so; -1: none
	}{
		{"an empty pool", nil, mib, 0, true, -1},
		{"more than a connection's", nil, 15 * mib, ownConn, false, -1},
		{"a connection's share", []held{{9, 1, 1, 13 * mib, -1}}, 2 * mib, ownConn, false, -1},
		{"and its part for what is small", []held{{9, 1, 1, 14 * mib, -1}}, smallHold, 0, true, -1},
		{"an address's share", []held{{1, 9, 1, 14 * mib, -1}, {2, 9, 2, 14 * mib, -1}}, mib, ownAddress, false, -1},
		{"and its part for what is small", []held{{1, 9, 1, 14 * mib, -1}, {2, 9, 2, 14 * mib, -1}}, smallHold, 0, true, -1},
		{"an account's share", []held{{1, 1, 9, 14 * mib, -1}, {2, 2, 9, 7 * mib, -1}}, mib, ownAccount, false, -1},
		{"strangers have no account", []held{{1, 1, 0, 14 * mib, -1}, {2, 2, 0, 7 * mib, -1}}, mib, 0, true, -1},
		{"the whole", []held{{1, 1, 1, 14 * mib, -1}, {2, 2, 2, 14 * mib, -1}, {3, 3, 3, 14 * mib, -1}, {4, 4, 4, 14 * mib, -1}}, mib, ownAll, false, -1},
		{"and its part for what is small", []held{{1, 1, 1, 14 * mib, -1}, {2, 2, 2, 14 * mib, -1}, {3, 3, 3, 14 * mib, -1}, {4, 4, 4, 14 * mib, -1}}, smallHold, 0, true, -1},
		{"the whole, one stands still", []held{{1, 1, 1, 14 * mib, 3 << 10}, {2, 2, 2, 14 * mib, 0}, {3, 3, 3, 14 * mib, mib}, {4, 4, 4, 14 * mib, -1}}, mib, 0, true, 1},
		{"the whole, one is slow", []held{{1, 1, 1, 14 * mib, 3 << 10}, {2, 2, 2, 14 * mib, 4 << 10}, {3, 3, 3, 14 * mib, mib}, {4, 4, 4, 14 * mib, -1}}, mib, 0, true, 0},
		{"the whole, all are fast", []held{{1, 1, 1, 14 * mib, mib}, {2, 2, 2, 14 * mib, mib}, {3, 3, 3, 14 * mib, mib}, {4, 4, 4, 14 * mib, mib}}, mib, ownAll, false, -1},
		{"a share, and others stand still", []held{{1, 1, 9, 14 * mib, mib}, {2, 2, 9, 7 * mib, mib}, {3, 3, 3, mib, 0}}, mib, ownAccount, false, -1},
		{"a share, one's own stands still", []held{{1, 1, 9, 14 * mib, 0}, {2, 2, 9, 7 * mib, mib}, {3, 3, 3, mib, 0}}, mib, 0, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(whole, ofConn, ofAddress, ofAccount)
				conns := make([]conn, 10)
				var cut []int
				hold := func(conn int, address, user byte) *hold {
					h, to := new(hold), &conns[conn]
					to.address = [48]byte{address}
					var account *[48]byte
					if user != 0 {
						account = &[48]byte{user}
					}
					h.of(to, account)
					return h
				}
				var list []func(time.Duration)
				sum := int64(0)
				for i, have := range c.held {
					h := hold(have.conn, have.address, have.user)
					p.mu.Lock()
					p.charge(h, have.bytes)
					p.mu.Unlock()
					sum += have.bytes
					if have.rate >= 0 {
						p.begin(h, func() { cut = append(cut, i) })
						list = append(list, func(after time.Duration) { h.moved.Store(int64(after.Seconds() * float64(have.rate))) })
					}
				}
				time.Sleep(slowAfter / 2)
				one := hold(9, 9, 9)
				if ok, _ := p.take(one, c.bytes); ok && c.dropped >= 0 {
					t.Error("a transfer that has just begun lost its memory")
				}
				p.give(one)
				time.Sleep(2 * slowAfter)
				for _, move := range list {
					move(2 * slowAfter)
				}
				one = hold(9, 9, 9)
				ok, full := p.take(one, c.bytes)
				if ok != c.ok || !ok && full != c.full {
					t.Errorf("got it: %t, short of kind %d; want %t, %d", ok, full, c.ok, c.full)
				}
				if c.dropped < 0 && len(cut) > 0 || c.dropped >= 0 && (len(cut) != 1 || cut[0] != c.dropped) {
					t.Errorf("%v were cut, want %d", cut, c.dropped)
				}
				if c.dropped >= 0 {
					sum -= c.held[c.dropped].bytes
				}
				if ok {
					sum += c.bytes
				}
				if p.used() != sum {
					t.Errorf("%d bytes are held, want %d", p.used(), sum)
				}
			})
		})
	}
}

// A request that is begun and not finished in time costs its address a token for good,
// and one that is finished costs none; an address without tokens is told to wait, and
// small requests go on. On fake time.
func TestStalledRequestIsCharged(t *testing.T) {
	large := frameOf(t, healthMethod, func(r schemas.Request) { must(t, r.SetRequestId(make([]byte, 32<<10))) })
	synctest.Test(t, func(t *testing.T) {
		server := NewServer(newFakeNode(1), Options{Limits: Limits{Rates: Rates{{Class: ClassStall, Address: Rate{3, time.Hour}}}}})
		send := func(input []byte, from byte) schemas.Code {
			t.Helper()
			s := newFakeStream(input)
			s.stall = true
			c := newConn(server, quiet())
			c.address = [48]byte{from}
			c.serveStream(s)
			if got := s.answers(t); len(got) > 0 {
				return got[0].code
			}
			return schemas.Code_ok // it was cut without an answer
		}
		for range 9 {
			if code := send(large, 1); code != schemas.Code_messageTooLarge {
				t.Fatalf("a whole request got %s", code.ID())
			}
		}
		for range 3 {
			if code := send(large[:20<<10], 1); code != schemas.Code_ok {
				t.Fatalf("half of a request got %s", code.ID())
			}
		}
		if code := send(large, 1); code != schemas.Code_rateLimited {
			t.Errorf("after three that stalled the address got %s, want to be told to wait", code.ID())
		}
		if code := send(healthFrame(t), 1); code != schemas.Code_ok {
			t.Errorf("a small request from there got %s", code.ID())
		}
		if code := send(large, 2); code != schemas.Code_messageTooLarge {
			t.Errorf("another address got %s", code.ID())
		}
		if n := server.strange.used(); n != 0 {
			t.Errorf("%d bytes are left over", n)
		}
	})
}

// A request arrives and an answer is taken at a least rate: a slow link has its time, a
// caller who moves a byte now and then has not. On fake time.
func TestPaceOfTransfers(t *testing.T) {
	limits := DefaultLimits()
	for _, c := range []struct {
		name  string
		chunk int
		every time.Duration
		done  bool
	}{
		{"64 KiB a second", 64 << 10, time.Second, true},
		{"20 KiB a second", 20 << 10, time.Second, true},
		{"a byte a second", 1, time.Second, false},
		{"10 KiB a second", 10 << 10, time.Second, false},
		{"512 KiB each 16 seconds", 512 << 10, 16 * time.Second, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := NewServer(newFakeNode(1), Options{})
			tab := open
			tab[healthMethod].maxBytes = schemas.MaxRequest
			server.open = &tab
			input := frameOf(t, healthMethod, func(r schemas.Request) { must(t, r.SetRequestId(make([]byte, 1<<20))) })
			s := &pacedStream{fakeStream: newFakeStream(input), chunk: c.chunk, every: c.every}
			start := time.Now()
			newConn(server, quiet()).serveStream(s)
			if answered := len(s.answers(t)) == 1; answered != c.done {
				t.Errorf("a request at %s: answered %t after %v, want %t", c.name, answered, time.Since(start), c.done)
			}
			tab[healthMethod].handle = func(c *call) error { return fillResponse(c, 1<<20) }
			s = &pacedStream{fakeStream: newFakeStream(healthFrame(t)), chunk: c.chunk, every: c.every, write: true}
			start = time.Now()
			newConn(server, quiet()).serveStream(s)
			if s.closed != c.done {
				t.Errorf("an answer at %s: taken %t after %v, want %t", c.name, s.closed, time.Since(start), c.done)
			}
			if c.done && time.Since(start) < limits.Write && c.chunk < 64<<10 {
				t.Errorf("an answer at %s took %v: the test proves nothing", c.name, time.Since(start))
			}
		})
	}
}

// pacedStream moves so many bytes at a time, and keeps deadlines.
type pacedStream struct {
	*fakeStream
	chunk int
	every time.Duration
	write bool // it is the answer that is slow
	ready int
}

// wait lets a chunk come, unless the deadline is before.
func (s *pacedStream) wait(by time.Time) error {
	if s.ready > 0 {
		return nil
	}
	next := time.Now().Add(s.every)
	if next.After(by) {
		time.Sleep(time.Until(by))
		return errTestDeadline
	}
	time.Sleep(time.Until(next))
	s.ready = s.chunk
	return nil
}

var errTestDeadline = errors.Join(errDropped, errors.New("the stream's deadline is over"))

func (s *pacedStream) Read(buf []byte) (int, error) {
	if s.write {
		return s.fakeStream.Read(buf)
	}
	if s.in.Len() > 0 {
		if err := s.wait(s.readBy); err != nil {
			return 0, err
		}
		buf = buf[:min(len(buf), s.ready)]
	}
	n, err := s.fakeStream.Read(buf)
	s.ready -= n
	return n, err
}

func (s *pacedStream) Write(data []byte) (total int, err error) {
	for s.write && len(data) > 0 {
		if err := s.wait(s.writeBy); err != nil {
			return total, err
		}
		n := min(len(data), s.ready)
		s.out.Write(data[:n])
		data, total, s.ready = data[n:], total+n, s.ready-n
	}
	if s.write {
		return total, nil
	}
	return s.fakeStream.Write(data)
}

// A request that is refused by its size is answered to a client that writes all of it
// before it reads, as large as a request may be and larger.
func TestRefusalReachesWhoStillWrites(t *testing.T) {
	d := openDoor(t, NewServer(newFakeNode(1), Options{}))
	qc := d.dial(t)
	for range 5 {
		s := openStream(t, qc, append(head(schemas.MaxRequest+8), make([]byte, schemas.MaxRequest-4096)...))
		if got, err := readAnswer(t, s); err != nil || got.code != schemas.Code_messageTooLarge || got.value != schemas.MaxRequest {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

// The large requests of strangers take nothing from those of members, and a member's
// first request may be large.
func TestStrangersLeaveMemory(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	token := ann.Session().Token
	large := frameWith(t, 2, nil, schemas.NewEnqueueParams, func(p schemas.EnqueueParams) error {
		p.SetVersion(schemas.WireVersion)
		auth, err := p.NewAuth()
		must(t, err)
		auth.SetVersion(schemas.AuthVersion)
		return errors.Join(p.SetRecipientKey(ann.key[:]), p.SetPayload(make([]byte, 1<<20)), auth.SetAccessToken(token[:]))
	})
	qc := d.dial(t)
	for _, c := range []struct {
		name string
		full *pool
		used int64
	}{
		{"the first, while members have used up theirs", d.server.memory, d.server.limits.RequestMemory},
		{"the next, while strangers have", d.server.strange, d.server.limits.OpenMemory},
	} {
		t.Run(c.name, func(t *testing.T) {
			fill(t, c.full, c.used)
			frame, err := schemas.ReadFrame(openStream(t, qc, large), schemas.MaxResponse, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := parseRaw(t, frame).failure.code; got != schemas.Code_ok {
				t.Errorf("1 MiB with a token got %s", named(got))
			}
		})
	}
}

// A drain for whose answer there is no room removes nothing.
func TestDrainAsksForRoom(t *testing.T) {
	d := openAccounts(t)
	ann := d.member(t, "ann")
	queue := fsm.QueueID{Owner: ownerOf(ann)}
	d.node.put(t, queue, string(make([]byte, 256<<10)))
	token := ann.Session().Token
	drain := frameWith(t, 3, nil, schemas.NewFetchParams, func(p schemas.FetchParams) error {
		p.SetVersion(schemas.WireVersion)
		p.SetDrain(true)
		auth, err := p.NewAuth()
		must(t, err)
		auth.SetVersion(schemas.AuthVersion)
		return errors.Join(p.SetRecipientKey(ann.key[:]), auth.SetAccessToken(token[:]))
	})
	fill(t, d.server.answers, d.server.limits.AnswerMemory)
	s := newFakeStream(drain)
	newConn(d.server, quiet()).serveStream(s)
	if r := parseRaw(t, s.out.Bytes()); r.failure.code != schemas.Code_rateLimited {
		t.Errorf("got %s, want to be told to come back", named(r.failure.code))
	}
	view, err := d.node.View()
	must(t, err)
	defer func() { must(t, view.Close()) }()
	if stats, err := view.Queue(queue); err != nil || stats.Last < stats.First {
		t.Errorf("the queue was drained: %+v, %v", stats, err)
	}
}
