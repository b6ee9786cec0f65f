package conn

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/client/internal/scripted"
	"quicproquo/schemas"
)

// A time to live travels in whole seconds, never less than was asked for.
func TestTTLIsRoundedUp(t *testing.T) {
	for _, c := range []struct {
		ttl  time.Duration
		want uint32
	}{
		{0, 0},
		{1, 1},
		{time.Second, 1},
		{time.Second + 1, 2},
		{30 * 24 * time.Hour, 2_592_000},
		{1<<63 - 1, 1<<32 - 1},
	} {
		if got, err := ttlSecs(c.ttl); err != nil || got != c.want {
			t.Errorf("%v: got %d, %v; want %d", c.ttl, got, err, c.want)
		}
	}
	if _, err := ttlSecs(-1); err == nil {
		t.Error("a negative time to live was taken")
	}
}

// Without a session nothing is sent: the program hears what it forgot.
func TestQueueCallsNeedASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{scripted.NewCluster(t, 1, func(scripted.Request) scripted.Reply { return scripted.Reply{} })}
		conn := c.open(t)
		ctx := within(t, time.Minute)
		_, enqueue := conn.Enqueue(ctx, Message{Payload: []byte("x")})
		_, batch := conn.BatchEnqueue(ctx, Batch{Payload: []byte("x"), Recipients: make([]Recipient, 1)})
		_, ack := conn.Ack(ctx, Queue{}, 1)
		_, drain := conn.Drain(ctx, Queue{}, 1, nil)
		_, _, create := conn.CreateChannel(ctx, AccountKey{1})
		_, _, list := conn.ListChannels(ctx, ChannelID{}, 0)
		for name, err := range map[string]error{
			"enqueue": enqueue, "batchEnqueue": batch, "ack": ack, "drain": drain, "createChannel": create, "listChannels": list,
		} {
			if !Is(err, schemas.Code_tokenMissing) {
				t.Errorf("%s: got %v, want TOKEN_MISSING", name, err)
			}
		}
		if got := c.Requests(); len(got) != 0 {
			t.Errorf("%d requests were sent", len(got))
		}
	})
}

// Answers that do not fit their calls are errors, not results: too few outcomes,
// ids of the wrong length.
func TestAnswersThatDoNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The scripted node answers every call with an empty struct.
		c := &cluster{scripted.NewCluster(t, 1, func(scripted.Request) scripted.Reply { return scripted.Reply{} })}
		conn := c.open(t)
		conn.SetSession(&Session{Account: AccountKey{1}})
		ctx := within(t, time.Minute)
		if outcomes, err := conn.BatchEnqueue(ctx, Batch{Payload: []byte("x"), Recipients: make([]Recipient, 2)}); err == nil {
			t.Errorf("no outcomes for two recipients are %+v", outcomes)
		}
		if id, _, err := conn.CreateChannel(ctx, AccountKey{2}); err == nil {
			t.Errorf("no channel id is %x", id)
		}
		if list, err := conn.Drain(ctx, Queue{}, 1, nil); err != nil || len(list) != 0 {
			t.Errorf("an empty queue gives %+v, %v", list, err)
		}
	})
}

// A write whose answer was lost is repeated under its request id, and its error
// names the id for later.
func TestQueueWritesKeepTheirID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{scripted.NewCluster(t, 1, func(scripted.Request) scripted.Reply { return scripted.Reply{Code: schemas.Code_unknownOutcome} })}
		conn := c.open(t)
		conn.SetSession(&Session{Account: AccountKey{1}})
		_, err := conn.Enqueue(within(t, 2*time.Second), Message{Payload: []byte("x")})
		failure, is := errors.AsType[*Error](err)
		if !is || failure.Code != schemas.Code_unknownOutcome {
			t.Fatalf("got %v", err)
		}
		requests := c.Requests()
		if len(requests) < 2 {
			t.Fatalf("%d requests prove nothing", len(requests))
		}
		for _, r := range requests {
			if string(r.ID) != string(failure.RequestID) || len(r.ID) != schemas.RequestIDSize {
				t.Errorf("a request has the id %x, the error %x", r.ID, failure.RequestID)
			}
		}
		before := len(requests)
		_, err = conn.Enqueue(within(t, time.Second), Message{Payload: []byte("x"), RequestID: failure.RequestID})
		if again := c.Requests(); !Is(err, schemas.Code_unknownOutcome) || len(again) == before || string(again[before].ID) != string(failure.RequestID) {
			t.Errorf("the repeated call did not use the id: %v", err)
		}
	})
}
