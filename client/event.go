package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"quicproquo/client/vault"
)

// EventKind says what happened.
type EventKind string

// Kinds of events.
const (
	EventMessage    EventKind = "message"    // a text or a reply, or of an unknown kind
	EventEdit       EventKind = "edit"       // Entry is what it is now
	EventDelete     EventKind = "delete"     // Entry is what is left of it
	EventReaction   EventKind = "reaction"   // Entry is what was reacted to
	EventReceipt    EventKind = "receipt"    // Entry is ours that was delivered or read
	EventUnreadable EventKind = "unreadable" // Entry is ours that a device of By could not read
	EventInvited    EventKind = "invited"    // we are in a conversation that another has made
	EventRequest    EventKind = "request"    // By, who is no contact, asks us into a conversation
	EventUnproven   EventKind = "unproven"   // a conversation waits until the user has compared keys
	EventJoined     EventKind = "joined"     // somebody came in by the group's link
	EventAdded      EventKind = "added"      // Who was added by By
	EventRemoved    EventKind = "removed"    // Who was removed by By
	EventLeft       EventKind = "left"       // Who left
	EventRenamed    EventKind = "renamed"    // Note is the new title
	EventRoles      EventKind = "roles"      // Note says who is an admin now, or no longer
	EventTimer      EventKind = "timer"      // Note is how long messages are kept
	EventLink       EventKind = "link"       // Note says whether the group has a link
	EventRekeyed    EventKind = "rekeyed"    // By has renewed its keys
	EventRecovered  EventKind = "recovered"  // we, or By, came back after having lost the thread
	EventLoss       EventKind = "loss"       // Note says what did not arrive
	EventInvalid    EventKind = "invalid"    // Note says what was refused, and why
	EventFailed     EventKind = "failed"     // Note says what we wanted and could not have
)

// noticed are the kinds that stand in a conversation's history.
var noticed = map[EventKind]bool{
	EventInvited: true, EventRequest: true, EventUnproven: true, EventJoined: true, EventAdded: true, EventRemoved: true, EventLeft: true, EventRenamed: true,
	EventRoles: true, EventTimer: true, EventLink: true, EventRekeyed: true, EventRecovered: true, EventLoss: true,
	EventInvalid: true, EventFailed: true,
}

// Event is something that happened. Programs get each of them once, in order.
type Event struct {
	ID           uint64
	At           time.Time
	Conversation string
	Title        string
	Kind         EventKind
	Entry        *Entry // nil where Kind has none
	By           string // username, where somebody did it
	Who          []string
	Note         string
	Warning      string // that the title looks like another's
}

// notice is how an event is kept: accounts, since their names may be learned later.
type notice struct {
	By     *AccountKey  `json:"by,omitempty"`
	Who    []AccountKey `json:"who,omitempty"`
	Note   string       `json:"note,omitempty"`
	Broken string       `json:"broken,omitempty"` // the rule of ours that it breaks
}

// event notes what happened in a conversation. entry is the place of the message
// that it speaks of; without one, kinds that stand in the history get one.
func (t *turn) event(v *talk, kind EventKind, entry uint64, n notice) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if entry == 0 && noticed[kind] {
		m := &vault.Message{
			Conversation: v.ID, ID: newID(), Kind: entryNotice, Sent: t.now, Received: t.now, Body: noticeBody(kind, data),
		}
		if n.By != nil {
			m.Mine = *n.By == t.c.account()
		}
		if _, err := t.AddMessage(m); err != nil {
			return err
		}
		entry = m.Seq
		v.Active, v.fresh = t.now, true
	}
	t.signal(Signal{Kind: SignalConversation, Conversation: idText(v.ID)})
	if v.State == stateRequested && kind != EventRequest {
		return nil // programs get it when the request is accepted (request.go)
	}
	return t.AddEvent(&vault.Event{At: t.now, Conversation: v.ID, Kind: string(kind), Message: entry, Data: data})
}

// noticeBody is the body of a history entry that is no message.
func noticeBody(kind EventKind, data []byte) []byte {
	return append(append([]byte(kind), 0), data...)
}

// keptEvents is how many events are kept for consumers that are away.
const keptEvents = 200_000

// eventBatch is how many events are read from the vault at once.
const eventBatch = 256

// Events gives what happens, from where the consumer of this name stopped the last
// time; a new consumer gets all that is kept. The consumer's place moves on when
// the loop asks for the next event, and is in the vault at the latest when the loop
// waits or ends: a program that is killed may see the last events again, and knows
// them by their ID. The sequence ends with the context, without an error, or with an
// error of the vault.
func (c *Client) Events(ctx context.Context, consumer string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r := &eventReader{c: c, consumer: consumer}
		err := r.run(ctx, yield)
		if saved := r.save(); err == nil {
			err = saved
		}
		if err != nil && ctx.Err() == nil && !r.enough {
			yield(Event{}, err)
		}
	}
}

