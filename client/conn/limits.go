package conn

import "time"

const (
	// maxEndpoints bounds the list of nodes that a client knows.
	maxEndpoints = 64
	// maxStreams is how many calls of one Conn are on their way at once; more
	// wait. The server allows 64 streams a connection.
	maxStreams = 32
	// maxIdleStream is how long a finished stream is kept for the next call. The
	// server ends idle ones after three minutes.
	maxIdleStream = 2 * time.Minute
	// keptBuffer is the largest buffer that is kept for the next call, in bytes.
	keptBuffer = 64 << 10

	// maxAddresses bounds how many addresses of one name are tried.
	maxAddresses = 8
	// dialTimeout bounds the attempt to reach one endpoint, over all its addresses; a
	// client that is patient by experience waits for as long as its patience, and up to
	// maxDialTimeout.
	dialTimeout    = 5 * time.Second
	maxDialTimeout = 10 * time.Second
	// staggerShare of the patience goes by before an endpoint is tried beside one that
	// does not answer.
	// No more than maxStagger: a client of which all nodes were away must notice soon
	// that one is back.
	staggerShare = 4
	maxStagger   = time.Second
	// maxDialers is how many Conns of a process dial at once. Who has waited for
	// dialerWait goes all the same, one in dialerEvery.
	maxDialers  = 64
	dialerWait  = time.Second
	dialerEvery = 50 * time.Millisecond
	// idleTimeout is after how much silence a connection is given up.
	idleTimeout = 30 * time.Second
	// keepAlive is well below idleTimeout, and below the 30 seconds after which
	// careless NATs forget a UDP flow.
	keepAlive = 10 * time.Second

	// pushTime bounds the reading of one response of a subscription.
	pushTime = 15 * time.Second
	// pushSilence is how long a node may send no response to a subscription. It
	// sends an empty one about every 30 seconds.
	pushSilence = 90 * time.Second
	// pushTick is how often a subscription that waits looks whether the node is
	// there.
	pushTick = 2 * time.Second

	// badPause and maxBadPause are how long an endpoint that failed is avoided:
	// doubled for each failure in a row, with jitter.
	badPause    = 250 * time.Millisecond
	maxBadPause = 15 * time.Second
	// retryPause and maxRetryPause are the pauses between the attempts of a
	// call after every endpoint was tried: doubled each time, with jitter.
	retryPause    = 25 * time.Millisecond
	maxRetryPause = time.Second
	// maxElsewhere bounds how long a node that can't serve now is avoided, whatever
	// it asks for: a client that knows no other would wait.
	maxElsewhere = time.Minute
	// maxLater is how often a call is repeated that was refused with "later"
	// before the refusal is reported: such a refusal is news for the program.
	maxLater = 3
	// minAttempt is the least time that an attempt gets, if the caller has it.
	minAttempt = time.Second
	// minRepeat, and a round trip, is the least time in which an attempt is
	// repeated. With less, a write would only trade a known outcome for an
	// open one.
	minRepeat = 50 * time.Millisecond
)
