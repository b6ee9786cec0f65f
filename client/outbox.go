package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
	"quicproquo/schemas"
)

// Times of the outbox.
const (
	sendTimeout  = 30 * time.Second
	firstRetry   = 500 * time.Millisecond
	longestRetry = 5 * time.Minute
)

// maxSenders bounds how many conversations send at the same time.
const maxSenders = 8

// send empties the outbox, each conversation in its order, until ctx ends.
func (c *Client) send(ctx context.Context) {
	slots := make(chan struct{}, maxSenders)
	for {
		changed := c.changes()
		var senders []vault.ConversationID
		if err := c.look(func(t *turn) (err error) { senders, err = t.Senders(); return err }); err != nil {
			c.log.Error("read the outbox", "error", err)
		}
		for _, id := range senders {
			if !c.claim(c.sending, id) {
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				c.release(c.sending, id)
				return
			}
			c.net.tasks.Go(func() {
				defer func() { <-slots }()
				defer c.release(c.sending, id)
				c.sendAll(ctx, id)
			})
		}
		if !c.pause(ctx, changed, longestRetry) {
			return
		}
	}
}

// claim takes a conversation for one worker.
func (c *Client) claim(work map[vault.ConversationID]bool, id vault.ConversationID) bool {
	c.workMu.Lock()
	defer c.workMu.Unlock()
	if work[id] {
		return false
	}
	work[id] = true
	return true
}

func (c *Client) release(work map[vault.ConversationID]bool, id vault.ConversationID) {
	c.workMu.Lock()
	defer c.workMu.Unlock()
	delete(work, id)
}

// sendAll sends what a conversation has in the outbox until nothing is left that
// can be sent.
func (c *Client) sendAll(ctx context.Context, id vault.ConversationID) {
	for ctx.Err() == nil {
		changed := c.changes()
		out, err := c.nextOutgoing(ctx, id)
		if err != nil {
			c.log.Error("read the outbox", "conversation", idText(id), "error", err)
			return
		}
		if out == nil {
			return
		}
		if wait := out.Next.Sub(c.now()); wait > 0 || out.Payload == nil {
			if out.Payload == nil && wait <= 0 {
				wait = longestRetry
			}
			c.pause(ctx, changed, wait)
			continue
		}
		if err := c.transmit(ctx, out); err != nil && ctx.Err() == nil {
			c.log.Warn("send a message", "conversation", idText(id), "error", err)
		}
	}
}

// nextOutgoing returns the oldest message of a conversation, encrypted in its present
// epoch. What was encrypted in an earlier one is encrypted anew, since those who
// came later could not read it: whoever gets both knows them by their id.
func (c *Client) nextOutgoing(ctx context.Context, id vault.ConversationID) (out *vault.Outgoing, err error) {
	err = c.look(func(t *turn) error {
		if out, err = t.FirstOutgoing(id); err != nil || out == nil {
			return err
		}
		row, err := t.talk(id)
		if err == nil && len(out.Content) > 0 && (row.usable() != nil || row.group != nil && out.Epoch != row.group.Epoch()) {
			out.Payload = nil
		}
		return err
	})
	if err != nil || out == nil || out.Payload != nil {
		return out, err
	}
	if !c.mayEncrypt() {
		if out.Next.After(c.now()) {
			return out, nil
		}
		if failure := c.beginKeys(ctx); failure != nil {
			return out, c.turn(func(t *turn) error { return t.transmitted(out, nil, failure) })
		}
	}
	return out, c.turn(func(t *turn) error {
		row, err := t.talk(id)
		if err != nil {
			return err
		}
		if waits, err := t.waits(row); err != nil || waits && row.usable() != nil {
			return err
		}
		if row.usable() != nil {
			return t.unsendable(row, out)
		}
		if err := t.seal(row, out); err != nil || out.Payload == nil {
			return err
		}
		return t.SetOutgoing(out)
	})
}

// unsendable gives a message up: the conversation is over.
func (t *turn) unsendable(row *talk, out *vault.Outgoing) error {
	t.notable = true
	if out.Message != 0 {
		if err := t.RaiseStatus(out.Message, statusFailed); err != nil {
			return err
		}
		note := notice{Note: "a message was not sent: you are not a member any more"}
		if row.State == stateBroken {
			note.Note = "a message was not sent: " + row.Reason
		}
		if err := t.event(row, EventFailed, out.Message, note); err != nil {
			return err
		}
	}
	return t.giveUp(out, row.usable())
}

// giveUp takes a message that will never be sent out of the outbox.
func (t *turn) giveUp(out *vault.Outgoing, reason error) error {
	t.then(func() {
		t.c.mu.Lock()
		defer t.c.mu.Unlock()
		if len(t.c.unsent) > maxWaiters { // of those that nobody asked for
			clear(t.c.unsent)
		}
		t.c.unsent[out.ID] = reason
	})
	return t.DeleteOutgoing(out.ID)
}

