package rpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"quicproquo/cluster"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// refusal is an answer that is not a result. It is the only error whose words
// reach the client, and only detail does; cause is for the log.
type refusal struct {
	code       schemas.Code
	value      uint64
	retryAfter time.Duration
	detail     string
	cause      error
}

func refuse(code schemas.Code) *refusal { return &refusal{code: code} }

// malformed refuses parameters that can't be read.
func malformed(cause error) *refusal {
	return &refusal{code: schemas.Code_malformed, cause: cause}
}

func (r *refusal) Error() string {
	text := r.code.ID() + " " + r.code.Doc().Name
	if r.cause != nil {
		return fmt.Sprintf("%s: %v", text, r.cause)
	}
	return text
}

func (r *refusal) Unwrap() error { return r.cause }

// codes are the errors of the floors below that are answers, not faults.
var codes = [...]struct {
	err  error
	code schemas.Code
}{
	// The two that must never be mixed up.
	{cluster.ErrUnknownOutcome, schemas.Code_unknownOutcome},
	{cluster.ErrUnavailable, schemas.Code_unavailable},

	{cluster.ErrClosed, schemas.Code_unavailable},
	{cluster.ErrDiskFull, schemas.Code_diskFull},
	{cluster.ErrFeatureLevel, schemas.Code_featureLevel},
	{cluster.ErrMemberUnknown, schemas.Code_memberUnknown},
	{cluster.ErrMemberExists, schemas.Code_memberExists},
	{fsm.ErrClosed, schemas.Code_unavailable},
	{schemas.ErrMalformed, schemas.Code_malformed},
	{schemas.ErrTooLarge, schemas.Code_messageTooLarge},
	// Of reads only: a write's outcome is the proposer's to tell.
	{context.DeadlineExceeded, schemas.Code_deadlineExceeded},
	{context.Canceled, schemas.Code_deadlineExceeded},
}

// refusalOf is the translation between Go errors and codes, the only one. What
// is not expected is INTERNAL: its text stays in the log, under an id that the
// client gets.
func (c *call) refusalOf(err error) *refusal {
	if r, is := errors.AsType[*refusal](err); is {
		return r
	}
	for _, known := range codes {
		if errors.Is(err, known.err) {
			return &refusal{code: known.code, cause: err}
		}
	}
	if c.ctx != nil && c.ctx.Err() != nil {
		// The client has reset the stream or left: nobody reads this.
		return &refusal{code: schemas.Code_deadlineExceeded, cause: err}
	}
	return c.internal(err)
}

// refusalIn returns the refusal that the store's rules gave, nil for a result.
func refusalIn(result fsm.Result) error {
	if result.Code == schemas.Code_ok {
		return nil
	}
	return &refusal{code: result.Code, value: result.Value, retryAfter: waitOf(result.Code, result.Value)}
}

// internal hides a fault behind an id.
func (c *call) internal(err error, more ...any) *refusal {
	id := faultID()
	attrs := append([]any{slog.String("fault", id), slog.Any("error", err)}, more...)
	c.conn.log.With(slog.String("method", c.name())).Error("call failed inside", attrs...)
	return &refusal{code: schemas.Code_internal, cause: err, detail: "Fault " + id + "."}
}

// faultID is short enough to be read out over the telephone.
func faultID() string {
	var id [5]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// message is what the client's user reads.
func (r *refusal) message() string {
	text := r.code.Doc().Meaning
	if r.code == schemas.Code_rateLimited && r.retryAfter > 0 {
		// Rounded up: who waits for so long is not refused once more.
		text += fmt.Sprintf(" Try again in %s.", (r.retryAfter + time.Second - 1).Truncate(time.Second))
	}
	if r.detail == "" {
		return text
	}
	return text + " " + r.detail
}

// write puts the refusal into a response.
func (r *refusal) write(to schemas.Response) error {
	failure, err := to.NewError()
	if err != nil {
		return err
	}
	failure.SetCode(r.code)
	failure.SetValue(r.value)
	failure.SetRetryAfterMs(uint32(min(r.retryAfter.Milliseconds(), math.MaxUint32)))
	return failure.SetMessage_(r.message())
}
