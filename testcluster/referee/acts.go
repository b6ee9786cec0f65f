package referee

import (
	"errors"
	"time"

	"quicproquo/schemas"
	"quicproquo/testcluster/liar"
)

// What is played, each once.
const (
	actLate     = "late"     // an answer that comes after lateTime
	actUnknown  = "unknown"  // a write that is carried out and answered E032
	actLost     = "lost"     // a write that is carried out and whose answer is lost
	actLagging  = "lagging"  // a read that is answered E038
	actRate     = "rate"     // a call that is answered E013 with a wait
	actRestored = "restored" // a read that is answered E049, once
	actStop     = "stop"     // a node that stops in order
	actDeath    = "death"    // a node that dies
	actFull     = "full"     // a subscription that is one too many
)

// What the acts take.
const (
	lateTime = 2500 * time.Millisecond
	rateTime = 1200 * time.Millisecond
	stopTime = 300 * time.Millisecond
)

// errLost ends a stream without an answer.
var errLost = errors.New("the answer is lost")

// once tells whether an act is to be played to a call now: to the first that it is for.
func (r *Referee) once(act string, call *Call) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.played[act] != nil {
		return false
	}
	r.played[act], call.Act = call, act
	return true
}

func (r *Referee) was(act string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.played[act] != nil
}

// play is what happens before a call is carried out.
func (f *front) play(call *Call, c *liar.Call) error {
	r := f.referee
	switch call.Method {
	case "resolveUser", "fetchKeyPackage", "fetchKeyPackages":
		if r.once(actRate, call) {
			return c.Refuse(schemas.Code_rateLimited, 0, rateTime)
		}
	case "whoami", "listChannels", "listDevices", "keyPackageCount":
		if call.Seen > 0 && r.once(actLagging, call) {
			return c.Refuse(schemas.Code_lagging, call.Seen-1, 100*time.Millisecond)
		}
	case "subscribe":
		if r.once(actFull, call) {
			return c.Refuse(schemas.Code_rateLimited, 0, rateTime)
		}
		return f.read(call, c)
	case "fetchWait", "fetch", "peek":
		return f.read(call, c)
	}
	return nil
}

// read plays what is for reads of queues: a cluster that was restored, and, once another
// node has stopped, one that dies.
func (f *front) read(call *Call, c *liar.Call) error {
	r := f.referee
	if call.Seen > 1 && r.once(actRestored, call) {
		return c.Refuse(schemas.Code_seenTooFarAhead, call.Seen-1, 0)
	}
	if r.was(actStop) && r.alive() > 1 && r.once(actDeath, call) {
		f.die()
		return errLost
	}
	return nil
}

// playAfter is what happens to an answer. call was carried out.
func (f *front) playAfter(call *Call, c *liar.Call) error {
	r := f.referee
	if r.quiet || call.Act != "" || c.Response.Which() != schemas.Response_Which_results {
		return nil
	}
	switch call.Method {
	case "createChannel":
		if r.once(actLate, call) {
			select {
			case <-time.After(lateTime):
			case <-c.Context().Done():
			}
		}
	case "enqueue", "batchEnqueue":
		return r.unsettle(call, c)
	case "ack":
		if r.once(actStop, call) {
			f.stop()
		}
	}
	return nil
}

// unsettle takes the outcome of the first write from the client, and of the next one its
// answer.
func (r *Referee) unsettle(call *Call, c *liar.Call) error {
	if r.once(actUnknown, call) {
		return c.Refuse(schemas.Code_unknownOutcome, 0, 0)
	}
	r.mu.Lock()
	repeated := r.played[actUnknown].RequestID == call.RequestID
	r.mu.Unlock()
	if !repeated && r.once(actLost, call) {
		return errLost
	}
	return nil
}
