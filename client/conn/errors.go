package conn

import (
	"errors"
	"fmt"
	"time"

	"quicproquo/schemas"
)

// ErrClosed is returned by calls on a Conn that is closed.
var ErrClosed = errors.New("client connection is closed")

// Errors to compare with errors.Is; any other code works the same way with
// Is(err, code).
var (
	// ErrUnavailable means that the call was certainly not carried out.
	ErrUnavailable = &Error{Code: schemas.Code_unavailable}
	// ErrUnknownOutcome means that a write may or may not have been applied.
	// Whoever repeats it must use the same request id (Error.RequestID).
	ErrUnknownOutcome = &Error{Code: schemas.Code_unknownOutcome}
	// ErrTokenMissing means that the method needs a session.
	ErrTokenMissing = &Error{Code: schemas.Code_tokenMissing}
)

// Error is a call that did not give a result.
type Error struct {
	Code    schemas.Code
	Message string // for people
	// RetryAfter is when to try again, 0 if the server did not say.
	RetryAfter time.Duration
	// Value is the number that the code speaks of: a limit, an epoch, an index.
	Value uint64
	// RequestID is the id that a write with an unknown outcome was sent with.
	RequestID []byte

	seen  uint64 // what the call that was refused said that it had seen
	cause error
}

func (e *Error) Error() string {
	text := e.Code.ID() + " " + e.Code.Doc().Name
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.cause != nil {
		text = fmt.Sprintf("%s (%v)", text, e.cause)
	}
	return text
}

// Is reports whether target is an Error of the same code.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// Unwrap returns what kept the call from an answer, such as the context's error.
func (e *Error) Unwrap() error { return e.cause }

// Hint is what to do about the error.
func (e *Error) Hint() string { return e.Code.Doc().Hint }

// CodeOf returns the code of an error from this package; ok for nil, internal
// for an error that has none.
func CodeOf(err error) schemas.Code {
	if err == nil {
		return schemas.Code_ok
	}
	if e, is := errors.AsType[*Error](err); is {
		return e.Code
	}
	return schemas.Code_internal
}

// Is reports whether err is an Error with this code.
func Is(err error, code schemas.Code) bool { return err != nil && CodeOf(err) == code }
