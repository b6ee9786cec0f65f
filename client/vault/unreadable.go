package vault

import "time"

// unreadableTables is what became of messages that a device could not read: which
// envelope was which message of ours, whose device could not read it, and what we are
// still to tell others.
const unreadableTables = `
CREATE TABLE sent_envelope (
	sum BLOB PRIMARY KEY, message INTEGER NOT NULL REFERENCES message(seq) ON DELETE CASCADE, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_envelope_message ON sent_envelope (message);
CREATE INDEX sent_envelope_at ON sent_envelope (at);
CREATE TABLE unreadable_by (
	message INTEGER NOT NULL REFERENCES message(seq) ON DELETE CASCADE, account BLOB NOT NULL,
	PRIMARY KEY (message, account)
) STRICT, WITHOUT ROWID;
CREATE TABLE unreadable_due (
	conversation BLOB NOT NULL REFERENCES conversation(id) ON DELETE CASCADE, sum BLOB NOT NULL,
	PRIMARY KEY (conversation, sum)
) STRICT, WITHOUT ROWID;
CREATE TABLE unreadable_told (
	conversation BLOB PRIMARY KEY REFERENCES conversation(id) ON DELETE CASCADE, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`

// SetSentEnvelope notes which envelope has brought an entry of ours to others: the last
// counts.
func (tx *Tx) SetSentEnvelope(sum [16]byte, message uint64, at time.Time) error {
	if err := tx.run(`DELETE FROM sent_envelope WHERE message = ?`, message); err != nil {
		return err
	}
	return tx.run(`INSERT OR REPLACE INTO sent_envelope (sum, message, at) SELECT ?, seq, ? FROM message WHERE seq = ?`,
		sum[:], at, message)
}

// SentEnvelope returns the place of the entry that an envelope of ours was, 0: none of
// ours, or forgotten.
func (tx *Tx) SentEnvelope(sum [16]byte) (message uint64, err error) {
	_, err = tx.one(`SELECT message FROM sent_envelope WHERE sum = ?`, func(r *row) { message = r.uint64(0) }, sum[:])
	return message, err
}

// DeleteSentEnvelopes forgets the envelopes that were sent before a time.
func (tx *Tx) DeleteSentEnvelopes(before time.Time) error {
	return tx.run(`DELETE FROM sent_envelope WHERE at < ?`, before)
}

// AddUnreadableBy notes that a device of an account could not read an entry of ours, and
// reports whether that is new.
func (tx *Tx) AddUnreadableBy(message uint64, account [32]byte) (added bool, err error) {
	err = tx.run(`INSERT OR IGNORE INTO unreadable_by (message, account) VALUES (?, ?)`, message, account[:])
	return tx.changed() > 0, err
}

// UnreadableBy returns whose devices could not read an entry of ours.
func (tx *Tx) UnreadableBy(message uint64) (accounts [][32]byte, err error) {
	err = tx.each(`SELECT account FROM unreadable_by WHERE message = ? ORDER BY account`, func(r *row) error {
		accounts = append(accounts, r.key(0))
		return nil
	}, message)
	return accounts, err
}

// AddUnreadable keeps which envelope of a conversation could not be read, until its
// sender is told; beyond limit it is dropped.
func (tx *Tx) AddUnreadable(of ConversationID, sum [16]byte, limit int) error {
	return tx.run(`INSERT OR IGNORE INTO unreadable_due (conversation, sum) SELECT ?, ?
		WHERE (SELECT count(*) FROM unreadable_due WHERE conversation = ?) < ?`, of[:], sum[:], of[:], limit)
}

// UnreadableConversations returns those in which somebody is still to be told.
func (tx *Tx) UnreadableConversations() (list []ConversationID, err error) {
	err = tx.each(`SELECT DISTINCT conversation FROM unreadable_due`, func(r *row) error {
		list = append(list, ConversationID(r.id(0)))
		return nil
	})
	return list, err
}

// Unreadable returns the envelopes of a conversation that could not be read and of which
// nobody was told, and when somebody was told last.
func (tx *Tx) Unreadable(of ConversationID) (sums [][16]byte, told time.Time, err error) {
	err = tx.each(`SELECT sum FROM unreadable_due WHERE conversation = ? ORDER BY sum`, func(r *row) error {
		sums = append(sums, r.id(0))
		return nil
	}, of[:])
	if err != nil {
		return nil, told, err
	}
	_, err = tx.one(`SELECT at FROM unreadable_told WHERE conversation = ?`, func(r *row) { told = r.time(0) }, of[:])
	return sums, told, err
}

// ToldUnreadable notes that everybody concerned was told.
func (tx *Tx) ToldUnreadable(of ConversationID, at time.Time) error {
	if err := tx.run(`DELETE FROM unreadable_due WHERE conversation = ?`, of[:]); err != nil {
		return err
	}
	return tx.run(`INSERT OR REPLACE INTO unreadable_told (conversation, at) VALUES (?, ?)`, of[:], at)
}
