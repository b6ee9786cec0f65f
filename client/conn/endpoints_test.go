package conn

import (
	"testing"
	"time"
)

// Endpoints that failed are tried last, the longer the more often they failed in
// a row, and are forgiven after a pause or an answer.
func TestEndpointsRememberFailures(t *testing.T) {
	book, err := newEndpoints([]string{"a:1", "b:1", "c:1"}, false)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	order := book.order(now)
	x, y, z := order[0], order[1], order[2]
	book.failed(x, now, 0)
	book.failed(y, now, 0)
	for range 20 {
		book.failed(y, now, 0)
	}
	got := book.order(now)
	if got[0] != z || got[1] != x || got[2] != y {
		t.Errorf("order is %s %s %s, want %s %s %s", got[0].address, got[1].address, got[2].address, z.address, x.address, y.address)
	}
	if y.badUntil.Sub(now) > maxBadPause*3/2 {
		t.Errorf("avoided for %v, want at most %v and jitter", y.badUntil.Sub(now), maxBadPause)
	}
	if book.another(z, now) || !book.another(x, now) {
		t.Error("besides z no endpoint is good, besides x z is")
	}
	later := now.Add(2 * maxBadPause)
	if got := book.order(later); got[0] != x || got[1] != y {
		t.Error("failures must be forgiven in time")
	}
	book.failed(x, now, time.Hour)
	if book.order(later)[2] != x {
		t.Error("a pause that the server asked for must be kept")
	}
	book.worked(x)
	if book.order(now)[0] != x {
		t.Error("an answer must forgive")
	}
}

// Clients do not all begin with the same node.
func TestEndpointsAreShuffled(t *testing.T) {
	firsts := map[string]bool{}
	for range 200 {
		book, err := newEndpoints([]string{"a:1", "b:1", "c:1"}, false)
		if err != nil {
			t.Fatal(err)
		}
		firsts[book.list[0].address] = true
	}
	if len(firsts) != 3 {
		t.Errorf("200 clients began with %v only", firsts)
	}
}
