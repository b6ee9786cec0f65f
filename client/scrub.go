package client

import (
	"context"
	"time"

	"quicproquo/client/vault"
)

const (
	// scrubShare bounds what scrubbing costs: after one that took a while, the next
	// waits for so many times as long. 24 is 4 %.
	scrubShare = 24
	// scrubPause is the shortest pause between two scrubs: what is deleted in it goes
	// with the second one.
	scrubPause = 500 * time.Millisecond
	// indexBatch is how many old texts get their search form in one transaction.
	indexBatch = 500
)

// deadSecrets notes that the turn leaves something in the vault's files that must not
// stay there: keys of an epoch that is over, a text that was deleted or has expired.
func (t *turn) deadSecrets() { t.scrub, t.notable = true, true }

// scrubber removes what turns have left in the vault's files, soon and at a bounded
// cost, and deletes what expires when its time comes, until ctx ends. Close does the
// rest.
func (c *Client) scrubber(ctx context.Context) {
	c.indexAll(ctx)
	for {
		changed := c.changes()
		next, err := c.dropExpired()
		if err != nil {
			c.log.Error("delete what has expired", "error", err)
			next = time.Minute
		}
		if !c.pause(ctx, changed, min(next, c.scrubOnce())) {
			return
		}
	}
}

// scrubOnce scrubs if that is due and not too soon after the last time. It returns
// when to look again.
func (c *Client) scrubOnce() time.Duration {
	if !c.scrubDue.Load() {
		return c.settings.Upkeep
	}
	if wait := time.Until(c.scrubAfter); wait > 0 {
		return wait
	}
	c.scrubDue.Store(false)
	began := time.Now()
	if err := c.vault.Scrub(); err != nil {
		c.scrubDue.Store(true)
		c.log.Error("scrub the vault", "error", err)
	}
	c.scrubAfter = time.Now().Add(max(scrubPause, scrubShare*time.Since(began)))
	return c.settings.Upkeep
}

// dropExpired deletes the entries whose time is over and returns how long the next
// one has.
func (c *Client) dropExpired() (next time.Duration, err error) {
	next = time.Hour
	var due bool
	err = c.look(func(t *turn) error {
		at, err := t.NextExpiry()
		if !at.IsZero() {
			next = max(at.Sub(t.now), 0)
			due = next == 0
		}
		return err
	})
	if err != nil || !due {
		return next, err
	}
	return 0, c.turn(func(t *turn) error { return t.expire() })
}

// expire deletes the entries whose time is over.
func (t *turn) expire() error {
	in, err := t.DeleteExpired(t.now)
	if err != nil || len(in) == 0 {
		return err
	}
	t.deadSecrets()
	for _, id := range in {
		t.signal(Signal{Kind: SignalConversation, Conversation: idText(id)})
	}
	return nil
}

// indexAll makes the search forms that a vault of an earlier version lacks.
func (c *Client) indexAll(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = c.index(); err != nil {
			c.log.Error("index old messages", "error", err)
			return
		}
	}
}

func (c *Client) index() (more bool, err error) {
	err = c.vault.Update(func(tx *vault.Tx) error {
		more, err = tx.Index(indexBatch)
		return err
	})
	return more, err
}
