package resume

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"
)

// A ticket is of one node, is used once, and within an hour of that node's last whole
// handshake: resuming does not make the hour longer.
func TestTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tickets Tickets
		one, other := tickets.Of("one:1"), tickets.Of("other:1")
		whole := func() { tickets.Done("one:1", false, time.Now()) }
		has := func(c tls.ClientSessionCache, want bool, when string) {
			t.Helper()
			if ticket, ok := c.Get("cluster"); ok != want || (ticket != nil) != want {
				t.Errorf("%s: there is a ticket: %t, want %t", when, ok, want)
			}
		}
		one.Put("cluster", &tls.ClientSessionState{})
		has(one, false, "before any whole handshake")
		whole()
		one.Put("cluster", &tls.ClientSessionState{})
		has(other, false, "another node")
		has(one, true, "after a handshake")
		has(one, false, "a second time")
		one.Put("cluster", &tls.ClientSessionState{})
		one.Put("cluster", nil)
		has(one, false, "after it was taken back")
		time.Sleep(For / 2)
		tickets.Done("one:1", true, time.Now())
		one.Put("cluster", &tls.ClientSessionState{})
		time.Sleep(For / 2)
		has(one, false, "an hour after the whole handshake")
		whole()
		one.Put("cluster", &tls.ClientSessionState{})
		tickets.Keep(func(address string) bool { return address != "one:1" })
		has(one, false, "after the node was forgotten")
	})
}
