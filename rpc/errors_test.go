package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"quicproquo/cluster"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// Every error of the floors below has its code; two that mean opposite things
// about a write keep apart even when one wraps the other; what is not foreseen
// is INTERNAL; and no client reads an error's words.
func TestErrorsBecomeCodes(t *testing.T) {
	both := fmt.Errorf("%w: last attempt: %w", cluster.ErrUnknownOutcome, cluster.ErrUnavailable)
	for _, c := range []struct {
		err  error
		want schemas.Code
	}{
		{cluster.ErrUnavailable, schemas.Code_unavailable},
		{cluster.ErrUnknownOutcome, schemas.Code_unknownOutcome},
		{both, schemas.Code_unknownOutcome},
		{fmt.Errorf("%w: %w", cluster.ErrUnavailable, context.DeadlineExceeded), schemas.Code_unavailable},
		{fmt.Errorf("%w: %w", cluster.ErrUnknownOutcome, context.DeadlineExceeded), schemas.Code_unknownOutcome},
		{fmt.Errorf("open view: %w", fsm.ErrClosed), schemas.Code_unavailable},
		{cluster.ErrDiskFull, schemas.Code_diskFull},
		{cluster.ErrFeatureLevel, schemas.Code_featureLevel},
		{cluster.ErrBadEntry, schemas.Code_internal}, // we built it
		{cluster.ErrDiverged, schemas.Code_internal},
		{fmt.Errorf("confirm round: %w", context.DeadlineExceeded), schemas.Code_deadlineExceeded},
		{refuse(schemas.Code_channelNotFound), schemas.Code_channelNotFound},
		{refusalIn(fsm.Result{Code: schemas.Code_queueFull, Value: 9}), schemas.Code_queueFull},
		{io.ErrUnexpectedEOF, schemas.Code_internal},
		{errors.New("pebble: /var/lib/qpqd is on fire"), schemas.Code_internal},
	} {
		one := newCall(newConn(NewServer(newFakeNode(1), Options{}), quiet()), newFakeStream(nil))
		got := one.refusalOf(c.err)
		if got.code != c.want {
			t.Errorf("%v: got %s, want %s", c.err, got.code.ID(), c.want.ID())
		}
		if strings.Contains(got.message(), "fire") || !strings.HasPrefix(got.message(), c.want.Doc().Meaning) {
			t.Errorf("%v: the client reads %q", c.err, got.message())
		}
		one.release()
	}
	if err := refusalIn(fsm.Result{Value: 9}); err != nil {
		t.Errorf("a result is no refusal: %v", err)
	}
}

// Who has to wait is told for how long, in whole seconds: so many that it is enough.
func TestRateLimitedSaysHowLong(t *testing.T) {
	for ms, want := range map[uint64]string{1: "Try again in 1s.", 1000: "Try again in 1s.", 61_001: "Try again in 1m2s."} {
		r, is := errors.AsType[*refusal](refusalIn(fsm.Result{Code: schemas.Code_rateLimited, Value: ms}))
		if !is || !strings.HasSuffix(r.message(), want) {
			t.Errorf("a wait of %d ms is told as %q, want %q at the end", ms, r.message(), want)
		}
	}
	if text := refuse(schemas.Code_rateLimited).message(); strings.Contains(text, "Try again in") {
		t.Errorf("no wait is told as %q", text)
	}
}
