package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
)

// Status is how it stands between the client and the cluster.
type Status struct {
	Account   Account
	Endpoint  string      // the node that calls go to
	Health    conn.Health // as the node says
	Seen      uint64      // the highest log index that answers have reflected
	Round     time.Duration
	Receiving bool
	// Outbox and Intents are messages and changes that wait for the cluster; Held are
	// envelopes that wait for an earlier one.
	Outbox, Intents, Held int
	// Oldest is the oldest reason why something waits, empty if nothing failed yet.
	Reason string
	// Waiting is what the cluster has in this device's inbox that is not processed.
	Waiting uint64
}

// Status asks the node that calls go to, and the vault. Without a connection it
// returns what the vault says, with the error.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	s.Account = c.Account()
	var inbox uint64
	err = c.look(func(t *turn) error {
		out, err := t.Outgoing()
		if err != nil {
			return err
		}
		intents, err := t.Intents()
		if err != nil {
			return err
		}
		s.Outbox, s.Intents = len(out), len(intents)
		for _, o := range out {
			s.Reason = firstOf(s.Reason, o.Error)
		}
		for _, i := range intents {
			s.Reason = firstOf(s.Reason, i.Error)
		}
		held, err := t.HeldGroups()
		for _, n := range held {
			s.Held += int(n)
		}
		if err != nil {
			return err
		}
		cursors, err := t.Cursors()
		for _, q := range cursors {
			if conn.ChannelID(q.Channel) == (conn.ChannelID{}) {
				inbox = q.Seq
			}
		}
		return err
	})
	if err != nil || c.conn == nil {
		return s, errors.Join(err, noServer(c))
	}
	began := time.Now()
	s.Health, err = c.conn.Health(ctx)
	s.Round = time.Since(began)
	s.Endpoint, s.Seen = c.conn.Endpoint(), c.conn.Seen()
	c.net.mu.Lock()
	s.Receiving = c.net.online
	c.net.mu.Unlock()
	if err != nil || !s.Account.LoggedIn {
		return s, err
	}
	_, last, err := c.conn.Peek(ctx, conn.Read{After: inbox, Limit: 1})
	if last > inbox {
		s.Waiting = last - inbox
	}
	return s, err
}

func noServer(c *Client) error {
	if c.conn == nil {
		return ErrNoServer
	}
	return nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Flush returns when nothing waits to be sent or to be changed any more, or with
// why something still does when ctx ends.
func (c *Client) Flush(ctx context.Context) error {
	if err := c.Start(); err != nil {
		return err
	}
	err := c.await(ctx, func() (done bool, err error) {
		err = c.look(func(t *turn) error {
			left, err := t.unsettled()
			done = !left
			return err
		})
		return done, err
	})
	if err == nil {
		return nil
	}
	reason := ""
	if looked := c.look(func(t *turn) (err error) { reason, err = t.holdUp(); return err }); looked == nil && reason != "" {
		return errors.Join(err, errors.New(reason))
	}
	return err
}

// unsettled reports whether something waits to be sent or changed.
func (t *turn) unsettled() (bool, error) {
	if left, err := t.Unsent(); left || err != nil {
		return left, err
	}
	if left, err := t.receiptsLeft(); left || err != nil {
		return left, err
	}
	if pending, err := t.PendingConversations(); len(pending) > 0 || err != nil {
		return true, err
	}
	intents, err := t.Intents()
	return slices.ContainsFunc(intents, t.ours), err
}

// ours reports whether an intent is a wish of this client's user, or its turn to bring
// about soon.
func (t *turn) ours(i *vault.Intent) bool {
	if row, err := t.talk(i.Conversation); err == nil && (row.State == stateBroken || row.State == stateUnproven) {
		return false // the user has been told: it waits for an answer, or for who knows how long
	}
	switch i.Kind {
	case wishProposals:
		return i.Next.Before(t.now.Add(2 * rankPause))
	case wishRekey, wishDevices, wishAttest:
		return false
	}
	return true
}

// holdUp tells why something is still unsettled.
func (t *turn) holdUp() (string, error) {
	reason, err := t.UnsentReason()
	if err != nil || reason != "" {
		return reason, err
	}
	intents, err := t.Intents()
	for _, i := range intents {
		if t.ours(i) {
			reason = firstOf(reason, i.Error)
		}
	}
	return reason, err
}
