package client

import (
	"context"
	"errors"
	"testing"

	"quicproquo/schemas"
)

// A login whose outcome is unknown is begun anew, a few times: the refusal that says that
// the cluster does not know this device came after an answer that was lost, and was told
// as an unknown outcome (seen once in 35 registrations on a healthy cluster).
func TestLoginWithAnUnknownOutcomeIsBegunAnew(t *testing.T) {
	unknown := &Error{Code: schemas.Code_unknownOutcome}
	refusal := &Error{Code: schemas.Code_deviceNotFound}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		what    string
		ctx     context.Context
		answers []error
		want    error
		tries   int
	}{
		{"it works", t.Context(), []error{nil}, nil, 1},
		{"refused", t.Context(), []error{refusal}, refusal, 1},
		{"unknown, then refused", t.Context(), []error{unknown, refusal}, refusal, 2},
		{"unknown, then it works", t.Context(), []error{unknown, nil}, nil, 2},
		{"always unknown", t.Context(), []error{unknown, unknown, unknown, unknown}, unknown, loginTries},
		{"unknown, and the time is over", over, []error{unknown, nil}, unknown, 1},
	} {
		tries := 0
		err := untilKnown(tt.ctx, func() error { tries++; return tt.answers[tries-1] })
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || tries != tt.tries {
			t.Errorf("%s: %v after %d tries, want %v after %d", tt.what, err, tries, tt.want, tt.tries)
		}
	}
}
