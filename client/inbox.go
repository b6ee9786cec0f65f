package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/schemas"
)

// inboxBatch is how many envelopes one transaction takes.
const inboxBatch = 256

// Pauses of the inbox.
const (
	resubscribePause = time.Second
	ackPause         = 100 * time.Millisecond
)

// receive takes what comes for this device until ctx ends.
func (c *Client) receive(ctx context.Context) {
	n := &c.net
	c.nameless.Store(true)
	c.learnNames(ctx)
	for ctx.Err() == nil {
		inner, cancel := context.WithCancel(ctx)
		n.mu.Lock()
		n.resume = cancel
		asked := n.wanted
		n.mu.Unlock()
		err := c.subscribe(inner, asked)
		resumed := inner.Err() != nil
		cancel()
		c.setOnline(false)
		if ctx.Err() != nil || resumed {
			continue
		}
		c.log.Warn("receive", "error", err)
		if conn.Is(err, schemas.Code_ackBeyondEnd) {
			c.recount(ctx)
			err = nil // nothing that anybody could do something about
		}
		n.mu.Lock()
		n.failure = err
		n.mu.Unlock()
		c.ring()
		if !c.pause(ctx, nil, conn.Jitter(resubscribePause)) {
			return
		}
	}
}

// subscribe takes envelopes from one subscription, in batches that end where the
// cluster has nothing more. asked is what the end of the first means.
func (c *Client) subscribe(ctx context.Context, asked uint64) error {
	cursors := map[conn.ChannelID]uint64{}
	err := c.look(func(t *turn) error {
		list, err := t.Cursors()
		for _, q := range list {
			cursors[q.Channel] = q.Seq
		}
		return err
	})
	if err != nil {
		return err
	}
	var batch []conn.Envelope
	take := func() {
		if len(batch) > 0 && err == nil {
			err = c.take(ctx, batch)
		}
		batch = batch[:0]
	}
	for e, failure := range c.conn.Subscribe(ctx, conn.Subscription{Cursors: maps.Clone(cursors), CaughtUp: func() {
		take()
		c.learnNames(ctx) // those that a subscription before this one was cut off from
		if err == nil {
			err = c.caughtUp(asked)
		}
	}}) {
		if failure != nil {
			return failure
		}
		if err != nil {
			return err
		}
		if batch = append(batch, e); len(batch) == inboxBatch {
			take()
		}
		if err != nil {
			return err
		}
	}
	return err
}

// Take processes envelopes that came another way than from the cluster, such as by
// a program that reads this device's queue itself. A queue's envelopes have
// sequence numbers without gaps; those that were taken before are skipped.
func (c *Client) Take(ctx context.Context, batch []conn.Envelope) error { return c.take(ctx, batch) }

