package client

import (
	"bytes"
	"fmt"

	"quicproquo/client/content"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
)

// application takes what a member says.
func (t *turn) application(row *talk, ev *mls.ApplicationMessage) error {
	c, err := groupstate.ParseCredential(ev.Credential)
	if err != nil {
		return err
	}
	sender := AccountKey(c.Account)
	m, err := content.Decode(ev.Data)
	if err != nil {
		return t.event(row, EventInvalid, 0, notice{By: &sender, Note: "a message has no content that can be read: " + err.Error()})
	}
	switch body := m.Body.(type) {
	case content.Edit:
		return t.evented(row, EventEdit, sender)(t.edit(row, sender, m.ID, body))
	case content.Delete:
		return t.evented(row, EventDelete, sender)(t.erase(row, sender, body))
	case content.Reaction:
		return t.evented(row, EventReaction, sender)(t.react(row, sender, body))
	case content.Receipt:
		return t.receipted(row, sender, body)
	case content.Typing:
		if row.State == stateRequested {
			return nil
		}
		t.signal(Signal{Kind: SignalTyping, Conversation: idText(row.ID), Who: t.names().name(sender), Active: body.Active})
		return nil
	case content.Rejoined:
		return t.compare(row, sender, body)
	case content.Unreadable:
		return t.unreadable(row, sender, body)
	case content.GroupInfo, content.Timer:
		return nil // the group's data say it already
	}
	return t.newMessage(row, sender, &m, ev.Data)
}

// newMessage adds a message to the history, unless it is there.
func (t *turn) newMessage(row *talk, sender AccountKey, m *content.Message, raw []byte) error {
	if blocked, err := t.Blocked(sender); err != nil || blocked {
		return err
	}
	entry := t.newEntry(row, m, raw, sender)
	if entry.Mine = sender == t.c.account(); entry.Mine {
		entry.Status = statusSent // by another device of ours
	}
	added, err := t.AddMessage(entry)
	if err != nil || !added {
		return err
	}
	row.Active = t.now
	t.changed(row)
	if t.wantsReceipts(&row.Conversation) && !entry.Mine && row.State == stateActive {
		t.noteDelivered(row, m.ID)
	}
	return t.event(row, EventMessage, entry.Seq, notice{By: &sender})
}

// deliveredAll has the senders of DMs told what has come in this turn.
func (t *turn) deliveredAll() error {
	for id, ids := range t.delivered {
		if err := t.AddReceipts(id, uint8(content.Delivered), ids); err != nil {
			return err
		}
	}
	t.delivered = nil
	return nil
}

// evented makes an event of what a message did to an entry, if it did something.
func (t *turn) evented(row *talk, kind EventKind, by AccountKey) func(uint64, error) error {
	return func(entry uint64, err error) error {
		if err != nil || entry == 0 {
			return err
		}
		return t.event(row, kind, entry, notice{By: &by})
	}
}

// edit replaces the text of a sender's own message. It returns the entry, 0 if
// there is none.
func (t *turn) edit(row *talk, sender AccountKey, _ content.ID, body content.Edit) (uint64, error) {
	m, err := t.MessageFrom(row.ID, sender, body.To)
	if err != nil || m == nil || m.Deleted || m.Kind != entryText && m.Kind != entryReply {
		return 0, err
	}
	if m.Body, err = editedBody(m, body.Text); err != nil {
		return 0, err
	}
	m.Text, m.Edited = body.Text, true
	t.deadSecrets()
	return m.Seq, t.SetMessage(m)
}

// editedBody is the body of an entry with another text: nothing of the old one is
// kept.
func editedBody(m *vault.Message, text string) ([]byte, error) {
	was, err := content.Decode(m.Body)
	if err != nil {
		return nil, fmt.Errorf("edit entry %d: %w", m.Seq, err)
	}
	switch body := was.Body.(type) {
	case content.Reply:
		body.Text = text
		was.Body = body
	default:
		was.Body = content.Text{Text: text}
	}
	return content.Encode(was)
}

// erase removes what a sender's own message says.
func (t *turn) erase(row *talk, sender AccountKey, body content.Delete) (uint64, error) {
	m, err := t.MessageFrom(row.ID, sender, body.To)
	if err != nil || m == nil || m.Deleted {
		return 0, err
	}
	m.Text, m.Body, m.Deleted = "", nil, true
	t.deadSecrets()
	return m.Seq, t.SetMessage(m)
}

func (t *turn) react(row *talk, sender AccountKey, body content.Reaction) (uint64, error) {
	m, err := t.MessageOf(row.ID, body.To)
	if err != nil || m == nil || m.Deleted {
		return 0, err
	}
	return m.Seq, t.SetReaction(row.ID, body.To, vault.Reaction{Sender: sender, Emoji: body.Emoji}, body.Remove)
}

// receipted notes what became of our own messages.
func (t *turn) receipted(row *talk, by AccountKey, body content.Receipt) error {
	status := uint8(statusDelivered)
	if body.Kind == content.Read {
		status = statusRead
	}
	for _, id := range body.IDs {
		m, err := t.MessageFrom(row.ID, t.c.account(), id)
		if err != nil {
			return err
		}
		if m == nil || m.Status >= status {
			continue
		}
		if err := t.RaiseStatus(m.Seq, status); err != nil {
			return err
		}
		if err := t.event(row, EventReceipt, m.Seq, notice{By: &by, Note: statusNames[status]}); err != nil {
			return err
		}
	}
	return nil
}

// compare checks that a member who came back is in the same epoch as we are.
func (t *turn) compare(row *talk, by AccountKey, body content.Rejoined) error {
	if body.Epoch != row.group.Epoch() || bytes.Equal(body.Authenticator, row.group.EpochAuthenticator()) {
		return nil
	}
	return t.event(row, EventInvalid, 0, notice{By: &by, Note: "the epoch's authenticators differ: somebody is between you"})
}
