// Package pace keeps what is of use only for a while (receipts, typing) from using up
// the rate at which a device may send: it models the cluster's token bucket of the
// device and lends from it only what messages would not miss.
//
// It must never make a message wait: messages are counted, and never held back.
package pace

import (
	"sync"
	"time"
)

// Bucket is the client's picture of its rate of sending. Safe for concurrent use.
type Bucket struct {
	burst float64
	every time.Duration
	spare float64

	mu     sync.Mutex
	tokens float64
	at     time.Time
}

// New returns a full bucket of burst calls, one more in every. Signals may take as
// many as spare of them that have not come back yet.
func New(burst int, every time.Duration, spare int) *Bucket {
	return &Bucket{burst: float64(burst), every: every, spare: float64(spare), tokens: float64(burst)}
}

// fill adds what has come back since the last call. A clock that goes back adds
// nothing.
func (b *Bucket) fill(now time.Time) {
	if !b.at.IsZero() && now.After(b.at) {
		b.tokens = min(b.burst, b.tokens+float64(now.Sub(b.at))/float64(b.every))
	}
	b.at = now
}

// Message counts a call that brings a message.
func (b *Bucket) Message(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	b.tokens = max(0, b.tokens-1)
}

// Limited notes that the cluster has refused a call because of the rate: its bucket
// is empty, whatever this one says.
func (b *Bucket) Limited(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	b.tokens = 0
}

// Signal takes the tokens of n calls that are no message's, and returns 0; or how long
// to wait until they can be taken without one of the next messages waiting for it. A
// signal of more calls than may be missing goes when the bucket is full.
func (b *Bucket) Signal(now time.Time, n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	if wait := b.wait(n); wait > 0 {
		return wait
	}
	b.tokens = max(0, b.tokens-float64(n))
	return 0
}

// Wait is how long Signal would have n calls wait.
func (b *Bucket) Wait(now time.Time, n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	return b.wait(n)
}

func (b *Bucket) wait(n int) time.Duration {
	need := b.burst - max(0, b.spare-float64(n))
	if b.tokens >= need {
		return 0
	}
	return time.Duration((need-b.tokens)*float64(b.every)) + time.Millisecond
}
