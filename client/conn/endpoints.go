package conn

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"quicproquo/nodeaddr"
)

// endpoint is one node's address, HOST:PORT, and how it did lately. The book's
// lock guards the rest.
type endpoint struct {
	address  string
	learned  bool      // from a node; otherwise the program named it
	failures int       // in a row
	badUntil time.Time // avoided until then, if there is another

	corrected corrections // those that it has answered after; see seen.go
}

// endpoints is the book of nodes: it remembers who failed and says whom to try.
type endpoints struct {
	inOrder bool

	mu   sync.Mutex
	list []*endpoint // in the order of trying, unless one is avoided
}

func newEndpoints(addresses []string, inOrder bool) (*endpoints, error) {
	if len(addresses) == 0 || len(addresses) > maxEndpoints {
		return nil, fmt.Errorf("a client needs 1 to %d endpoints, got %d", maxEndpoints, len(addresses))
	}
	book := &endpoints{inOrder: inOrder}
	for _, address := range addresses {
		if err := nodeaddr.CheckEndpoint(address); err != nil {
			return nil, err
		}
		book.list = append(book.list, &endpoint{address: address})
	}
	if inOrder {
		return book, nil
	}
	// Each client in its own order: so they spread over the nodes.
	rand.Shuffle(len(book.list), func(i, j int) { book.list[i], book.list[j] = book.list[j], book.list[i] })
	return book, nil
}

// order returns the endpoints in the order of trying: the good ones, then those
// that are avoided, the soonest forgiven first.
func (b *endpoints) order(now time.Time) []*endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.list)
	slices.SortStableFunc(list, func(x, y *endpoint) int {
		return cmp.Compare(max(0, x.badUntil.Sub(now)), max(0, y.badUntil.Sub(now)))
	})
	return list
}

// failed avoids an endpoint for a while, at least for pause.
func (b *endpoints) failed(e *endpoint, now time.Time, pause time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	backoff := min(badPause<<min(e.failures, 10), maxBadPause)
	e.failures++
	e.badUntil = now.Add(max(pause, Jitter(backoff)))
}

// worked forgives an endpoint that has answered.
func (b *endpoints) worked(e *endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.failures, e.badUntil = 0, time.Time{}
}

// another reports whether there is an endpoint besides e that is not avoided.
func (b *endpoints) another(e *endpoint, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.list, func(x *endpoint) bool { return x != e && !x.badUntil.After(now) })
}

// Jitter returns d give or take a half, so that clients that failed together do
// not come back together.
func Jitter(d time.Duration) time.Duration { return d/2 + rand.N(max(d, 1)) }

func (b *endpoints) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.list)
}

// learn replaces what was learned of nodes by the latest word, and reports whether it is
// another one. What the program named stays. It has a place of its own in the order, so
// that clients that were all given the same node spread over the others later.
func (b *endpoints) learn(addresses []string) (news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*endpoint
	for _, e := range b.list {
		if !e.learned || slices.Contains(addresses, e.address) {
			list = append(list, e)
		}
	}
	news = len(list) != len(b.list)
	for _, address := range addresses {
		if len(list) >= maxEndpoints {
			break
		}
		if !slices.ContainsFunc(list, func(e *endpoint) bool { return e.address == address }) {
			at := len(list)
			if !b.inOrder {
				at = rand.IntN(len(list) + 1)
			}
			list = slices.Insert(list, at, &endpoint{address: address, learned: true})
			news = true
		}
	}
	b.list = list
	return news
}
