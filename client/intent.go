package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
)

// Kinds of intents as they are kept. A kind is forever.
const (
	wishFound     = "found"     // give the cluster the group's record, with these accounts in it
	wishInvite    = "invite"    // add accounts
	wishRemove    = "remove"    // remove accounts
	wishRename    = "rename"    // change the title
	wishRole      = "role"      // make an account an admin, or no longer
	wishTimer     = "timer"     // change how long messages are kept
	wishLink      = "link"      // switch the link on (a new one) or off
	wishRekey     = "rekey"     // renew our keys
	wishProposals = "proposals" // commit what others have proposed
	wishAttest    = "attest"    // sign the roster and data, as an admin
	wishDevices   = "devices"   // add and remove devices, so that they are those of the members
	wishRejoin    = "rejoin"    // come back, if we have lost the thread
	wishJoin      = "join"      // come in by a link
)

// wish is what an intent wants of a group. It says how it should be, not what to
// do, so that it can be built for any epoch, and is moot where it holds already.
type wish struct {
	Kind     string            `json:"-"`
	Accounts []AccountKey      `json:"accounts,omitempty"`
	Title    string            `json:"title,omitempty"`
	Due      bool              `json:"due,omitempty"` // only if our keys are still old
	On       bool              `json:"on,omitempty"`
	Seconds  uint32            `json:"seconds,omitempty"`
	Secret   []byte            `json:"secret,omitempty"`
	Claims   map[string][]byte `json:"claims,omitempty"` // request ids by account and device
	Failed   string            `json:"failed,omitempty"` // who could not be added, and why
	Word     []byte            `json:"word,omitempty"`   // why devices are removed: groupstate.Departures
}

// single are the kinds of which a conversation has one at most: they only differ
// in when.
var single = map[string]bool{wishRekey: true, wishProposals: true, wishAttest: true, wishDevices: true, wishRejoin: true}

// intend keeps a wish until it holds, is moot, or has failed.
func (t *turn) intend(row *talk, w wish) (id int64, err error) {
	return t.intendAt(row, w, time.Time{})
}

func (t *turn) intendAt(row *talk, w wish, at time.Time) (id int64, err error) {
	t.notable = true
	if single[w.Kind] {
		have, err := t.IntentsOf(row.ID)
		if err != nil {
			return 0, err
		}
		for _, i := range have {
			if i.Kind == w.Kind {
				t.wait(i.ID)
				return i.ID, t.sooner(i, w, at)
			}
		}
	}
	args, err := json.Marshal(w)
	if err != nil {
		return 0, err
	}
	i := &vault.Intent{Conversation: row.ID, Kind: w.Kind, Args: args, Created: t.now, Next: at}
	if err := t.AddIntent(i); err != nil {
		return 0, err
	}
	t.wait(i.ID)
	return i.ID, nil
}

// sooner makes of keys that are to be renewed some time ones that the user wants new now.
func (t *turn) sooner(i *vault.Intent, w wish, at time.Time) error {
	if w.Kind != wishRekey || w.Due || !i.Next.After(at) || i.Tries > 0 {
		return nil
	}
	args, err := json.Marshal(w)
	if err != nil {
		return err
	}
	i.Args, i.Next = args, at
	return t.SetIntent(i)
}

// maxWaiters bounds what nobody asks for.
const maxWaiters = 4096

// wait makes the end of an intent known to settled.
func (t *turn) wait(id int64) {
	if len(t.c.waiters) > maxWaiters {
		clear(t.c.waiters)
	}
	if t.c.waiters[id] == nil {
		t.c.waiters[id] = &waiter{done: make(chan struct{})}
	}
}

// waiter is told how an intent has ended.
type waiter struct {
	done chan struct{}
	err  error
}

// settle ends an intent: err is nil if it holds.
func (t *turn) settle(i *vault.Intent, err error) error {
	t.answer(i, err)
	return t.DeleteIntent(i.ID)
}

// answer tells who waits for an intent what became of it.
func (t *turn) answer(i *vault.Intent, err error) {
	t.notable = true
	t.then(func() {
		t.c.mu.Lock()
		defer t.c.mu.Unlock()
		if w := t.c.waiters[i.ID]; w != nil {
			w.err = err
			close(w.done)
			delete(t.c.waiters, i.ID)
		}
	})
}

// settled waits for the end of an intent. If ctx ends first, the intent goes on.
func (c *Client) settled(ctx context.Context, id int64) error {
	c.mu.Lock()
	w := c.waiters[id]
	c.mu.Unlock()
	if w == nil {
		return nil
	}
	stopped, end := c.untilReplaced(ctx)
	defer end()
	select {
	case <-w.done:
		return w.err
	case <-stopped.Done():
		if c.copies.is() == copyReplaced {
			return ErrCopied
		}
		var why string
		_ = c.look(func(t *turn) error {
			i, err := t.Intent(id)
			if i != nil {
				why = i.Error
			}
			return err
		})
		if why != "" {
			return fmt.Errorf("it is not done yet, and will be tried again: %s: %w", why, ctx.Err())
		}
		return fmt.Errorf("it is not done yet, and goes on: %w", ctx.Err())
	}
}

