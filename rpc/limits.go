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
	// read or handled, in bytes, over all connections. What has arrived counts, not
	// what was announced.
	RequestMemory int64
	// AnswerMemory bounds the answers over smallRequest bytes that are being made
	// or sent, in bytes, over all connections. A read for which there is no room is
	// refused; the answers of writes count and are sent all the same.
	AnswerMemory int64
	// ConnMemory, AccountMemory and AddressMemory are the shares that one connection,
	// one account and one IPv4 address or IPv6 /64 may have of RequestMemory, and again
	// of AnswerMemory, in bytes. An eighth of each, and of the whole, is kept for what
	// is small.
	ConnMemory, AccountMemory, AddressMemory int64
	// OpenMemory is what the requests over smallRequest bytes have, in bytes, that come
	// on connections without a session; OpenAddressMemory is one address's share of it.
	OpenMemory, OpenAddressMemory int64
	// ConnSubscriptions is how many subscribe calls one connection has at once.
	ConnSubscriptions int

	// Idle is how long a stream may stay silent between two calls.
	Idle time.Duration
	// Read is how long a request may stand still between its first and its last byte.
	Read time.Duration
	// Write is how long a client may take no part of a response that waits for it.
	Write time.Duration
	// MinRate is how fast a request must arrive and a response be taken once Read or
	// Write are over, on the average, in bytes a second: a slow link is no attack.
	MinRate int64
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
		ConnMemory:        32 << 20,
		AccountMemory:     32 << 20,
		AddressMemory:     64 << 20,
		OpenMemory:        32 << 20,
		OpenAddressMemory: 8 << 20,
		ConnSubscriptions: 4,
		Idle:              3 * time.Minute,
		Read:              15 * time.Second,
		Write:             15 * time.Second,
		MinRate:           16 << 10,
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
	// A budget below one request, or below the largest answer there is, as message and
	// as frame, would refuse it forever.
	for _, f := range []struct {
		value      *int64
		def, least int64
	}{
		{&l.RequestMemory, d.RequestMemory, largestRequest},
		{&l.AnswerMemory, d.AnswerMemory, largestAnswer},
		{&l.ConnMemory, d.ConnMemory, largestAnswer},
		{&l.AccountMemory, d.AccountMemory, largestAnswer},
		{&l.AddressMemory, d.AddressMemory, largestAnswer},
		{&l.OpenMemory, d.OpenMemory, largestRequest},
		{&l.OpenAddressMemory, d.OpenAddressMemory, largestRequest},
		{&l.MinRate, d.MinRate, 1},
	} {
		if *f.value <= 0 {
			*f.value = f.def
		}
		*f.value = max(*f.value, f.least)
	}
	l.BoundCalls = max(l.BoundCalls, l.OpenCalls)
}

const (
	// smallRequest is up to how many bytes a request is not counted: less than
	// what its stream costs anyway.
	smallRequest = 4 << 10
	// smallHold is up to how many bytes a call may have of the part of the memory
	// that is kept for what is small: an answer of 64 KiB, as message and as frame.
	smallHold = 128 << 10
	// smallShare is which part of the memory, and of each share, is kept for what is
	// small: one in so many.
	smallShare = 8
	// largestRequest and largestAnswer are the least shares, in bytes: one in all but
	// the part that is kept for small ones.
	largestRequest = schemas.MaxRequest * smallShare / (smallShare - 1)
	largestAnswer  = 2 * schemas.MaxResponse * smallShare / (smallShare - 1)
	// slowAfter and slowRate say which transfer gives its memory to another that finds
	// none: it is that old and has moved fewer bytes a second than that. The slowest
	// goes first.
	slowAfter = time.Second
	slowRate  = 256 << 10
	// calmTime is how long nobody is looked for who is slow after none was found.
	calmTime = 10 * time.Millisecond
	// transferStep is how many bytes a transfer moves before its time is judged anew.
	transferStep = 32 << 10
	// roomPatience is how long a request waits for memory before it is refused.
	roomPatience = 5 * time.Second
	// keptBuffer is the largest buffer that goes back to the pool, in bytes, so
	// that a rare large call does not stay in memory forever.
	keptBuffer = 64 << 10
	// smallMethod bounds the requests of methods that carry a few ids and keys.
	smallMethod = 4 << 10

	// setupTrust is how long a node uses the OPAQUE setup without looking whether
	// it was rotated.
	setupTrust = time.Second
	// lookupTime is how long it takes to look a name up for a login, whether it has
	// an account or not: more than twice what an account in memory takes.
	lookupTime = 5 * time.Microsecond

	// endGrace is how long a node that is about to stop still answers, with
	// UNAVAILABLE, what comes on a stream that was idle.
	endGrace = 100 * time.Millisecond
	// answerTime is how long before the end of its call a wait ends that found
	// nothing: the answer that says so must come in time.
	answerTime = 250 * time.Millisecond
	// retrySubscribe is when a connection may try again that has as many
	// subscriptions as it may.
	retrySubscribe = 5 * time.Second

	// revouchEvery is how long a connection keeps the limits of one with a session
	// after its session has ended, if it says nothing that needs one.
	revouchEvery = time.Second

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