// take processes envelopes in one transaction. Should one of them make it fail for
// a reason of its own, the others still get theirs.
func (c *Client) take(ctx context.Context, batch []conn.Envelope) error {
	err := c.turn(func(t *turn) error { return t.takeAll(batch) })
	if err != nil && len(batch) > 1 && ctx.Err() == nil {
		for i := range batch {
			if err = c.turn(func(t *turn) error { return t.takeAll(batch[i : i+1]) }); err != nil {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("take envelopes: %w", err)
	}
	c.learnNames(ctx)
	c.ring()
	return nil
}

func (t *turn) takeAll(batch []conn.Envelope) error {
	list, err := t.Cursors()
	if err != nil {
		return err
	}
	cursors := map[conn.ChannelID]uint64{}
	for _, q := range list {
		cursors[q.Channel] = q.Seq
	}
	moved := map[conn.ChannelID]uint64{}
	for i := range batch {
		e := &batch[i]
		if e.Seq <= cursors[e.Channel] {
			continue // the cluster repeats itself
		}
		if err := t.takeOne(e, cursors[e.Channel]); err != nil {
			return fmt.Errorf("envelope %d of channel %x: %w", e.Seq, e.Channel, err)
		}
		cursors[e.Channel], moved[e.Channel] = e.Seq, e.Seq
	}
	for channel, seq := range moved {
		if err := t.SetCursor(channel, seq); err != nil {
			return err
		}
	}
	if err := t.tellUnreadable(); err != nil {
		return err
	}
	return t.deliveredAll()
}

// takeOne processes an envelope behind a place. Its only errors are the vault's:
// what an envelope says can be refused, but never stop the others.
func (t *turn) takeOne(e *conn.Envelope, after uint64) error {
	switch {
	case e.Loss.Count > 0:
		missing := e.Loss.Unexplained()
		if e.Loss.First > after+1 && after > 0 {
			missing += e.Loss.First - after - 1
		}
		if err := t.overflowed(e.Channel, e.Loss.Overflow); err != nil {
			return err
		}
		return t.lost(e.Channel, missing, e.Loss.Expired)
	case e.Seq > after+1 && after > 0:
		// Queues have no gaps: the server left something out.
		if err := t.lost(e.Channel, e.Seq-after-1, 0); err != nil {
			return err
		}
	}
	return t.open(&incoming{channel: e.Channel, received: t.now, payload: e.Data})
}

// incoming is a payload that has arrived.
type incoming struct {
	channel  conn.ChannelID
	received time.Time
	payload  []byte
}

// open processes a payload: now, or when what it needs has come.
func (t *turn) open(in *incoming) error {
	sum := sha256.Sum256(in.payload)
	known, err := t.Processed(sum[:16])
	if err != nil || known {
		return err
	}
	p, err := groupstate.Unwrap(in.payload)
	if err != nil {
		t.c.log.Warn("an envelope was not understood", "error", err)
		return t.strange(in, err)
	}
	done := true
	failure, err := t.apart(func() (err error) {
		if p.Sort == groupstate.SortWelcome {
			return t.welcome(in, &p)
		}
		done, err = t.message(in, &p)
		return err
	})
	if failure != nil {
		done, err = true, t.unprocessable(in, &p, failure)
	}
	if err != nil || !done {
		return err
	}
	return t.SetProcessed(sum[:16], t.now)
}

// unprocessable notes that what came for a conversation could not be processed. It is
// that conversation's trouble, and goes no further.
func (t *turn) unprocessable(in *incoming, p *groupstate.Payload, reason error) error {
	t.c.log.Error("a message could not be processed", "group", fmt.Sprintf("%.32x", p.GroupID), "sort", p.Sort, "error", reason)
	if p.Sort == groupstate.SortWelcome {
		return nil
	}
	row, err := t.talkOf(p.GroupID)
	if err != nil || row == nil || row.group == nil {
		return err
	}
	return t.refusedMessage(row, in, p, reason)
}

// Limits of what is held for later. What is beyond them is dropped, and said so where
// it may be missed. What belongs to no conversation has little room of its own, so that
// it never takes that of messages whose epoch is only late.
const (
	maxHeld           = 20_000
	maxHeldGroup      = 5_000
	maxHeldBytes      = 256 << 20
	maxHeldGroupBytes = 64 << 20
	maxStray          = 256     // envelopes for groups that no conversation has
	maxStrayBytes     = 1 << 20 // of their payloads
)

// HoldTime is how long an envelope that came too early is kept by default.
const HoldTime = 7 * 24 * time.Hour

// Held is what waits for something earlier. Stray envelopes are of groups that no
// conversation has: strangers can send them.
type Held struct{ Envelopes, Bytes, Stray, StrayBytes int64 }

// StrayFull reports whether more stray envelopes would be dropped.
func (h Held) StrayFull() bool { return h.Stray >= maxStray || h.StrayBytes > maxStrayBytes*9/10 }

// HeldEnvelopes returns how much waits for something earlier.
func (c *Client) HeldEnvelopes() (h Held, err error) {
	err = c.look(func(t *turn) error {
		_, known, stray, err := t.CountHeld(nil)
		h = Held{known.Envelopes, known.Bytes, stray.Envelopes, stray.Bytes}
		return err
	})
	return h, err
}

// hold keeps a payload until its epoch comes.
func (t *turn) hold(in *incoming, p *groupstate.Payload) error {
	group, known, stray, err := t.CountHeld(p.GroupID)
	if err != nil {
		return err
	}
	row, err := t.talkOf(p.GroupID)
	if err != nil {
		return err
	}
	size := int64(len(in.payload))
	full := group.Envelopes >= maxHeldGroup || known.Envelopes >= maxHeld ||
		group.Bytes+size > maxHeldGroupBytes || known.Bytes+size > maxHeldBytes
	if row == nil {
		full = stray.Envelopes >= maxStray || stray.Bytes+size > maxStrayBytes
	}
	if full {
		t.c.log.Warn("too many envelopes are held: one was dropped", "group", fmt.Sprintf("%x", p.GroupID))
		if row == nil {
			return nil
		}
		return t.event(row, EventLoss, 0, notice{Note: "a message came too early, and too many wait already"})
	}
	return t.Hold(&vault.Held{
		GroupID: p.GroupID, Epoch: p.Epoch, Channel: in.channel, Received: in.received, Payload: in.payload,
	})
}

// releaseHeld processes what was held for a group up to its epoch, again and again
// while that brings it to another.
func (t *turn) releaseHeld(row *talk) error {
	for row.group != nil {
		h, err := t.NextHeld(row.GroupID, row.group.Epoch())
		if err != nil || h == nil {
			return err
		}
		if err := t.DeleteHeld(h.ID); err != nil {
			return err
		}
		in := &incoming{channel: h.Channel, received: h.Received, payload: h.Payload}
		if err := t.open(in); err != nil {
			return err
		}
	}
	return nil
}

// caughtUp is called where the cluster has nothing more. What still waits for an
// earlier envelope then waits in vain.
func (c *Client) caughtUp(asked uint64) error {
	n := &c.net
	n.mu.Lock()
	first := n.caughtUp < asked || !n.online
	n.caughtUp = max(n.caughtUp, asked)
	n.failure = nil
	n.mu.Unlock()
	c.setOnline(true)
	if first {
		c.ring()
	}
	var held map[string]int64
	if err := c.look(func(t *turn) (err error) { held, err = t.HeldGroups(); return err }); err != nil || len(held) == 0 {
		return err
	}
	return c.turn(func(t *turn) error { return t.missing(held) })
}

func (c *Client) setOnline(online bool) {
	c.net.mu.Lock()
	changed := c.net.online != online
	c.net.online = online
	c.net.mu.Unlock()
	if changed {
		c.tell([]Signal{{Kind: SignalConnection, Active: online, Note: c.conn.Endpoint()}})
		c.ring()
	}
}

// Sync returns when everything that was acknowledged anywhere before the call, and
// that waited for this device, is processed.
func (c *Client) Sync(ctx context.Context) error {
	if err := c.Start(); err != nil {
		return err
	}
	// A linearizable read brings the index of all that was acknowledged; a
	// subscription that begins after it sees at least that.
	if _, _, err := c.conn.Peek(ctx, conn.Read{Limit: 1, Linearizable: true}); err != nil {
		return err
	}
	n := &c.net
	n.mu.Lock()
	n.wanted++
	mine := n.wanted
	if n.resume != nil {
		n.resume()
	}
	n.mu.Unlock()
	return c.await(ctx, func() (bool, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.caughtUp >= mine {
			return true, nil
		}
		if n.failure != nil && final(n.failure) {
			return false, n.failure
		}
		return false, nil
	})
}

// final reports whether receiving fails until the user does something.
func final(err error) bool {
	var e *Error
	return errors.Is(err, conn.ErrClosed) || asError(err, &e) && (e.Code.Doc().Retry == 0)
}

// acknowledge tells the cluster what is in the vault, so that it can forget it.
func (c *Client) acknowledge(ctx context.Context) {
	for {
		changed := c.changes()
		var list []vault.Cursor
		if err := c.look(func(t *turn) (err error) { list, err = t.Cursors(); return err }); err != nil {
			c.log.Error("read cursors", "error", err)
		}
		for _, q := range list {
			if q.Seq == c.acked[q.Channel] || q.Seq == 0 {
				continue
			}
			if _, err := c.conn.Ack(ctx, conn.Queue{Channel: q.Channel}, q.Seq); err != nil {
				if ctx.Err() == nil {
					c.log.Warn("acknowledge", "error", err)
				}
				continue
			}
			c.acked[q.Channel] = q.Seq
		}
		if !c.pause(ctx, changed, longestRetry) || !c.pause(ctx, nil, ackPause) {
			return
		}
	}
}
