// Package patience says how long a client hears nothing from a node before it takes the
// node for dead. It grows when it was lost in vain, and with what answers take: on a
// machine that has too much to do everything is late, and a client that leaves a node
// which is only late makes it later, for others too: a handshake costs more than a call.
//
// It must never grow without end: who waits for a dead node is not served.
package patience

import (
	"sync"
	"time"
)

const (
	// Least is what a node gets at least, besides round trips. A living node
	// acknowledges within a round trip and 25 ms, and what is lost is sent again several
	// times in this time.
	Least = time.Second
	// Most is what it gets at most.
	Most = 15 * time.Second
	// doublings bounds how often failures double it.
	doublings = 4
)

// Patience is a client's. The zero value is that of one who has seen nothing yet. Safe
// for concurrent use.
type Patience struct {
	mu              sync.Mutex
	mean, deviation time.Duration // of answer times, smoothed as RFC 6298 §2 does
	misses          int           // nodes given up, one less for each answer
}

// Answered notes how long an answer took, of a call that waited for nothing else.
func (p *Patience) Answered(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.misses = max(0, p.misses-1)
	took = min(took, Most)
	p.deviation += ((p.mean - took).Abs() - p.deviation) / 4
	p.mean += (took - p.mean) / 8
}

// Heard notes that a node has answered late, but was heard of in the meantime.
func (p *Patience) Heard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.misses = max(0, p.misses-1)
}

// Missed notes that a node was given up because nothing was heard of it.
func (p *Patience) Missed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.misses = min(p.misses+1, doublings)
}

// With is how long nothing may be heard of a node that is a round trip away.
func (p *Patience) With(roundTrip time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	quiet := max(Least+4*roundTrip, p.mean+4*p.deviation)
	return min(quiet<<p.misses, Most)
}
