package rpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	client "quicproquo/client/conn"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// honest makes so many calls, each after a pause, and fails the test if fewer than nine
// of ten got through.
func honest(t *testing.T, what string, calls int, call func() error) {
	t.Helper()
	failed := 0
	var last error
	for range calls {
		if err := call(); err != nil {
			failed++
			last = err
		}
		time.Sleep(30 * time.Millisecond)
	}
	if failed*10 > calls {
		t.Errorf("%s: %d of %d calls failed, the last with: %v; want nine of ten to succeed", what, failed, calls, last)
	}
}

// dialWith opens a bare connection with windows of one's own.
func (d *door) dialWith(tb testing.TB, config *quic.Config) *quic.Conn {
	tb.Helper()
	trust, err := tlsid.ClientDialConfig(d.identity.AuthoritiesPEM(), nil)
	must(tb, err)
	qc, err := quic.DialAddr(tb.Context(), d.address, trust, config)
	must(tb, err)
	tb.Cleanup(func() { _ = qc.CloseWithError(0, "") })
	return qc
}

func fetchFrame(tb testing.TB, key client.AccountKey, token []byte, limit uint32) []byte {
	tb.Helper()
	return frameWith(tb, 3, nil, schemas.NewFetchParams, func(p schemas.FetchParams) error {
		p.SetVersion(schemas.WireVersion)
		p.SetLimit(limit)
		auth, err := p.NewAuth()
		must(tb, err)
		auth.SetVersion(schemas.AuthVersion)
		return errors.Join(p.SetRecipientKey(key[:]), auth.SetAccessToken(token))
	})
}

// Who fetches much and takes nothing of it fills a share, and not the node: of one
// account on one connection or on many, of several accounts, and of one that takes a
// little now and then. An honest reader at the same address gets small and large answers.
func TestStalledFetchesLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		accounts, conns int
		trickle         bool
	}{
		{"one account, one connection", 1, 1, false},
		{"one account, eight connections", 1, 8, false},
		{"four accounts", 4, 2, false},
		{"four accounts that take a little", 4, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			node := newAccountNode(t)
			d := accountDoor{openDoor(t, NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{Rates: Off}})), node}
			bob := d.member(t, "bob")
			node.put(t, fsm.QueueID{Owner: ownerOf(bob)}, string(make([]byte, 8<<10)))
			large := d.member(t, "large")
			for range 3 {
				node.put(t, fsm.QueueID{Owner: ownerOf(large)}, string(make([]byte, 1<<20)))
			}
			for i := range c.accounts {
				d.stallFetches(t, d.member(t, "eve"+string(rune('a'+i))), c.conns, c.trickle)
			}
			eventually(t, "the attackers hold much", func() bool { return d.server.answers.used() > 16<<20 })
			honest(t, "an envelope of 8 KiB", 40, func() error { return fetched(bob, 1, 8<<10) })
			honest(t, "three envelopes of 1 MiB", 10, func() error { return fetched(large, 3, 1<<20) })
			if used, limit := d.server.answers.used(), d.server.limits.AddressMemory; used > limit {
				t.Errorf("callers at one address hold %d bytes, more than their share of %d", used, limit)
			}
			if c.accounts == 1 && d.server.answers.used() > d.server.limits.AccountMemory {
				t.Errorf("one account holds %d bytes, more than its share", d.server.answers.used())
			}
		})
	}
}

// honestPatience is how long an honest caller waits for an answer: long, because beside
// other tests and the race detector 3 MiB take seconds, and well below what those wait who
// find no room.
const honestPatience = 10 * time.Second

func fetched(m member, count, size int) error {
	ctx, cancel := context.WithTimeout(context.Background(), honestPatience)
	defer cancel()
	list, err := m.Fetch(ctx, client.Read{Limit: count})
	if err == nil && (len(list) != count || len(list[0].Data) != size) {
		err = errors.New("the answer is not the one that was asked for")
	}
	return err
}

// stallFetches makes 64 fetches of 4 MiB that are not taken.
func (d accountDoor) stallFetches(t *testing.T, m member, conns int, trickle bool) {
	t.Helper()
	for range 4 {
		d.node.put(t, fsm.QueueID{Owner: ownerOf(m)}, string(make([]byte, 1<<20)))
	}
	token := m.Session().Token
	frame := fetchFrame(t, m.key, token[:], 4)
	for range conns {
		qc := d.dialWith(t, &quic.Config{
			InitialStreamReceiveWindow: 1 << 10, MaxStreamReceiveWindow: 1 << 10, KeepAlivePeriod: time.Second,
		})
		for range 64 / conns {
			s := openStream(t, qc, frame)
			if trickle {
				go func() {
					buf := make([]byte, 512)
					for {
						if _, err := s.Read(buf); err != nil {
							return
						}
						time.Sleep(100 * time.Millisecond)
					}
				}()
			}
		}
	}
}

// Requests that begin and go no further hold what has arrived of them, which for a
// segment table is nothing, and a share at most when they go on slowly. Others at the same
// address send theirs.
func TestStalledRequestsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	table := append([]byte{15, 0, 0, 0}, make([]byte, 64)...)
	half := append(head(3<<20-64), make([]byte, 3<<19)...)
	for _, c := range []struct {
		name  string
		bytes []byte
		bound bool
	}{
		{"a segment table, of strangers", table[:8], false},
		{"a segment table, of members", table[:8], true},
		{"a head, of strangers", half[:8], false},
		{"a head, of members", half[:8], true},
		{"half of 3 MiB, of strangers", half, false},
		{"half of 3 MiB, of members", half, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			node := newAccountNode(t)
			d := accountDoor{openDoor(t, NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{Rates: Off}})), node}
			bob, eve := d.member(t, "bob"), d.member(t, "eve")
			token := eve.Session().Token
			var sent atomic.Int64
			var writers sync.WaitGroup
			defer writers.Wait()
			for range 4 {
				qc := d.dialWith(t, &quic.Config{KeepAlivePeriod: time.Second})
				defer func() { _ = qc.CloseWithError(0, "") }()
				if c.bound {
					callOn(t, qc, fetchFrame(t, eve.key, token[:], 1))
				}
				for range 60 {
					s, err := qc.OpenStreamSync(t.Context())
					must(t, err)
					writers.Go(func() {
						n, _ := s.Write(c.bytes) // blocks where the node does not read
						sent.Add(int64(n))
					})
				}
			}
			time.Sleep(100 * time.Millisecond)
			if len(c.bytes) == 8 && d.server.Stats().RequestMemory != 0 {
				t.Errorf("%d bytes are held for requests of which 8 have arrived", d.server.Stats().RequestMemory)
			}
			honest(t, "an envelope of 1 MiB", 20, func() error {
				ctx, cancel := context.WithTimeout(context.Background(), honestPatience)
				defer cancel()
				seq, err := bob.Enqueue(ctx, client.Message{To: bob.key, Payload: make([]byte, 1<<20)})
				if err != nil {
					return err
				}
				_, err = bob.Ack(ctx, client.Queue{}, seq)
				return err
			})
			if held, limit := d.server.Stats().RequestMemory, d.server.limits.AccountMemory+3<<20; held > limit {
				t.Errorf("one account or address holds %d bytes, more than its share of %d", held, limit)
			}
		})
	}
}