// transmit sends a message to everybody who has not got it yet, and notes what
// became of it.
func (c *Client) transmit(ctx context.Context, out *vault.Outgoing) error {
	var calls []call
	if err := json.Unmarshal(out.Calls, &calls); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	var left []call
	var failure error
	reached, others := false, false
	for i, one := range calls {
		c.rate.Message(c.now())
		outcomes, err := c.conn.BatchEnqueue(ctx, conn.Batch{
			Recipients: one.To, Channel: one.Channel, Payload: out.Payload, RequestID: one.RequestID,
		})
		if err != nil {
			c.noteRate(err)
			left, failure = append(left, calls[i:]...), err
			break
		}
		others = others || slices.ContainsFunc(one.To, c.another)
		reached = reached || one.Reached || c.reaches(one, outcomes)
		if rest := undelivered(one, outcomes); len(rest.To) > 0 {
			left = append(left, rest)
			failure = fmt.Errorf("%d of %d devices have no room", len(rest.To), len(one.To))
		}
	}
	if len(left) == 0 && others && !reached {
		failure = errNobodyLeft
	}
	for i := range left {
		left[i].Reached = left[i].Reached || reached
	}
	err := c.turn(func(t *turn) error { return t.transmitted(out, left, failure) })
	if err == nil {
		err = failure
	}
	return err
}

// another reports whether a recipient is somebody else.
func (c *Client) another(r conn.Recipient) bool { return r.Account != c.account() }

// reaches reports whether a device of somebody else has got what a call has brought.
func (c *Client) reaches(one call, outcomes []conn.Outcome) bool {
	for i, o := range outcomes {
		if o.Err == nil && c.another(one.To[i]) {
			return true
		}
	}
	return false
}

// errNobodyLeft means that the cluster knows none of the devices that a message is for.
var errNobodyLeft = errors.New("none of the devices that it was for exists any more")

// undelivered is the call that is left for those who had no room. Devices that do
// not exist any more get nothing.
func undelivered(one call, outcomes []conn.Outcome) call {
	id := newID()
	rest := call{RequestID: id[:], Channel: one.Channel}
	for i, o := range outcomes {
		if o.Err != nil && conn.CodeOf(o.Err).Doc().Retry == schemas.Retry_later {
			rest.To = append(rest.To, one.To[i])
		}
	}
	return rest
}

// transmitted notes what became of a message: it is sent, or waits for another try.
// A refusal that trying again can't change ends it.
func (t *turn) transmitted(out *vault.Outgoing, left []call, failure error) error {
	t.notable = true
	row, err := t.talk(out.Conversation)
	if err != nil {
		return err
	}
	if failure == nil || slices.ContainsFunc(left, func(one call) bool { return one.Reached }) {
		if err := t.sentAs(out); err != nil {
			return err
		}
	}
	t.signal(Signal{Kind: SignalConversation, Conversation: idText(row.ID)})
	if len(left) == 0 && failure == nil {
		if err := t.RaiseStatus(out.Message, statusSent); err != nil {
			return err
		}
		return t.DeleteOutgoing(out.ID)
	}
	if e := (*Error)(nil); errors.Is(failure, errNobodyLeft) || asError(failure, &e) && hopeless(e.Code) {
		if out.Message != 0 {
			if err := t.RaiseStatus(out.Message, statusFailed); err != nil {
				return err
			}
		}
		if err := t.event(row, EventFailed, out.Message, notice{Note: "a message was refused: " + failure.Error()}); err != nil {
			return err
		}
		return t.giveUp(out, failure)
	}
	if errors.Is(failure, context.Canceled) { // we stopped it: it did not fail
		out.Next = t.now
	} else {
		out.Tries++
		out.Next, out.Error = t.now.Add(backoff(out.Tries)), failure.Error()
	}
	if out.Calls, err = json.Marshal(left); err != nil {
		return err
	}
	return t.SetOutgoing(out)
}

// hopeless reports whether a refusal of a message will be the same forever. A session
// that has ended is not, nor a copy of the profile that is not in use: the user logs in
// again, or takes over.
func hopeless(code schemas.Code) bool {
	session := code == schemas.Code_instanceReplaced || code == schemas.Code_tokenMissing || code == schemas.Code_tokenInvalid || code == schemas.Code_tokenExpired
	// What was seen is corrected, and the next try says what the cluster has.
	return !session && code != schemas.Code_seenTooFarAhead && code.Doc().Retry == schemas.Retry_never
}

// backoff is the pause before a try.
func backoff(tries int) time.Duration {
	return conn.Jitter(min(firstRetry<<min(tries-1, 20), longestRetry))
}
