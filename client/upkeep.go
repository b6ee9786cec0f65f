package client

import (
	"context"
	"errors"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
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
		if c.standings.due.Load() {
			c.tellStandings(ctx)
		}
		if c.stockLow.Load() {
			continue
		}
		if !c.pause(ctx, changed, c.settings.Upkeep) {
			return
		}
	}
}

// upkeepDue reports whether the pause is over, or all that waited for this device has
// come and it was not so at the last time, and begins the next pause.
func (c *Client) upkeepDue() bool {
	came := c.cameAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	pause := now.Sub(c.keptUp)
	if pause >= 0 && pause < c.settings.Upkeep && (!came || c.tidied) { // not if the clock went back
		return false
	}
	c.keptUp, c.tidied = now, came
	return true
}

// cameAll reports whether all is processed that waited at the cluster.
func (c *Client) cameAll() bool {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.net.online
}

// keepUp tops up the key packages, renews keys that are old, and forgets what has
// expired.
func (c *Client) keepUp(ctx context.Context) {
	c.standings.due.Store(true)
	if err := c.topUp(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("top up key packages", "error", err)
	}
	came := c.cameAll()
	err := c.turn(func(t *turn) error {
		if !came {
			return t.keepUp()
		}
		return errors.Join(t.keepUp(), t.tidy())
	})
	if err != nil {
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

// longestWait is more than anything waits that the user or others want, in a vault in
// which the clock went on: renewals of keys apart.
const longestWait = time.Hour

// tidy forgets what was kept for things that have not come. It is for when all has come
// that waited at the cluster: who was away for long finds there what this is kept for.
func (t *turn) tidy() error {
	if dropped, err := t.DeleteHeldBefore(t.now.Add(-t.c.settings.HoldTime)); err != nil {
		return err
	} else if dropped > 0 {
		t.c.log.Warn("envelopes were dropped that waited in vain", "count", dropped)
	}
	if err := t.DeleteKeyPackages(t.now.Add(-keyPackageKept)); err != nil {
		return err
	}
	return t.DeleteProcessed(t.now.Add(-processedKept))
}

func (t *turn) keepUp() error {
	if err := t.expire(); err != nil {
		return err
	}
	if found, err := t.HurryWaiting(wishRekey, t.now, t.now.Add(longestWait)); err != nil {
		return err
	} else if found {
		t.notable = true
	}
	if err := t.DeleteSentEnvelopes(t.now.Add(-sentEnvelopeKept)); err != nil {
		return err
	}
	if err := t.dropEarlier(); err != nil {
		return err
	}
	if err := t.tellUnreadable(); err != nil {
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

// leafOld reports whether our leaf's key in a group is due to be renewed, by its own age:
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
		at = at.Add(conn.Jitter(t.c.settings.RekeyAge / 100))
		if g.Renewed.IsZero() || row.group.OwnLeaf().Source == tree.SourceKeyPackage {
			at = at.Add(conn.Jitter(t.c.settings.RekeyAge / broadSpread))
		}
	}
	_, err = t.intendAt(row, wish{Kind: wishRekey, Due: true}, at)
	return err
}

// dropEarlier erases earlier keys of our leaves that nobody has confirmed the end of for
// too long.
func (t *turn) dropEarlier() error {
	list, err := t.WithEarlierLeaves()
	if err != nil {
		return err
	}
	for _, id := range list {
		row, err := t.talk(id)
		if err != nil {
			return err
		}
		row.earlier = row.earlier.Since(t.now.Add(-groupstate.MaxEarlierAge))
	}
	return nil
}
