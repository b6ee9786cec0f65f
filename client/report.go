package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/schemas"
)

// How receipts and typing share the rate at which a device may send: the client's
// picture of the cluster's default (rpc/rates.go, class send), and how much of it may
// be missing when a message comes.
const (
	sendBurst   = 60
	sendEvery   = time.Second / 2
	spareTokens = 3
)

const (
	// typingTTL is how long the cluster keeps what is of use only now.
	typingTTL = 10 * time.Second
	// reportPause is how long receipts are collected before some are sent: what
	// comes, or is read, in one go makes one receipt.
	reportPause = 250 * time.Millisecond
	// fewReports is for how many conversations' receipts Flush waits.
	fewReports = 8
)

// mayTell reports whether something that no person wrote (receipts, typing, a notice that
// a message could not be read) may go to the others of a conversation: only where the
// user takes part and can send now. It is the one place that decides this.
func (t *turn) mayTell(row *talk) bool {
	return row.State == stateActive && row.group != nil && row.shared() && len(row.group.Public().Proposals()) == 0
}

// wantsReceipts reports whether the senders of a conversation are told what became of
// their messages.
func (t *turn) wantsReceipts(row *vault.Conversation) bool {
	return row.Kind == kindDM && !t.c.settings.NoReceipts
}

// sealSignal encrypts something of use only for a while; nil: it can't go now. Its
// key is used up, so that it is sent at most once.
func (t *turn) sealSignal(row *talk, body content.Body) (*vault.Outgoing, error) {
	if !t.mayTell(row) {
		return nil, nil
	}
	raw, err := content.Encode(content.Message{ID: newID(), Sent: t.now, Body: body})
	if err != nil {
		return nil, err
	}
	out := &vault.Outgoing{Conversation: row.ID, Content: raw}
	if err := t.seal(row, out); err != nil || out.Payload == nil {
		return nil, err
	}
	return out, nil
}

// errNoRoom means that a device of a recipient has no room for a signal now.
var errNoRoom = errors.New("a device has no room")

// sendSignal sends what sealSignal has made.
func (c *Client) sendSignal(ctx context.Context, out *vault.Outgoing, ttl time.Duration) error {
	var calls []call
	if err := json.Unmarshal(out.Calls, &calls); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	for i, one := range calls {
		if i > 0 { // to our own other devices: the first is counted already
			c.rate.Message(c.now())
		}
		outcomes, err := c.conn.BatchEnqueue(ctx, conn.Batch{
			Recipients: one.To, Channel: one.Channel, Payload: out.Payload, RequestID: one.RequestID, TTL: ttl,
			Ephemeral: true,
		})
		if err != nil {
			c.noteRate(err)
			return err
		}
		if len(undelivered(one, outcomes).To) > 0 {
			return errNoRoom
		}
	}
	return nil
}

// noteRate tells the picture of the rate that the cluster has refused a call.
func (c *Client) noteRate(err error) {
	if conn.Is(err, schemas.Code_rateLimited) {
		c.rate.Limited(c.now())
	}
}

// Typing tells the others that the user types, or has stopped. It is sent once, if
// that can be done now without delaying a message, and never kept.
func (v *Conversation) Typing(ctx context.Context, active bool) error {
	if err := v.c.ready(); err != nil {
		return err
	}
	if v.c.rate.Signal(v.c.now(), 1) > 0 {
		return nil
	}
	var out *vault.Outgoing
	err := v.c.turn(func(t *turn) error {
		row, err := t.talk(v.id)
		if err != nil {
			return err
		}
		out, err = t.sealSignal(row, content.Typing{Active: active})
		return err
	})
	if err != nil || out == nil {
		return err
	}
	if err := v.c.sendSignal(ctx, out, typingTTL); err != nil && !errors.Is(err, errNoRoom) {
		return fmt.Errorf("send typing: %w", err)
	}
	return nil
}

