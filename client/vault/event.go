package vault

import "time"

// Event is something that happened and that programs are told once.
type Event struct {
	ID           uint64
	At           time.Time
	Conversation ConversationID
	Kind         string
	Message      uint64 // the entry that it speaks of, 0 if none
	Data         []byte
}

// AddEvent adds an event and sets its ID.
func (tx *Tx) AddEvent(e *Event) error {
	err := tx.run(`INSERT INTO event (at, conversation, kind, message, data) VALUES (?, ?, ?, ?, ?)`,
		e.At, e.Conversation[:], e.Kind, e.Message, nonNil(e.Data))
	e.ID = uint64(tx.lastInsert())
	return err
}

// Events returns the events behind a place.
func (tx *Tx) Events(after uint64, limit int) (list []*Event, err error) {
	err = tx.each(`SELECT id, at, conversation, kind, message, data FROM event WHERE id > ? ORDER BY id LIMIT ?`,
		func(r *row) error {
			list = append(list, &Event{
				r.uint64(0), r.time(1), ConversationID(r.id(2)), r.text(3), r.uint64(4), r.bytes(5),
			})
			return nil
		}, after, limit)
	return list, err
}

// Consumed returns how far a consumer of events has come; 0 for a new one.
func (tx *Tx) Consumed(consumer string) (event uint64, err error) {
	_, err = tx.one(`SELECT event FROM consumer WHERE name = ?`, func(r *row) { event = r.uint64(0) }, consumer)
	return event, err
}

// SetConsumed moves a consumer's place.
func (tx *Tx) SetConsumed(consumer string, event uint64) error {
	return tx.run(`INSERT OR REPLACE INTO consumer (name, event) VALUES (?, ?)`, consumer, event)
}

// DeleteEvents forgets all but the last events.
func (tx *Tx) DeleteEvents(keep uint64) error {
	return tx.run(`DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?`, keep)
}
