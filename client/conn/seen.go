package conn

import (
	"math"
	"sync/atomic"

	"quicproquo/schemas"
)

// What a Conn believes of the log. Every answer says which index it reflects, and each
// call says the highest of them: a node that is behind waits. A node can say anything,
// so the index is believed only until another says that the cluster never wrote it
// (SEEN_TOO_FAR_AHEAD): then it is what that node has, and from then on each node is
// asked linearizably once, so that whatever was acknowledged is seen although the index
// does not tell (docs/decisions/0043).

// maxIndex is the highest index that is believed: no log comes near it, and what keeps
// the index between runs has signed numbers.
const maxIndex = math.MaxInt64

// corrections counts how often the index was lowered.
type corrections = atomic.Uint64

// Seen returns the highest log index that an answer has reflected so far. A
// program that keeps it gives it to Dial the next time.
func (c *Conn) Seen() uint64 { return c.seen.Load() }

// Observe raises Seen to an index that the program has learned elsewhere, such
// as from another device. It never lowers it.
func (c *Conn) Observe(index uint64) {
	for index <= maxIndex {
		have := c.seen.Load()
		if index <= have || c.seen.CompareAndSwap(have, index) {
			return
		}
	}
}

// Corrections returns how often the cluster has said that it never wrote an index that
// an answer had reflected: it was restored from a backup, or a node has lied.
func (c *Conn) Corrections() uint64 { return c.corrected.Load() }

// stamp says in a request what was seen. A node that has not answered since the last
// correction is asked linearizably. It returns the corrections that the request knows of.
func (c *Conn) stamp(m *message, at *endpoint, linearizable bool) uint64 {
	m.request.SetSeen(c.Seen()) // first: whoever reads what was lowered knows of it
	known := c.corrected.Load()
	m.request.SetLinearizable(linearizable || at.corrected.Load() < known)
	return known
}

// observe takes the index of an answer to a request with a stamp.
func (c *Conn) observe(m *message, at *endpoint, known uint64) {
	c.Observe(m.response.Index())
	if m.response.Which() != schemas.Response_Which_results {
		return
	}
	for {
		have := at.corrected.Load()
		if have >= known || at.corrected.CompareAndSwap(have, known) {
			return
		}
	}
}

// correct lowers Seen from an index that a call was sent with to what the cluster has.
// Whatever was said meanwhile to be beyond it is forgotten with it.
func (c *Conn) correct(from, has uint64) {
	c.corrected.Add(1) // first: see stamp
	for {
		have := c.seen.Load()
		if have < from || have <= has {
			return // another call has done it
		}
		if c.seen.CompareAndSwap(have, has) {
			c.log.Warn("an answer reflected what the cluster never wrote: it was restored from a backup, or a node lies",
				"seen", have, "has", has)
			return
		}
	}
}
