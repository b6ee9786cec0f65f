package client

import (
	"context"
	"time"

	"quicproquo/client/vault"
	"quicproquo/crypto/mls/tree"
)

// upkeep does what is due from time to time, until ctx ends.
func (c *Client) upkeep(ctx context.Context) {
	for {
		changed := c.changes()
		stock := c.stockLow.Swap(false)
		if stock || c.upkeepDue() {
			c.keepUp(ctx)
		}
		if c.manyNameless.Swap(false) {
			c.learnMany(ctx)
		}
		if c.stockLow.Load() {
			continue
		}
		if !c.pause(ctx, changed, c.settings.Upkeep) {
			return
		}
	}
}

// upkeepDue tells whether the pause is over, and begins the next.
func (c *Client) upkeepDue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.keptUp) < c.settings.Upkeep {
		return false
	}
	c.keptUp = now
	return true
}

// keepUp tops up the key packages, renews keys that are old, and forgets what has
// expired.
func (c *Client) keepUp(ctx context.Context) {
	if err := c.topUp(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("top up key packages", "error", err)
	}
	if err := c.turn(func(t *turn) error { return t.keepUp() }); err != nil {
		c.log.Error("upkeep", "error", err)
	}
	c.nameless.Store(true)
	c.learnNames(ctx)
	if err := c.saveSeen(); err != nil {
		c.log.Error("keep the log index", "error", err)
	}
}

// processedKept is how long a payload that was processed is known by its digest;
// the cluster keeps none that long.
const processedKept = 60 * 24 * time.Hour

func (t *turn) keepUp() error {
	if err := t.expire(); err != nil {
		return err
	}
	if dropped, err := t.DeleteHeldBefore(t.now.Add(-t.c.settings.HoldTime)); err != nil {
		return err
	} else if dropped > 0 {
		t.c.log.Warn("envelopes were dropped that waited in vain", "count", dropped)
	}
	if err := t.DeleteProcessed(t.now.Add(-processedKept)); err != nil {
		return err
	}
	if err := t.DeleteEvents(keptEvents); err != nil {
		return err
	}
	rows, err := t.Conversations()
	if err != nil {
		return err
	}
	for _, one := range rows {
		if one.State != stateActive {
			continue
		}
		if err := t.renew(one); err != nil {
			return err
		}
	}
	return nil
}

// leafOld tells whether our leaf's key in a group is due to be renewed, by its own age:
// in a busy group others begin epochs all the time, and a quiet member's key stays. One
// of an age that is not known, in a vault of an earlier version or because the clock
// was ahead, counts as old.
func (t *turn) leafOld(renewed time.Time) bool {
	return renewed.IsZero() || renewed.After(t.now) || t.now.Sub(renewed) >= t.c.settings.RekeyAge
}

// broadSpread is the part of RekeyAge over which those renew their keys who come to it
// all at once: who has a new version of this program, and who was invited together.
const broadSpread = 7

// renew intends to renew our keys in a group where they are old.
func (t *turn) renew(one *vault.Conversation) error {
	g, err := t.Group(one.ID)
	if err != nil || g == nil || !g.Founded {
		return err
	}
	if !t.leafOld(g.Renewed) && g.Sent < t.c.settings.RekeyMessages {
		return nil
	}
	row, err := t.talk(one.ID)
	if err != nil || row.group == nil {
		return err
	}
	// Members spread over a while, so that few of them race.
	at := t.now
	if g.Sent < t.c.settings.RekeyMessages {
		at = at.Add(jitter(t.c.settings.RekeyAge / 100))
		if g.Renewed.IsZero() || row.group.OwnLeaf().Source == tree.SourceKeyPackage {
			at = at.Add(jitter(t.c.settings.RekeyAge / broadSpread))
		}
	}
	_, err = t.intendAt(row, wish{Kind: wishRekey, Due: true}, at)
	return err
}
