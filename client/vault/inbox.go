package vault

import "time"

// Cursor is how far a queue of the device was read.
type Cursor struct {
	Channel [16]byte // zero: the inbox
	Seq     uint64   // processed up to here
}

// Cursors returns the cursors of all queues.
func (tx *Tx) Cursors() (list []Cursor, err error) {
	err = tx.each(`SELECT channel, seq FROM inbox_cursor`, func(r *row) error {
		list = append(list, Cursor{r.id(0), r.uint64(1)})
		return nil
	})
	return list, err
}

// SetCursor moves the cursor of a queue.
func (tx *Tx) SetCursor(channel [16]byte, seq uint64) error {
	return tx.run(`INSERT INTO inbox_cursor (channel, seq) VALUES (?, ?)
		ON CONFLICT (channel) DO UPDATE SET seq = excluded.seq`, channel[:], seq)
}

// Held is an envelope that came before what it needs.
type Held struct {
	ID       int64
	GroupID  []byte
	Epoch    uint64
	Channel  [16]byte
	Received time.Time
	Payload  []byte
}

// Hold keeps an envelope for later.
func (tx *Tx) Hold(h *Held) error {
	return tx.run(`INSERT INTO held (group_id, epoch, channel, received, payload) VALUES (?, ?, ?, ?, ?)`,
		h.GroupID, h.Epoch, h.Channel[:], h.Received, h.Payload)
}

// NextHeld returns the oldest held envelope of a group up to an epoch, nil if there
// is none.
func (tx *Tx) NextHeld(groupID []byte, epoch uint64) (h *Held, err error) {
	_, err = tx.one(`SELECT id, group_id, epoch, channel, received, payload FROM held
		WHERE group_id = ? AND epoch <= ? ORDER BY epoch, id LIMIT 1`,
		func(r *row) {
			h = &Held{ID: r.int64(0), GroupID: r.bytes(1), Epoch: r.uint64(2), Received: r.time(4), Payload: r.bytes(5)}
			h.Channel = r.id(3)
		}, groupID, epoch)
	return h, err
}

// HeldSize is how much is held: envelopes, and bytes of their payloads.
type HeldSize struct{ Envelopes, Bytes int64 }

// CountHeld returns how much is held for a group, for all groups of conversations, and
// for groups that no conversation has.
func (tx *Tx) CountHeld(groupID []byte) (group, known, unknown HeldSize, err error) {
	err = tx.each(`SELECT group_id = ?, EXISTS (SELECT 1 FROM conversation c WHERE c.group_id = held_size.group_id), envelopes, bytes
		FROM held_size`, func(r *row) error {
		of := HeldSize{r.int64(2), r.int64(3)}
		if r.bool(0) {
			group = of
		}
		sum := &unknown
		if r.bool(1) {
			sum = &known
		}
		sum.Envelopes, sum.Bytes = sum.Envelopes+of.Envelopes, sum.Bytes+of.Bytes
		return nil
	}, groupID)
	return group, known, unknown, err
}

// HeldGroups returns the groups for which envelopes are held, with their number.
func (tx *Tx) HeldGroups() (groups map[string]int64, err error) {
	groups = map[string]int64{}
	err = tx.each(`SELECT group_id, envelopes FROM held_size`, func(r *row) error {
		groups[string(r.bytes(0))] = r.int64(1)
		return nil
	})
	return groups, err
}

// DeleteHeld forgets a held envelope.
func (tx *Tx) DeleteHeld(id int64) error { return tx.run(`DELETE FROM held WHERE id = ?`, id) }

// DeleteHeldBefore forgets what was received before a time, and tells how many
// envelopes that were.
func (tx *Tx) DeleteHeldBefore(t time.Time) (int64, error) {
	err := tx.run(`DELETE FROM held WHERE received < ?`, t)
	return tx.changed(), err
}

// Processed reports whether a payload of this digest was processed before.
func (tx *Tx) Processed(sum []byte) (bool, error) {
	return tx.one(`SELECT 1 FROM processed WHERE sum = ?`, func(*row) {}, sum)
}

// SetProcessed notes that a payload was processed.
func (tx *Tx) SetProcessed(sum []byte, at time.Time) error {
	return tx.run(`INSERT OR IGNORE INTO processed (sum, at) VALUES (?, ?)`, sum, at)
}

// DeleteProcessed forgets the payloads that were processed before a time.
func (tx *Tx) DeleteProcessed(before time.Time) error {
	return tx.run(`DELETE FROM processed WHERE at < ?`, before)
}
