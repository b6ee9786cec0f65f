package rpc

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// withAuth fills in the auth of a call as alice on her phone.
func (w *world) withAuth(newAuth func() (schemas.Auth, error)) error {
	auth, err := newAuth()
	must(w.tb, err)
	auth.SetVersion(schemas.AuthVersion)
	return auth.SetAccessToken(w.onPhone)
}

// timed is a request with a time for the whole call; 0: none is named.
func timed(t *testing.T, frame []byte, timeout time.Duration) []byte {
	t.Helper()
	msg, err := schemas.Unmarshal(frame)
	must(t, err)
	request, err := schemas.ReadRootRequest(msg)
	must(t, err)
	request.SetTimeoutMs(uint32(timeout.Milliseconds()))
	frame, err = msg.Marshal()
	must(t, err)
	return frame
}

// A fetchWait waits as long as it asks for, and when the time of the call is shorter,
// until just before that is over: its empty answer comes in time. On fake time.
func TestTheTwoTimesOfFetchWait(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ wait, call, took time.Duration }{
		{time.Second, 0, time.Second},
		{schemas.MaxWait, 0, schemas.MaxWait},
		{time.Second, 5 * time.Second, time.Second},
		{10 * time.Second, 2 * time.Second, 2*time.Second - answerTime},
		{schemas.MaxWait, schemas.MaxCallTimeout, schemas.MaxCallTimeout - answerTime},
		{10 * time.Second, 100 * time.Millisecond, 0},
		{0, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeStream(timed(t, frameWith(t, 4, nil, schemas.NewFetchWaitParams, func(p schemas.FetchWaitParams) error {
				p.SetVersion(schemas.WireVersion)
				p.SetTimeoutMs(uint64(c.wait.Milliseconds()))
				return errors.Join(p.SetRecipientKey(w.alice.key[:]), w.withAuth(p.NewAuth))
			}), c.call))
			start := time.Now()
			newConn(NewServer(w.node, Options{Limits: Limits{Rates: Off}}), quiet()).serveStream(s)
			r := parseRaw(t, s.out.Bytes())
			if took := time.Since(start); r.failure.code != schemas.Code_ok || took != c.took {
				t.Errorf("a wait of %v in a call of %v: %s after %v, want an empty list after %v", c.wait, c.call, named(r.failure.code), took, c.took)
			}
		})
	}
}

// The time of a subscribe call is that of its first response: when the node has no memory
// for it the call ends then, and not later. On fake time.
func TestSubscribeKeepsItsTime(t *testing.T) {
	w := newWorld(t)
	w.node.put(t, fsm.QueueID{Owner: w.alice.key, Device: w.phone}, string(make([]byte, 64<<10)))
	for _, c := range []struct{ call, took time.Duration }{
		{0, schemas.DefaultCallTimeout},
		{2 * time.Second, 2 * time.Second},
		{30 * time.Second, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := untilAnswered(timed(t, frameWith(t, 33, nil, schemas.NewSubscribeParams, func(p schemas.SubscribeParams) error {
				return w.withAuth(p.NewAuth)
			}), c.call))
			server := NewServer(w.node, Options{Limits: Limits{Rates: Off}})
			fill(t, server.answers, server.limits.AnswerMemory)
			start := time.Now()
			newConn(server, quiet()).serveStream(s)
			r := parseRaw(t, s.out.Bytes())
			if took := time.Since(start); r.failure.code != schemas.Code_rateLimited || took != c.took {
				t.Errorf("a subscribe of %v: %s after %v, want %v", c.call, named(r.failure.code), took, c.took)
			}
		})
	}
}
