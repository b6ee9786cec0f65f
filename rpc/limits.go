package rpc

import (
	"time"

	"quicproquo/schemas"
)

// Limits bound what clients can make a node hold. The zero value of a field
// means its default.
type Limits struct {
	// Conns is how many client connections are served at once. An idle one
	// costs about 42 KiB.
	Conns int
	// Streams is how many streams all connections have open at once. An idle
	// one costs about 12 KiB.
	Streams int
	// ConnStreams is how many streams one connection has open at once.
	ConnStreams int
	// OpenStreams is how many of Streams may belong to connections on which
	// nobody has shown a session yet, so that strangers leave room for those who
	// have one; AddressStreams how many of these may come from one IPv4 address or
	// IPv6 /64, so that one stranger leaves room for others.
	OpenStreams, AddressStreams int
	// OpenCalls and BoundCalls are how many calls of one connection run at once
	// before and after a session is bound to it; further calls wait their turn.
	OpenCalls, BoundCalls int
	// RequestMemory bounds the requests over smallRequest bytes that are being
	// read or handled, in bytes, over all connections.
	RequestMemory int64
	// AnswerMemory bounds the answers over smallRequest bytes that are being made
	// or sent, in bytes, over all connections. A read for which there is no room is
	// refused; the answers of writes count and are sent all the same.
	AnswerMemory int64
	// ConnSubscriptions is how many subscribe calls one connection has at once.
	ConnSubscriptions int

	// Idle is how long a stream may stay silent between two calls.
	Idle time.Duration
	// Read is how long a request may take from its first to its last byte.
	Read time.Duration
	// Write is how long a client may take to make room for a response, and as long
	// again for each MiB of it: a slow link is no attack.
	Write time.Duration
	// Linger is how long a closing server waits for clients to take their last
	// answers and leave.
	Linger time.Duration
	// KeepAlive is how long a subscription is silent at most, give or take a
	// fifth.
	KeepAlive time.Duration

	// Rates bound how often callers call (rpc/rates.go, and the table below). Off
	// switches them off.
	Rates Rates
}

// DefaultLimits returns the limits of a node that faces the Internet.
func DefaultLimits() Limits {
	return Limits{
		Conns:             16 << 10,
		Streams:           64 << 10,
		ConnStreams:       64,
		OpenStreams:       32 << 10,
		AddressStreams:    2 << 10,
		OpenCalls:         4,
		BoundCalls:        32,
		RequestMemory:     256 << 20,
		AnswerMemory:      256 << 20,
		ConnSubscriptions: 4,
		Idle:              3 * time.Minute,
		Read:              15 * time.Second,
		Write:             15 * time.Second,
		Linger:            250 * time.Millisecond,
		KeepAlive:         30 * time.Second,
		Rates:             DefaultRates(),
	}
}

func (l *Limits) setDefaults() {
	d := DefaultLimits()
	for _, f := range []struct {
		value *int
		def   int
	}{
		{&l.Conns, d.Conns},
		{&l.Streams, d.Streams},
		{&l.ConnStreams, d.ConnStreams},
		{&l.OpenStreams, d.OpenStreams},
		{&l.AddressStreams, d.AddressStreams},
		{&l.OpenCalls, d.OpenCalls},
		{&l.BoundCalls, d.BoundCalls},
		{&l.ConnSubscriptions, d.ConnSubscriptions},
	} {
		if *f.value <= 0 {
			*f.value = f.def
		}
	}
	for _, f := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&l.Idle, d.Idle},
		{&l.Read, d.Read},
		{&l.Write, d.Write},
		{&l.Linger, d.Linger},
		{&l.KeepAlive, d.KeepAlive},
	} {
		if *f.value <= 0 {
			*f.value = f.def
		}
	}
	if l.Rates == nil {
		l.Rates = d.Rates
	}
	if l.RequestMemory <= 0 {
		l.RequestMemory = d.RequestMemory
	}
	// A budget below one request would refuse it for ever.
	l.RequestMemory = max(l.RequestMemory, schemas.MaxRequest)
	if l.AnswerMemory <= 0 {
		l.AnswerMemory = d.AnswerMemory
	}
	// Room for the largest answer there is, as message and as frame.
	l.AnswerMemory = max(l.AnswerMemory, 2*schemas.MaxResponse)
	l.BoundCalls = max(l.BoundCalls, l.OpenCalls)
}

const (
	// smallRequest is up to how many bytes a request is not counted: less than
	// what its stream costs anyway.
	smallRequest = 4 << 10
	// keptBuffer is the largest buffer that goes back to the pool, in bytes, so
	// that a rare large call does not stay in memory for ever.
	keptBuffer = 64 << 10
	// smallMethod bounds the requests of methods that carry a few ids and keys.
	smallMethod = 4 << 10

	// setupTrust is how long a node uses the OPAQUE setup without looking whether
	// it was rotated.
	setupTrust = time.Second
	// lookupTime is how long it takes to look a name up for a login, whether it has
	// an account or not: more than twice what an account in memory takes.
	lookupTime = 5 * time.Microsecond

	// renewAfter is how long a session is used before its expiry moves on: at
	// most one write an hour for each session.
	renewAfter = time.Hour
	// renewEvery is how long renewals are gathered for one entry.
	renewEvery = 10 * time.Second
	// renewWaiting is how many sessions wait for renewal at once. One more waits
	// for its next call.
	renewWaiting = 16 * schemas.MaxRenewals
	// renewTimeout bounds the writes of one round.
	renewTimeout = 10 * time.Second

	// seenPatience is how long a node waits for a seen index before it asks
	// the leader whether there is such an index at all. It is longer than a
	// leader needs to apply what it has committed.
	seenPatience = time.Second
	// seenStride is how many entries ahead of the node a seen index may be
	// before the question is asked at once.
	seenStride = 1 << 20
	// catchingUpLag is how many committed entries a node may have to apply yet
	// and still call itself ok.
	catchingUpLag = 1024
	// pushBytes bounds the envelopes of one response of a subscription, in bytes,
	// unless the first is larger: what a slow reader makes a node hold.
	pushBytes = 256 << 10

	// retryLagging is when a client may try a lagging node again.
	retryLagging = 100 * time.Millisecond
	// retryBusy is when a client may try a node again that is short of memory.
	retryBusy = 500 * time.Millisecond
)