// reporter is the state of report between its rounds.
type reporter struct {
	last  vault.ConversationID // served last: the next round begins behind it
	tries map[vault.ConversationID]int
	next  map[vault.ConversationID]time.Time // not before
}

// report tells senders what became of their messages, until ctx ends: as many
// messages in each receipt as it holds, and never at the cost of a message.
func (c *Client) report(ctx context.Context) {
	r := &reporter{tries: map[vault.ConversationID]int{}, next: map[vault.ConversationID]time.Time{}}
	for {
		changed := c.changes()
		list, err := c.reportable()
		if err != nil {
			c.log.Error("read receipts", "error", err)
		}
		wait := longestRetry
		if len(list) > 0 {
			if !c.pause(ctx, nil, reportPause) {
				return
			}
			wait = c.reportAll(ctx, r, list)
		}
		if !c.pause(ctx, changed, wait) {
			return
		}
	}
}

// reportable returns the conversations with receipts.
func (c *Client) reportable() (list []vault.ConversationID, err error) {
	err = c.look(func(t *turn) error { list, err = t.ReceiptConversations(stateActive); return err })
	return list, err
}

// reportAll sends a receipt in each of some conversations, as far as the rate goes, and
// returns how long to wait for the next round.
func (c *Client) reportAll(ctx context.Context, r *reporter, list []vault.ConversationID) (wait time.Duration) {
	wait = longestRetry
	behind, _ := slices.BinarySearchFunc(list, r.last, func(a, b vault.ConversationID) int { return bytes.Compare(a[:], b[:]) })
	for i := range list {
		id := list[(behind+1+i)%len(list)]
		if left := r.next[id].Sub(c.now()); left > 0 {
			wait = min(wait, left)
			continue
		}
		left, err := c.reportTo(ctx, id)
		switch {
		case err != nil:
			r.tries[id]++
			pause := backoff(r.tries[id])
			r.next[id], wait = c.now().Add(pause), min(wait, pause)
			c.log.Info("receipts wait", "conversation", idText(id), "error", err)
		case left > 0:
			return min(wait, left)
		default:
			delete(r.tries, id)
			delete(r.next, id)
			r.last = id
		}
	}
	return wait
}

// reportTo sends one receipt in a conversation. wait: the rate does not allow it yet.
func (c *Client) reportTo(ctx context.Context, id vault.ConversationID) (wait time.Duration, err error) {
	var due []vault.DueReceipt
	var out *vault.Outgoing
	err = c.turn(func(t *turn) error {
		row, err := t.talk(id)
		if err != nil {
			return err
		}
		if !t.wantsReceipts(&row.Conversation) { // switched off since
			return t.DropReceipts(id)
		}
		if due, err = t.DueReceipts(id, content.MaxReceiptIDs); err != nil || len(due) == 0 || !t.mayTell(row) {
			return err
		}
		if wait = c.rate.Signal(t.now, 1); wait > 0 {
			return nil
		}
		receipt := content.Receipt{Kind: content.ReceiptKind(due[0].Kind)}
		for _, d := range due {
			receipt.IDs = append(receipt.IDs, d.Message)
		}
		out, err = t.sealSignal(row, receipt)
		return err
	})
	if err != nil || out == nil {
		return wait, err
	}
	if err := c.sendSignal(ctx, out, 0); err != nil {
		return 0, err
	}
	return 0, c.turn(func(t *turn) error {
		t.notable = true // what is left of them is next, and Flush waits for it
		return t.DeleteReceipts(due)
	})
}

// receiptsLeft reports whether receipts are about to be sent: for more than a few, that
// the rate makes wait, nobody waits.
func (t *turn) receiptsLeft() (bool, error) {
	list, err := t.ReceiptConversations(stateActive)
	if err != nil || len(list) > fewReports && t.c.rate.Wait(t.now, 1) > 0 {
		return false, err
	}
	for _, id := range list[:min(len(list), fewReports)] {
		row, err := t.talk(id)
		if err == nil && t.mayTell(row) {
			return true, nil
		}
	}
	return false, nil
}
