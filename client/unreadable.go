package client

import (
	"crypto/sha256"
	"time"

	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls/rule"
)

// What could not be read: its sender is told, who knows which message it was.

const (
	// unreadablePause is the time between two notices in a conversation.
	unreadablePause = 10 * time.Minute
	// sentEnvelopeKept is how long we know which message an envelope of ours was.
	sentEnvelopeKept = processedKept
)

// envelopeSum names an envelope by its payload.
func envelopeSum(payload []byte) content.ID {
	sum := sha256.Sum256(payload)
	return content.ID(sum[:len(content.ID{})])
}

// lostForGood reports whether a message will never be read here and may be a member's: its
// epoch's keys are not here any more, or its sender used a key that is gone. Whatever else
// does not decrypt is junk that anybody could have sent. Junk that looks like the former
// names an envelope that no member has sent, and tells none of them anything.
func lostForGood(reason error) bool {
	broken, is := rule.Of(reason)
	return is && (broken == rule.FrameEpochRetained || broken == rule.FrameGenerationUsed || broken == rule.FrameRatchetTooFar)
}

// noteUnreadable keeps that what has come can't be read, to tell its sender. Nobody is
// told in a request, nor by whoever sends no receipts.
func (t *turn) noteUnreadable(row *talk, in *incoming, reason error) error {
	if t.c.settings.NoReceipts || row.State != stateActive && row.State != stateRecovering || !lostForGood(reason) {
		return nil
	}
	return t.AddUnreadable(row.ID, envelopeSum(in.payload), content.MaxUnreadable)
}

// tellUnreadable tells the senders of what could not be read, where that is due: once in
// a while in each conversation, so that junk makes no more of it.
func (t *turn) tellUnreadable() error {
	list, err := t.UnreadableConversations()
	if err != nil {
		return err
	}
	for _, id := range list {
		if err := t.tellUnreadableIn(id); err != nil {
			return err
		}
	}
	return nil
}

func (t *turn) tellUnreadableIn(id vault.ConversationID) error {
	row, err := t.talk(id)
	if err != nil || !t.mayTell(row) {
		return err
	}
	sums, told, err := t.Unreadable(id)
	if err != nil || t.now.Sub(told) < unreadablePause {
		return err
	}
	m := content.Message{ID: newID(), Sent: t.now}
	body := content.Unreadable{}
	for _, sum := range sums {
		body.Envelopes = append(body.Envelopes, sum)
	}
	m.Body = body
	raw, err := content.Encode(m)
	if err != nil {
		return err
	}
	if err := t.post(row, raw, 0); err != nil {
		return err
	}
	return t.ToldUnreadable(id, t.now)
}

// unreadable notes that a device of somebody could not read messages of ours. What is not
// ours, or of another conversation, says nothing.
func (t *turn) unreadable(row *talk, by AccountKey, body content.Unreadable) error {
	if blocked, err := t.Blocked(by); err != nil || blocked {
		return err
	}
	for _, sum := range body.Envelopes {
		seq, err := t.SentEnvelope(sum)
		if err != nil {
			return err
		}
		m, err := t.Message(seq)
		if err != nil {
			return err
		}
		if m == nil || m.Conversation != row.ID || !m.Mine || m.Deleted {
			continue
		}
		added, err := t.AddUnreadableBy(seq, by)
		if err != nil {
			return err
		}
		if added {
			if err := t.event(row, EventUnreadable, seq, notice{By: &by, Note: unreadableNote(by == t.c.account())}); err != nil {
				return err
			}
		}
	}
	return nil
}

// unreadableNote is what is said of a device that could not read a message.
func unreadableNote(own bool) string {
	if own {
		return "another device of yours could not read this"
	}
	return "this person's device could not read this"
}

// sentAs notes which envelope has brought a message of ours to somebody.
func (t *turn) sentAs(out *vault.Outgoing) error {
	if out.Message == 0 || len(out.Payload) == 0 {
		return nil
	}
	return t.SetSentEnvelope(envelopeSum(out.Payload), out.Message, t.now)
}
