package rpc

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// renewNode keeps the renewals that are proposed. mu guards entries.
type renewNode struct {
	*fakeNode
	fail error

	mu      sync.Mutex
	entries []int // sessions of each
	hashes  map[tokenHash]int
	at      []time.Time
}

func (n *renewNode) Propose(_ context.Context, entry []byte) (uint64, fsm.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	read, err := schemas.EntryFrom(entry)
	if err != nil {
		return 0, fsm.Result{}, err
	}
	p, err := read.Command().RenewSessions()
	if err != nil {
		return 0, fsm.Result{}, err
	}
	list, err := p.TokenHashes()
	if err != nil {
		return 0, fsm.Result{}, err
	}
	for i := range list.Len() {
		hash, err := list.At(i)
		if err != nil {
			return 0, fsm.Result{}, err
		}
		n.hashes[tokenHash(hash)]++
	}
	n.entries, n.at = append(n.entries, list.Len()), append(n.at, time.Now())
	return 1, fsm.Result{}, n.fail
}

func inRenewals(t *testing.T, test func(t *testing.T, n *renewNode, s *Server)) {
	synctest.Test(t, func(t *testing.T) {
		n := &renewNode{fakeNode: newFakeNode(1), hashes: map[tokenHash]int{}}
		s := NewServer(n, Options{})
		test(t, n, s)
		must(t, s.Close(t.Context()))
	})
}

func hashOf(i int) (h tokenHash) {
	binary.BigEndian.PutUint64(h[:], uint64(i))
	return h
}

func ago(d time.Duration) uint64 { return uint64(time.Now().Add(-d).UnixMilli()) }

// Sessions that were used and not renewed for an hour are renewed together, once,
// ten seconds after the first; others are not.
func TestRenewalsAreGathered(t *testing.T) {
	inRenewals(t, func(t *testing.T, n *renewNode, s *Server) {
		for i := range 3 {
			for range 5 { // a busy session
				s.renewals.note(hashOf(i), ago(61*time.Minute))
			}
		}
		s.renewals.note(hashOf(9), ago(59*time.Minute))
		began := time.Now()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(n.entries) != 1 || n.entries[0] != 3 || n.at[0].Sub(began) != renewEvery {
			t.Errorf("entries of %v sessions at %v", n.entries, n.at)
		}
		if n.hashes[hashOf(9)] != 0 {
			t.Error("a session was renewed within the hour")
		}
		s.renewals.note(hashOf(0), ago(2*time.Hour))
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(n.entries) != 2 {
			t.Errorf("%d entries, want 2: the goroutine did not start again", len(n.entries))
		}
	})
}

// An entry has at most so many sessions, and so many wait at once: the rest waits
// for its next call.
func TestRenewalsAreBounded(t *testing.T) {
	inRenewals(t, func(t *testing.T, n *renewNode, s *Server) {
		for i := range renewWaiting + 100 {
			s.renewals.note(hashOf(i), 0)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		total := 0
		for _, size := range n.entries {
			total += size
			if size > schemas.MaxRenewals {
				t.Errorf("an entry of %d sessions", size)
			}
		}
		if total != renewWaiting || len(n.hashes) != renewWaiting {
			t.Errorf("%d sessions renewed, %d of them different, want %d", total, len(n.hashes), renewWaiting)
		}
	})
}

// A server that closes writes what waits, and takes no more.
func TestRenewalsAreWrittenAtTheEnd(t *testing.T) {
	inRenewals(t, func(t *testing.T, n *renewNode, s *Server) {
		s.renewals.note(hashOf(1), 0)
		began := time.Now()
		must(t, s.Close(t.Context()))
		if len(n.entries) != 1 || time.Since(began) >= renewEvery {
			t.Errorf("%d entries after %v", len(n.entries), time.Since(began))
		}
		s.renewals.note(hashOf(2), 0)
		time.Sleep(time.Minute)
		if len(n.entries) != 1 {
			t.Error("a closed server renews")
		}
	})
}

// A renewal that fails is lost and harms nothing: the session's next call brings
// another.
func TestRenewalsMayFail(t *testing.T) {
	inRenewals(t, func(t *testing.T, n *renewNode, s *Server) {
		n.fail = fsm.ErrClosed
		s.renewals.note(hashOf(1), 0)
		time.Sleep(time.Minute)
		s.renewals.note(hashOf(1), 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n.hashes[hashOf(1)] != 2 {
			t.Errorf("proposed %d times, want 2", n.hashes[hashOf(1)])
		}
	})
}

// A renewal moves the session's expiry on in the store.
func TestRenewalMovesTheExpiry(t *testing.T) {
	d := openAccounts(t)
	d.node.setSkew(-2 * time.Minute)
	alice := d.register(t, "alice")
	c := d.login(t, alice.as())
	before, err := c.Whoami(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.node.setSkew(0)
	token := tokenHash(c.Session().Token.Hash())
	must(t, d.server.renewals.propose(t.Context(), []tokenHash{token}))
	after, err := c.Whoami(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if moved := after.Expires.Sub(before.Expires); moved < time.Minute || moved > 3*time.Minute {
		t.Errorf("the expiry moved by %v, want two minutes", moved)
	}
}
