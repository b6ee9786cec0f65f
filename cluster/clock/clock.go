// Package clock says what time it is in a cluster: a node's own clock while that agrees
// with those of a majority of the voters, theirs otherwise. A batch's stamp moves the
// time of the log, which never goes back: one clock that runs ahead would end logins,
// sessions and queues for everybody (decision 0120).
package clock

import (
	"slices"
	"sync"
	"time"

	"quicproquo/crypto/tlsid"
)

// Clock compares the clocks of a cluster's voters. Safe for concurrent use.
//
// Clocks are compared as distances from a counter of this process that no change of a
// clock moves, so that a clock that is set between two readings is noticed at once.
type Clock struct {
	self  tlsid.NodeID
	own   func() time.Time
	began time.Time

	mu     sync.Mutex
	bound  int64 // milliseconds
	voters []tlsid.NodeID
	// heard are the others' clocks: milliseconds since 1970 when the counter was 0.
	// Readings have no end: where a machine's clock was is a better guess than nothing,
	// and a voter that comes back is asked again within seconds.
	heard  map[tlsid.NodeID]int64
	silent map[tlsid.NodeID]bool // answers, and does not know that it could tell
}

// New returns a clock of a node that knows no other yet. own is the machine's clock.
func New(self tlsid.NodeID, own func() time.Time, bound time.Duration) *Clock {
	return &Clock{
		self: self, own: own, began: time.Now(), bound: bound.Milliseconds(),
		heard: map[tlsid.NodeID]int64{}, silent: map[tlsid.NodeID]bool{},
	}
}

// Asked is a question to another node that is on its way.
type Asked struct{ sent time.Time }

// Ask begins a question; its answer goes to Hear.
func (c *Clock) Ask() Asked { return Asked{sent: time.Now()} }

// Hear notes what another's clock said, milliseconds since 1970, at some time between
// Ask and now. 0: it is of a build that does not say. What was so long under way that
// it tells nothing is left out.
func (c *Clock) Hear(from tlsid.NodeID, asked Asked, ms uint64) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if ms == 0 {
		c.silent[from] = true
		delete(c.heard, from)
		return
	}
	way := now.Sub(asked.sent)
	if ms > maxMs || way.Milliseconds() > c.bound {
		return
	}
	delete(c.silent, from)
	c.heard[from] = int64(ms) - asked.sent.Add(way/2).Sub(c.began).Milliseconds()
}

// maxMs keeps sums in range: the year 10889.
const maxMs = 1 << 48

// Judge sets whose clocks count, and how far this node's may be from them.
func (c *Clock) Judge(voters []tlsid.NodeID, bound time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.voters, c.bound = voters, bound.Milliseconds()
}

// Reading is what the time is, and how that was found.
type Reading struct {
	// Time is the cluster's time, to the millisecond.
	Time time.Time
	// Known: a majority of the voters said what their clocks are. If not, Time is this
	// node's own.
	Known bool
	// Off is how far this node's own clock is ahead of the majority's; 0 if not Known.
	Off time.Duration
	// Wrong: that is more than the bound, and Time is the majority's.
	Wrong bool
}

// Read reads the clock.
func (c *Clock) Read() Reading {
	own := c.own()
	c.mu.Lock()
	defer c.mu.Unlock()
	r := Reading{Time: own}
	since := time.Since(c.began).Milliseconds()
	base, known := c.majority(own.UnixMilli() - since)
	if !known {
		return r
	}
	off := own.UnixMilli() - (base + since)
	r.Known, r.Off = true, time.Duration(off)*time.Millisecond
	if off > c.bound || off < -c.bound {
		r.Wrong, r.Time = true, time.UnixMilli(base+since)
	}
	return r
}

// majority returns the clock in the middle of the voters', this node's own among them
// if it votes. Of two in the middle it is the earlier one: log time that stands still
// for a while can go on, log time that ran ahead can't go back.
func (c *Clock) majority(own int64) (base int64, known bool) {
	var all []int64
	telling := 0
	for _, id := range c.voters {
		if id == c.self {
			all = append(all, own)
			telling++
			continue
		}
		if !c.silent[id] {
			telling++
		}
		if b, ok := c.heard[id]; ok {
			all = append(all, b)
		}
	}
	if len(all) == 0 || len(all) <= telling/2 {
		return 0, false
	}
	slices.Sort(all)
	return all[(len(all)-1)/2], true
}

// Agrees reports whether a voter's clock is within the bound of the majority's, as far
// as this node has heard.
func (c *Clock) Agrees(id tlsid.NodeID) bool {
	own := c.own().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	base, known := c.majority(own - time.Since(c.began).Milliseconds())
	theirs, heard := c.heard[id]
	return known && heard && theirs-base <= c.bound && base-theirs <= c.bound
}