// pursue brings about what is wanted of groups, until ctx ends.
func (c *Client) pursue(ctx context.Context) {
	for {
		changed := c.changes()
		work, next, err := c.due()
		if err != nil {
			c.log.Error("read intents", "error", err)
		}
		for _, id := range work {
			if !c.claim(c.pursuing, id) {
				continue
			}
			c.net.tasks.Go(func() {
				defer c.ring()
				defer c.release(c.pursuing, id)
				c.pursueOne(ctx, id)
			})
		}
		if !c.pause(ctx, changed, next) {
			return
		}
	}
}

// due returns the conversations that have something to do now, and when the next
// has.
func (c *Client) due() (work []vault.ConversationID, next time.Duration, err error) {
	next = longestRetry
	err = c.look(func(t *turn) error {
		pending, err := t.PendingConversations()
		if err != nil {
			return err
		}
		seen := map[vault.ConversationID]bool{}
		for _, id := range pending {
			seen[id] = true
			work = append(work, id)
		}
		intents, err := t.Intents()
		if err != nil {
			return err
		}
		for _, i := range intents {
			if wait := i.Next.Sub(t.now); wait > 0 {
				next = min(next, wait)
			} else if !seen[i.Conversation] {
				seen[i.Conversation] = true
				work = append(work, i.Conversation)
			}
		}
		return nil
	})
	return work, next, err
}

// pursueOne does what is due in a conversation, one thing after another.
func (c *Client) pursueOne(ctx context.Context, id vault.ConversationID) {
	for ctx.Err() == nil {
		var pending *vault.Pending
		var intent *vault.Intent
		err := c.look(func(t *turn) (err error) {
			if pending, err = t.Pending(id); err != nil || pending != nil {
				return err
			}
			intent, err = t.DueIntent(id, t.now)
			return err
		})
		switch {
		case err != nil:
		case pending != nil:
			err = c.publish(ctx, id, pending)
		case intent != nil:
			if err = c.beginKeys(ctx); err != nil {
				err = errors.Join(err, c.turn(func(t *turn) error { return t.postpone(intent, err) }))
				break
			}
			err = c.bringAbout(ctx, intent)
		default:
			return
		}
		if err != nil {
			if ctx.Err() == nil {
				c.log.Warn("pursue", "conversation", idText(id), "error", err)
			}
			if !c.pause(ctx, nil, conn.Jitter(firstRetry)) {
				return
			}
		}
	}
}

// bringAbout makes the commit that an intent needs in the present epoch, and keeps
// it for publish.
func (c *Client) bringAbout(ctx context.Context, i *vault.Intent) error {
	w := wish{Kind: i.Kind}
	if err := json.Unmarshal(i.Args, &w); err != nil {
		return c.turn(func(t *turn) error { return t.settle(i, fmt.Errorf("read intent: %w", err)) })
	}
	prepared, err := c.prepare(ctx, i, &w)
	return c.built(ctx, i, &w, prepared, err)
}

// built makes the commit of an intent that is prepared, if err is nil, or keeps why it
// can't be had.
func (c *Client) built(ctx context.Context, i *vault.Intent, w *wish, prepared prepared, err error) error {
	if err == nil {
		err = c.turn(func(t *turn) error { return t.build(i, w, prepared) })
	}
	var e *Error
	var p *Problem
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return err
	case errors.Is(err, ErrMoot):
		return c.turn(func(t *turn) error { return t.moot(i, w) })
	case asError(err, &p), asError(err, &e) && hopeless(e.Code):
		return c.turn(func(t *turn) error { return t.failed(i, err) })
	}
	return c.turn(func(t *turn) error { return t.postpone(i, err) })
}

// moot ends an intent that holds already.
func (t *turn) moot(i *vault.Intent, w *wish) error {
	row, err := t.talk(i.Conversation)
	if err != nil {
		return err
	}
	if w.Kind == wishRejoin && (row.State == stateRecovering || row.State == stateBroken && row.group != nil) {
		row.State, row.Reason = stateActive, ""
		t.changed(row)
		if err := t.wake(row); err != nil {
			return err
		}
	}
	return t.settle(i, nil)
}

// failed ends an intent that can't be had, and tells the user.
func (t *turn) failed(i *vault.Intent, reason error) error {
	row, err := t.talk(i.Conversation)
	if err != nil {
		return err
	}
	switch i.Kind {
	case wishRejoin:
		return t.noWayBack(row, i, reason)
	case wishJoin:
		row.State, row.Reason = stateLeft, reason.Error()
		t.changed(row)
	}
	if err := t.event(row, EventFailed, 0, notice{Note: fmt.Sprintf("%s: %v", i.Kind, reason)}); err != nil {
		return err
	}
	return t.settle(i, reason)
}

// again looks at an intent once more after a pause: nothing has failed.
func (t *turn) again(i *vault.Intent, pause time.Duration) error {
	i.Next = t.now.Add(pause)
	t.notable = true
	return t.SetIntent(i)
}

// postpone tries an intent again later.
func (t *turn) postpone(i *vault.Intent, reason error) error {
	i.Tries++
	i.Next, i.Error = t.now.Add(backoff(i.Tries)), reason.Error()
	t.notable = true
	return t.SetIntent(i)
}

func asError[T error](err error, target *T) bool { return errors.As(err, target) }
