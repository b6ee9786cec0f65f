package vault

import (
	"strings"
	"time"
)

// Message is an entry of a conversation's history.
type Message struct {
	Seq          uint64 // its place, over all conversations
	Conversation ConversationID
	ID           [16]byte
	Sender       [32]byte // account; zero: the client itself
	Mine         bool
	Kind         uint8
	Sent         time.Time // by the sender's clock
	Received     time.Time
	Text         string
	Body         []byte // as it came
	ReplyTo      []byte // a message's id, or nil
	Status       uint8
	Edited       bool
	Deleted      bool
	Expires      time.Time // zero: never
}

const messageColumns = `seq, conversation, id, sender, mine, kind, sent, received, text, body, reply_to, status, edited, deleted, expires`

func readMessage(r *row) *Message {
	m := &Message{
		Seq: r.uint64(0), Conversation: ConversationID(r.id(1)), ID: r.id(2), Sender: r.key(3),
		Mine: r.bool(4), Kind: uint8(r.int64(5)), Sent: r.time(6), Received: r.time(7), Text: r.text(8), Body: r.bytes(9),
		ReplyTo: r.bytes(10), Status: uint8(r.int64(11)), Edited: r.bool(12), Deleted: r.bool(13),
	}
	m.Expires = r.time(14)
	return m
}

// AddMessage adds an entry to the history and sets its Seq. It reports whether it is
// new: an entry of the same sender and id stays as it is.
func (tx *Tx) AddMessage(m *Message) (added bool, err error) {
	err = tx.run(`INSERT INTO message (conversation, id, sender, mine, kind, sent, received, text, body, reply_to, status, expires)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (conversation, sender, id) DO NOTHING`,
		m.Conversation[:], m.ID[:], m.Sender[:], m.Mine, int64(m.Kind), m.Sent, m.Received, m.Text, nonNil(m.Body),
		m.ReplyTo, int64(m.Status), m.Expires)
	if err != nil || tx.changed() == 0 {
		return false, err
	}
	m.Seq = uint64(tx.lastInsert())
	return true, tx.addForm(m.Seq, m.Text)
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// alive is the condition of entries whose time is not over; its argument is tx.now.
// No read gives others: what DeleteExpired has not removed yet is gone all the same.
const alive = `(expires IS NULL OR expires > ?)`

// Message returns an entry by its place, nil if there is none.
func (tx *Tx) Message(seq uint64) (*Message, error) { return tx.message(`seq = ?`, seq) }

// MessageFrom returns a sender's entry, nil if there is none.
func (tx *Tx) MessageFrom(in ConversationID, sender [32]byte, id [16]byte) (*Message, error) {
	return tx.message(`conversation = ? AND sender = ? AND id = ?`, in[:], sender[:], id[:])
}

// MessageOf returns the entry of an id, the oldest if several senders chose it.
func (tx *Tx) MessageOf(in ConversationID, id [16]byte) (*Message, error) {
	return tx.message(`conversation = ? AND id = ? ORDER BY seq LIMIT 1`, in[:], id[:])
}

func (tx *Tx) message(where string, args ...any) (m *Message, err error) {
	_, err = tx.one(`SELECT `+messageColumns+` FROM message WHERE `+alive+` AND `+where,
		func(r *row) { m = readMessage(r) }, append([]any{tx.now}, args...)...)
	return m, err
}

// SetMessage writes what can change of an entry.
func (tx *Tx) SetMessage(m *Message) error {
	err := tx.run(`UPDATE message SET text = ?, body = ?, status = ?, edited = ?, deleted = ? WHERE seq = ?`,
		m.Text, nonNil(m.Body), int64(m.Status), m.Edited, m.Deleted, m.Seq)
	if err != nil {
		return err
	}
	return tx.addForm(m.Seq, m.Text) // the old text's is gone: message_changed
}

// RaiseStatus sets the status of one of our entries unless it is higher already.
func (tx *Tx) RaiseStatus(seq uint64, status uint8) error {
	return tx.run(`UPDATE message SET status = ? WHERE seq = ? AND mine AND status < ?`, int64(status), seq, int64(status))
}

// History returns the last entries of a conversation before a place (0: the end),
// the oldest first.
func (tx *Tx) History(of ConversationID, before uint64, limit int) (list []*Message, err error) {
	if before == 0 {
		before = 1<<63 - 1
	}
	err = tx.each(`SELECT * FROM (SELECT `+messageColumns+` FROM message WHERE `+alive+` AND conversation = ? AND seq < ? ORDER BY seq DESC LIMIT ?)
		ORDER BY seq`, func(r *row) error {
		list = append(list, readMessage(r))
		return nil
	}, tx.now, of[:], before, limit)
	return list, err
}

// Unread counts the entries by others behind a place.
func (tx *Tx) Unread(in ConversationID, after uint64, kinds ...uint8) (n int64, err error) {
	marks := strings.TrimSuffix(strings.Repeat("?,", len(kinds)), ",")
	args := []any{tx.now, in[:], after}
	for _, k := range kinds {
		args = append(args, int64(k))
	}
	_, err = tx.one(`SELECT count(*) FROM message WHERE `+alive+` AND conversation = ? AND seq > ? AND NOT mine AND NOT deleted AND kind IN (`+marks+`)`,
		func(r *row) { n = r.int64(0) }, args...)
	return n, err
}

// DeleteExpired removes the entries whose time is over, with the reactions to them,
// and returns where they were. Their texts are out of the files with the next
// [Vault.Scrub].
func (tx *Tx) DeleteExpired(now time.Time) (in []ConversationID, err error) {
	err = tx.each(`SELECT DISTINCT conversation FROM message WHERE expires <= ?`, func(r *row) error {
		in = append(in, ConversationID(r.id(0)))
		return nil
	}, now)
	if err != nil || len(in) == 0 {
		return nil, err
	}
	return in, tx.run(`DELETE FROM message WHERE expires <= ?`, now)
}

// NextExpiry returns when the time of the next entry is over, zero if none ever is.
func (tx *Tx) NextExpiry() (at time.Time, err error) {
	_, err = tx.one(`SELECT min(expires) FROM message WHERE expires > 0`, func(r *row) { at = r.time(0) })
	return at, err
}

// Reaction is a sender's mark on a message.
type Reaction struct {
	Sender [32]byte
	Emoji  string
}

// SetReaction adds a reaction or takes it back.
func (tx *Tx) SetReaction(in ConversationID, message [16]byte, by Reaction, remove bool) error {
	if remove {
		return tx.run(`DELETE FROM reaction WHERE conversation = ? AND message = ? AND sender = ? AND emoji = ?`,
			in[:], message[:], by.Sender[:], by.Emoji)
	}
	return tx.run(`INSERT OR IGNORE INTO reaction (conversation, message, sender, emoji) VALUES (?, ?, ?, ?)`,
		in[:], message[:], by.Sender[:], by.Emoji)
}

// Reactions returns the reactions to a message.
func (tx *Tx) Reactions(in ConversationID, message [16]byte) (list []Reaction, err error) {
	err = tx.each(`SELECT sender, emoji FROM reaction WHERE conversation = ? AND message = ? ORDER BY emoji, sender`,
		func(r *row) error {
			list = append(list, Reaction{r.key(0), r.text(1)})
			return nil
		}, in[:], message[:])
	return list, err
}
