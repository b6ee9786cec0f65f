package client

import (
	"time"

	"quicproquo/client/content"
	"quicproquo/client/vault"
)

// checkSubject refuses what speaks of a message that is not there, gone already, or
// not ours to change: nothing of it is sent.
func (t *turn) checkSubject(row *talk, body content.Body) error {
	switch body := body.(type) {
	case content.Edit:
		m, err := t.ownMessage(row, body.To)
		if err == nil && m.Kind != entryText && m.Kind != entryReply {
			err = ErrNoMessage
		}
		return err
	case content.Delete:
		_, err := t.ownMessage(row, body.To)
		return err
	case content.Reaction:
		return t.checkReaction(row, body)
	}
	return nil
}

// ownMessage returns a message that we have sent and not taken back.
func (t *turn) ownMessage(row *talk, id content.ID) (*vault.Message, error) {
	m, err := t.MessageFrom(row.ID, t.c.account(), id)
	if err != nil {
		return nil, err
	}
	if m == nil {
		if m, err = t.subject(row, id); err == nil && m != nil {
			err = ErrNotYours
		}
		return nil, err
	}
	if m.Deleted {
		return nil, ErrDeleted
	}
	return m, nil
}

// subject returns a message of anybody's that is there.
func (t *turn) subject(row *talk, id content.ID) (*vault.Message, error) {
	m, err := t.MessageOf(row.ID, id)
	switch {
	case err != nil:
		return nil, err
	case m == nil || m.Kind == entryNotice:
		return nil, ErrNoMessage
	case m.Deleted:
		return nil, ErrDeleted
	}
	return m, nil
}

// checkReaction: only a mark of our own can be taken back.
func (t *turn) checkReaction(row *talk, body content.Reaction) error {
	if _, err := t.subject(row, body.To); err != nil || !body.Remove {
		return err
	}
	list, err := t.Reactions(row.ID, body.To)
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Emoji == body.Emoji && AccountKey(r.Sender) == t.c.account() {
			return nil
		}
	}
	return because(ErrNoMessage, "a mark %q of yours", body.Emoji)
}

// checkPlace refuses a place where the conversation has no entry.
func (t *turn) checkPlace(row *talk, seq uint64) error {
	m, err := t.Message(seq)
	if err == nil && (m == nil || m.Conversation != row.ID) {
		err = because(ErrNoMessage, "#%d", seq)
	}
	return err
}

// Quote is what a reply answers, as it is now.
type Quote struct {
	Seq       uint64 // its place, 0 if it is not here
	Sender    string
	SenderKey AccountKey
	Mine      bool
	Text      string
	Expires   time.Time // when it disappears, zero: never
	// Gone is why there is no text: "deleted", or "missing" where the message has
	// disappeared or never came.
	Gone string
}

// Why a quoted message has no text.
const (
	QuoteDeleted = "deleted"
	QuoteMissing = "missing"
)

// quote is what a reply answers. No text of a message that is deleted or over is in
// it: nothing of it is kept with the reply.
func (t *turn) quote(in vault.ConversationID, id content.ID, names *names) (*Quote, error) {
	m, err := t.MessageOf(in, id)
	if err != nil {
		return nil, err
	}
	if m == nil || m.Kind == entryNotice {
		return &Quote{Gone: QuoteMissing}, nil
	}
	q := &Quote{Seq: m.Seq, Sender: names.name(m.Sender), SenderKey: m.Sender, Mine: m.Mine, Text: m.Text, Expires: m.Expires}
	if m.Deleted {
		q.Gone = QuoteDeleted
	}
	return q, nil
}
