package client

import (
	"context"
	"encoding/json"
	"fmt"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
)

// Send says something in the conversation. When it returns, what was said is in
// the vault and will be sent, however often the program is restarted until then.
func (v *Conversation) Send(_ context.Context, body content.Body) (id content.ID, err error) {
	id = newID()
	err = v.c.turn(func(t *turn) error {
		row, err := t.talk(v.id)
		if err != nil {
			return err
		}
		if err := row.usable(); err != nil {
			return err
		}
		if err := t.checkSubject(row, body); err != nil {
			return err
		}
		m := content.Message{ID: id, Sent: t.now, ExpireAfter: row.Expire, Body: body}
		raw, err := content.Encode(m)
		if err != nil {
			return err
		}
		seq, err := t.said(row, &m, raw)
		if err != nil {
			return err
		}
		return t.post(row, raw, seq)
	})
	return id, err
}

// usable reports whether something can be said in a conversation, now or when it has
// its keys again.
func (row *talk) usable() error {
	switch row.State {
	case stateActive, stateJoining, stateRecovering:
		return nil
	case stateBroken:
		return because(ErrBroken, "%s", row.Reason)
	case stateRequested:
		return ErrRequest
	case stateUnproven:
		return because(ErrUnproven, "%s", row.Reason)
	}
	return ErrNotMember
}

// said does to our own history what a message of ours does to everybody's. It
// returns the message's place, 0 if it has none.
func (t *turn) said(row *talk, m *content.Message, raw []byte) (seq uint64, err error) {
	switch body := m.Body.(type) {
	case content.Text, content.Reply:
		entry := t.newEntry(row, m, raw, t.c.account())
		entry.Mine, entry.Status = true, statusWaiting
		row.Active = t.now
		t.changed(row)
		_, err := t.AddMessage(entry)
		return entry.Seq, err
	case content.Edit:
		_, err = t.edit(row, t.c.account(), m.ID, body)
	case content.Delete:
		_, err = t.erase(row, t.c.account(), body)
	case content.Reaction:
		_, err = t.react(row, t.c.account(), body)
	}
	t.signal(Signal{Kind: SignalConversation, Conversation: idText(row.ID)})
	return 0, err
}

// newEntry is the history entry of a message with a text, or of one of an unknown
// kind.
func (t *turn) newEntry(row *talk, m *content.Message, raw []byte, sender AccountKey) *vault.Message {
	entry := &vault.Message{
		Conversation: row.ID, ID: m.ID, Sender: sender, Kind: entryText, Sent: m.Sent, Received: t.now, Body: raw,
	}
	switch body := m.Body.(type) {
	case content.Text:
		entry.Text = body.Text
	case content.Reply:
		entry.Kind, entry.Text, entry.ReplyTo = entryReply, body.Text, body.To[:]
	default:
		entry.Kind = entryUnknown
	}
	if m.ExpireAfter > 0 {
		entry.Expires = t.now.Add(m.ExpireAfter)
	}
	return entry
}

// post puts a message into the outbox, encrypted if that can be done now.
func (t *turn) post(row *talk, raw []byte, seq uint64) error {
	last, err := t.LastOutgoing(row.ID)
	if err != nil {
		return err
	}
	out := &vault.Outgoing{Conversation: row.ID, Message: seq, Content: raw}
	// Keys are used in the order in which messages are sent: a message never takes
	// one before those that are waiting have theirs of the present epoch.
	if last == nil || row.group != nil && last.Payload != nil && last.Epoch == row.group.Epoch() {
		if err := t.seal(row, out); err != nil {
			return err
		}
	}
	t.notable = true
	return t.AddOutgoing(out)
}

// call is one batchEnqueue of a message, kept so that it can be repeated as it was.
type call struct {
	RequestID []byte
	Channel   conn.ChannelID
	To        []conn.Recipient
	// Reached: somebody got the message by a call before.
	Reached bool `json:",omitempty"`
}

// seal encrypts a message in the present epoch. It leaves it as it is while the
// conversation has no keys to do so.
func (t *turn) seal(row *talk, out *vault.Outgoing) error {
	if !t.c.mayEncrypt() || row.group == nil || !row.shared() || row.State != stateActive || len(row.group.Public().Proposals()) > 0 {
		return nil
	}
	group, message, err := row.group.Encrypt(out.Content, nil)
	if err != nil {
		return fmt.Errorf("encrypt message: %w", err)
	}
	row.group = group
	row.sent++
	return t.address(row, out, message)
}

// address makes the calls that bring an MLSMessage to the other members.
func (t *turn) address(row *talk, out *vault.Outgoing, message []byte) (err error) {
	out.Epoch, out.Payload = row.group.Epoch(), groupstate.Wrap(message)
	var calls []call
	for _, d := range t.addressed(row, row.group) {
		id := newID()
		calls = append(calls, call{RequestID: id[:], Channel: d.Channel, To: d.To})
	}
	out.Calls, err = json.Marshal(calls)
	return err
}

// addressed returns where a payload for the members of a group goes, but to this
// device: in a DM the peer's devices have the channel's queues. Everything else goes
// to inboxes.
func (t *turn) addressed(row *talk, group *mls.Group) (to []conn.Delivery) {
	return t.addressedTo(row, membersOf(group))
}

func (t *turn) addressedTo(row *talk, members map[groupstate.Member]mls.Member) (to []conn.Delivery) {
	var inbox, channel []conn.Recipient
	for _, m := range sortedMembers(members) {
		r := conn.Recipient{Account: m.Account, Device: m.Device}
		switch {
		case m == t.c.self:
		case row.Kind == kindDM && m.Account == row.Peer:
			channel = append(channel, r)
		default:
			inbox = append(inbox, r)
		}
	}
	if len(channel) > 0 {
		to = append(to, conn.Delivery{To: channel, Channel: row.Channel})
	}
	if len(inbox) > 0 {
		to = append(to, conn.Delivery{To: inbox})
	}
	return to
}
