package client

import (
	"context"
	"errors"
	"fmt"

	"quicproquo/client/content"
	"quicproquo/client/vault"
)

// Sent returns when the cluster has acknowledged a message that Send returned the id
// of, whatever became of others. ErrNotSent: it was given up, and why. If ctx ends, or
// nothing can be sent at all, the message waits in the profile, and the error says
// what this one waits for.
func (v *Conversation) Sent(ctx context.Context, id content.ID) error {
	var place int64
	err := v.c.look(func(t *turn) (err error) { place, err = t.outgoingOf(v.id, id); return err })
	if err != nil {
		return err
	}
	if place == 0 { // it has left the outbox already
		return v.c.look(func(t *turn) error { return t.refusedText(v.id, id) })
	}
	if err := v.c.Start(); err != nil {
		return err
	}
	var out *vault.Outgoing
	err = v.c.await(ctx, func() (done bool, err error) {
		err = v.c.look(func(t *turn) error { out, err = t.OutgoingByID(place); return err })
		return out == nil, err
	})
	switch {
	case err == nil:
		return v.c.outcome(place)
	case out == nil:
		return err
	}
	reason := ""
	if looked := v.c.look(func(t *turn) (err error) { reason, err = t.waitsFor(out); return err }); looked != nil {
		return errors.Join(err, looked)
	}
	return errors.Join(err, errors.New(reason))
}

// outgoingOf returns the place in the outbox of a message, 0: it is not there.
func (t *turn) outgoingOf(in vault.ConversationID, id content.ID) (place int64, err error) {
	return t.FindOutgoing(in, func(raw []byte) bool {
		m, err := content.Decode(raw)
		return err == nil && m.ID == id
	})
}

// refusedText returns ErrNotSent for a text that was given up at some time.
func (t *turn) refusedText(in vault.ConversationID, id content.ID) error {
	m, err := t.MessageFrom(in, t.c.account(), id)
	if err == nil && m != nil && m.Status == statusFailed {
		return ErrNotSent
	}
	return err
}

// outcome tells what became of a message that has left the outbox.
func (c *Client) outcome(place int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	reason, failed := c.unsent[place]
	if !failed {
		return nil
	}
	delete(c.unsent, place)
	return fmt.Errorf("%w: %w", ErrNotSent, reason)
}

// waitsFor tells why a message is still in the outbox: what holds up this one, not
// what troubles another conversation.
func (t *turn) waitsFor(out *vault.Outgoing) (string, error) {
	row, err := t.talk(out.Conversation)
	if err != nil {
		return "", err
	}
	first, err := t.FirstOutgoing(row.ID)
	if err != nil {
		return "", err
	}
	intents, err := t.IntentsOf(row.ID)
	if err != nil {
		return "", err
	}
	change := ""
	for _, i := range intents {
		if i.Error != "" {
			change = ": " + i.Error
		}
	}
	switch {
	case out.Error != "":
		return out.Error, nil
	case first != nil && first.ID != out.ID && first.Error != "":
		return "an earlier message of this conversation comes first: " + first.Error, nil
	case row.usable() != nil:
		return row.usable().Error(), nil
	case row.State != stateActive || row.group == nil:
		return "the keys of this conversation have not come yet" + change, nil
	case !row.shared():
		return "the cluster does not have this conversation yet" + change, nil
	case len(row.group.Public().Proposals()) > 0:
		return "a change of the group comes first" + change, nil
	case t.c.failure() != nil:
		return "no node can be reached: " + t.c.failure().Error(), nil
	}
	return "no node has acknowledged it yet", nil
}

// failure is why the client receives nothing now, nil if it does.
func (c *Client) failure() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.net.failure
}
