package conn

import (
	"context"
	"errors"
	"os"
	"time"

	"quicproquo/schemas"
)

// outcome is what became of one attempt.
type outcome struct {
	err  error // nil: results
	sent bool  // the request may have reached the node
}

// answered reports whether an error is a node's answer.
func answered(err error) bool {
	_, is := errors.AsType[*Error](err)
	return is
}

// history is what a call has learned from its attempts.
type history struct {
	request *Request
	// open: an attempt may have been applied, and no result told so. Only a
	// result closes it: a refusal speaks of its own attempt, and an earlier one
	// may still be on its way to the log.
	open  bool
	last  error // of the last attempt
	later int   // refusals with "later" so far
	ahead int   // refusals of what was seen so far
	keep  bool  // what was seen stays: Options.KeepSeen
	pause time.Duration
}

// step is what follows an attempt.
type step struct {
	stop      bool
	elsewhere bool // another node, if there is one
	renew     bool // with another request id: this one's outcome is the refusal
	here      bool // the same node, at once
	correct   bool // the cluster has not what was seen: it was seen, and this it has
	seen, has uint64
	pause     time.Duration
}

// judge says what follows an attempt that gave no result. It is the code
// table's Retry column; left is the call's remaining time.
func (h *history) judge(o outcome, left time.Duration) step {
	if h.last == nil || !late(o.err) {
		h.last = o.err // that the time is over tells less than what went before
	}
	failure, is := errors.AsType[*Error](o.err)
	if !is {
		// Sent and not answered: a write may have been applied.
		h.open = h.open || o.sent && h.request.Write
		final := errors.Is(o.err, ErrClosed) || errors.Is(o.err, ErrSessionReplaced) || errors.Is(o.err, ErrUntrusted)
		return step{stop: final, elsewhere: true}
	}
	if failure.Code == schemas.Code_seenTooFarAhead && failure.Value < failure.seen && !h.keep {
		h.ahead++
		once := h.ahead == 1
		return step{here: once, elsewhere: !once, correct: true, seen: failure.seen, has: failure.Value}
	}
	switch failure.Code.Doc().Retry {
	case schemas.Retry_elsewhere:
		return step{elsewhere: true, pause: min(failure.RetryAfter, maxElsewhere)}
	case schemas.Retry_later:
		h.later++
		return step{
			stop: h.later > maxLater || failure.RetryAfter > left, pause: failure.RetryAfter,
			renew: h.request.own && !h.open,
		}
	case schemas.Retry_sameRequestId:
		h.open = h.open || h.request.Write
		return step{elsewhere: true}
	default:
		return step{stop: true}
	}
}

// late tells the end of the caller's time or patience.
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// backoff returns the pause before the next attempt and doubles the one after.
func (h *history) backoff() time.Duration {
	pause := h.pause
	h.pause = min(2*h.pause, maxRetryPause)
	return Jitter(pause)
}

// verdict is the error of a call that gives up: never surer than what is known.
func (h *history) verdict(ctx context.Context) error {
	cause := ctx.Err()
	if h.open {
		return &Error{
			Code: schemas.Code_unknownOutcome, RequestID: h.request.ID,
			Message: schemas.Code_unknownOutcome.Doc().Meaning, cause: flatten(cause, h.last),
		}
	}
	if failure, is := errors.AsType[*Error](h.last); is {
		if cause != nil {
			failure.cause = cause
		}
		return failure
	}
	if errors.Is(h.last, ErrClosed) || errors.Is(h.last, ErrSessionReplaced) {
		return h.last
	}
	code := schemas.Code_unavailable
	if late(h.last) || errors.Is(h.last, os.ErrDeadlineExceeded) {
		code = schemas.Code_deadlineExceeded
	}
	return &Error{Code: code, Message: code.Doc().Meaning, cause: errors.Join(cause, h.last)}
}

// flatten keeps a refusal of the last attempt as words only: whoever asks an
// unknown outcome for its code must get that code and no other.
func flatten(cause, last error) error {
	if answered(last) {
		last = errors.New("the last attempt was answered with " + last.Error())
	}
	return errors.Join(cause, last)
}