// Consume gives the events that are there now, as Events does, and ends.
func (c *Client) Consume(consumer string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r := &eventReader{c: c, consumer: consumer, now: true}
		err := r.run(context.Background(), yield)
		if saved := r.save(); err == nil {
			err = saved
		}
		if err != nil && !r.enough {
			yield(Event{}, err)
		}
	}
}

type eventReader struct {
	c        *Client
	consumer string
	now      bool // end instead of waiting
	place    uint64
	saved    uint64
	enough   bool
}

func (r *eventReader) run(ctx context.Context, yield func(Event, error) bool) error {
	err := r.c.look(func(t *turn) (err error) {
		r.place, err = t.Consumed(r.consumer)
		return err
	})
	r.saved = r.place
	for err == nil && ctx.Err() == nil {
		changed := r.c.changes()
		var list []Event
		if list, err = r.c.events(r.place); err != nil {
			return err
		}
		for i := range list {
			if !yield(list[i], nil) {
				r.enough = true
				return nil
			}
			r.place = list[i].ID
		}
		if len(list) > 0 {
			continue
		}
		if err = r.save(); err != nil || r.now {
			return err
		}
		r.c.pause(ctx, changed, time.Minute)
	}
	return err
}

func (r *eventReader) save() error {
	if r.place == r.saved {
		return nil
	}
	if err := r.c.SetConsumed(r.consumer, r.place); err != nil {
		return err
	}
	r.saved = r.place
	return nil
}

// SetConsumed moves the place of a consumer behind an event, for a loop that ends
// with that event instead of asking for the next one.
func (c *Client) SetConsumed(consumer string, id uint64) error {
	err := c.vault.Update(func(tx *vault.Tx) error { return tx.SetConsumed(consumer, id) })
	if err != nil {
		return fmt.Errorf("keep the place of %s: %w", consumer, err)
	}
	return nil
}

// events reads the next events behind a place.
func (c *Client) events(after uint64) (list []Event, err error) {
	err = c.look(func(t *turn) error {
		rows, err := t.Events(after, eventBatch)
		if err != nil {
			return err
		}
		names := t.names()
		for _, row := range rows {
			e, err := t.readEvent(row, names)
			if err != nil {
				return err
			}
			list = append(list, e)
		}
		return nil
	})
	return list, err
}

// noteExpired is the note of an event whose entry is not kept any more.
const noteExpired = "expired: what this was about has disappeared"

func (t *turn) readEvent(row *vault.Event, names *names) (e Event, err error) {
	e = Event{ID: row.ID, At: row.At, Conversation: idText(row.Conversation), Kind: EventKind(row.Kind)}
	if e.Title, err = names.title(row.Conversation); err != nil {
		return e, err
	}
	var n notice
	if err := json.Unmarshal(row.Data, &n); err != nil {
		return e, fmt.Errorf("read event %d: %w", row.ID, err)
	}
	if e.Warning, err = names.titleWarningOf(row.Conversation); err != nil {
		return e, err
	}
	e.Note = n.Note
	if n.By != nil {
		e.By = names.name(*n.By)
	}
	for _, who := range n.Who {
		e.Who = append(e.Who, names.name(who))
	}
	if row.Message == 0 {
		return e, nil
	}
	m, err := t.Message(row.Message)
	if err != nil {
		return e, err
	}
	if m == nil {
		e.Note = noteExpired
		return e, nil
	}
	entry, err := t.entry(m, names)
	e.Entry = entry
	return e, err
}

// SignalKind says what a screen should look at.
type SignalKind string

// Kinds of signals.
const (
	SignalConversation SignalKind = "conversation" // its entries, title, members or unread count
	SignalTyping       SignalKind = "typing"       // Who types there, or (Active false) does no longer
	SignalConnection   SignalKind = "connection"   // Active: the client receives; Note: the node
)

// Signal tells a screen that something may look different. Signals are not kept.
type Signal struct {
	Kind         SignalKind
	Conversation string
	Who          string
	Active       bool
	Note         string
}

// screen is somebody who watches.
type screen struct{ signals chan Signal }

// signalBuffer is how many signals wait for a slow screen before some are dropped.
const signalBuffer = 256

// Watch gives signals from now on until ctx ends. A screen that is too slow misses
// some: it should look at everything from time to time.
func (c *Client) Watch(ctx context.Context) iter.Seq[Signal] {
	s := &screen{make(chan Signal, signalBuffer)}
	c.bellMu.Lock()
	c.screens[s] = struct{}{}
	c.bellMu.Unlock()
	return func(yield func(Signal) bool) {
		defer func() {
			c.bellMu.Lock()
			defer c.bellMu.Unlock()
			delete(c.screens, s)
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case signal := <-s.signals:
				if !yield(signal) {
					return
				}
			}
		}
	}
}

// tell gives signals to the screens.
func (c *Client) tell(signals []Signal) {
	if len(signals) == 0 {
		return
	}
	c.bellMu.Lock()
	defer c.bellMu.Unlock()
	for s := range c.screens {
		for _, signal := range signals {
			select {
			case s.signals <- signal:
			default:
			}
		}
	}
}
