package vault

import "time"

// Outgoing is a message that the cluster does not have yet, or not for everybody.
type Outgoing struct {
	ID           int64
	Conversation ConversationID
	Message      uint64 // its place in the history, 0 if it has none
	Content      []byte // before encryption
	// Epoch and Payload are set once it is encrypted. A payload that may have reached
	// the cluster is never replaced by another.
	Epoch   uint64
	Payload []byte
	// Calls are the calls that it takes, with their request ids and who is left.
	Calls []byte
	Tries int
	Next  time.Time // not to be tried before
	Error string
}

const outgoingColumns = `id, conversation, message, content, epoch, payload, calls, tries, next, error`

func readOutgoing(r *row) *Outgoing {
	return &Outgoing{
		ID: r.int64(0), Conversation: ConversationID(r.id(1)), Message: r.uint64(2), Content: r.bytes(3), Epoch: r.uint64(4),
		Payload: r.bytes(5), Calls: r.bytes(6), Tries: int(r.int64(7)), Next: r.time(8), Error: r.text(9),
	}
}

// AddOutgoing puts a message into the outbox and sets its ID.
func (tx *Tx) AddOutgoing(o *Outgoing) error {
	err := tx.run(`INSERT INTO outbox (conversation, message, content, epoch, payload, calls) VALUES (?, ?, ?, ?, ?, ?)`,
		o.Conversation[:], o.Message, o.Content, o.Epoch, o.Payload, o.Calls)
	o.ID = tx.lastInsert()
	return err
}

// SetOutgoing writes what can change of a message in the outbox.
func (tx *Tx) SetOutgoing(o *Outgoing) error {
	return tx.run(`UPDATE outbox SET epoch = ?, payload = ?, calls = ?, tries = ?, next = ?, error = ? WHERE id = ?`,
		o.Epoch, o.Payload, o.Calls, o.Tries, o.Next, o.Error, o.ID)
}

// ForgetSealed has every message of the outbox encrypted again that can be.
func (tx *Tx) ForgetSealed() error {
	return tx.run(`UPDATE outbox SET payload = NULL, calls = NULL, next = NULL WHERE length(content) > 0`)
}

// DeleteOutgoing takes a message out of the outbox.
func (tx *Tx) DeleteOutgoing(id int64) error {
	return tx.run(`DELETE FROM outbox WHERE id = ?`, id)
}

// FirstOutgoing returns the oldest message of a conversation in the outbox, nil if
// there is none.
func (tx *Tx) FirstOutgoing(of ConversationID) (o *Outgoing, err error) {
	_, err = tx.one(`SELECT `+outgoingColumns+` FROM outbox WHERE conversation = ? ORDER BY id LIMIT 1`,
		func(r *row) { o = readOutgoing(r) }, of[:])
	return o, err
}

// LastOutgoing returns the newest message of a conversation in the outbox, nil if
// there is none.
func (tx *Tx) LastOutgoing(of ConversationID) (o *Outgoing, err error) {
	_, err = tx.one(`SELECT `+outgoingColumns+` FROM outbox WHERE conversation = ? ORDER BY id DESC LIMIT 1`,
		func(r *row) { o = readOutgoing(r) }, of[:])
	return o, err
}

// OutgoingByID returns a message of the outbox, nil if it is not there any more.
func (tx *Tx) OutgoingByID(id int64) (o *Outgoing, err error) {
	_, err = tx.one(`SELECT `+outgoingColumns+` FROM outbox WHERE id = ?`, func(r *row) { o = readOutgoing(r) }, id)
	return o, err
}

// FindOutgoing returns the ID of the newest message of a conversation in the outbox
// whose content fits, 0 if none does.
func (tx *Tx) FindOutgoing(of ConversationID, fits func(content []byte) bool) (id int64, err error) {
	err = tx.each(`SELECT id, content FROM outbox WHERE conversation = ? ORDER BY id DESC`, func(r *row) error {
		if !fits(r.bytes(1)) {
			return nil
		}
		id = r.int64(0)
		return errEnough
	}, of[:])
	return id, err
}

// Outgoing returns the messages in the outbox, the oldest first.
func (tx *Tx) Outgoing() (list []*Outgoing, err error) {
	err = tx.each(`SELECT `+outgoingColumns+` FROM outbox ORDER BY id`, func(r *row) error {
		list = append(list, readOutgoing(r))
		return nil
	})
	return list, err
}

// Unsent reports whether the outbox holds anything, without reading all of it.
func (tx *Tx) Unsent() (bool, error) {
	return tx.one(`SELECT id FROM outbox LIMIT 1`, func(*row) {})
}

// UnsentReason returns why the oldest message that could not be sent was not, "" if
// none has failed.
func (tx *Tx) UnsentReason() (reason string, err error) {
	_, err = tx.one(`SELECT error FROM outbox WHERE error != '' ORDER BY id LIMIT 1`, func(r *row) {
		reason = r.text(0)
	})
	return reason, err
}

// Senders returns the conversations that have something in the outbox, one step of
// the index for each.
func (tx *Tx) Senders() (list []ConversationID, err error) {
	err = tx.each(`WITH RECURSIVE sender(id) AS (
		SELECT min(conversation) FROM outbox
		UNION ALL SELECT (SELECT min(conversation) FROM outbox WHERE conversation > sender.id) FROM sender WHERE sender.id IS NOT NULL
	) SELECT id FROM sender WHERE id IS NOT NULL`, func(r *row) error {
		list = append(list, ConversationID(r.id(0)))
		return nil
	})
	return list, err
}

// Intent is a change of a group that the user wants and that does not hold yet.
type Intent struct {
	ID           int64
	Conversation ConversationID
	Kind         string
	Args         []byte
	Created      time.Time
	Tries        int
	Next         time.Time // not to be tried before
	Error        string
}

const intentColumns = `id, conversation, kind, args, created, tries, next, error`

func readIntent(r *row) *Intent {
	return &Intent{
		ID: r.int64(0), Conversation: ConversationID(r.id(1)), Kind: r.text(2), Args: r.bytes(3),
		Created: r.time(4), Tries: int(r.int64(5)), Next: r.time(6), Error: r.text(7),
	}
}

// AddIntent keeps an intent and sets its ID.
func (tx *Tx) AddIntent(i *Intent) error {
	err := tx.run(`INSERT INTO intent (conversation, kind, args, created, tries, next, error) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		i.Conversation[:], i.Kind, i.Args, i.Created, i.Tries, i.Next, i.Error)
	i.ID = tx.lastInsert()
	return err
}

// SetIntent writes what can change of an intent.
func (tx *Tx) SetIntent(i *Intent) error {
	return tx.run(`UPDATE intent SET args = ?, tries = ?, next = ?, error = ? WHERE id = ?`,
		i.Args, i.Tries, i.Next, i.Error, i.ID)
}

// DeleteIntent forgets an intent that holds, is moot, or has failed.
func (tx *Tx) DeleteIntent(id int64) error { return tx.run(`DELETE FROM intent WHERE id = ?`, id) }

// Intent returns an intent, nil if it is settled.
func (tx *Tx) Intent(id int64) (i *Intent, err error) {
	_, err = tx.one(`SELECT `+intentColumns+` FROM intent WHERE id = ?`, func(r *row) { i = readIntent(r) }, id)
	return i, err
}

// Intents returns the intents, the oldest first.
func (tx *Tx) Intents() (list []*Intent, err error) {
	err = tx.each(`SELECT `+intentColumns+` FROM intent ORDER BY id`, func(r *row) error {
		list = append(list, readIntent(r))
		return nil
	})
	return list, err
}

// FirstIntent returns the oldest intent of a conversation, nil if there is none.
func (tx *Tx) FirstIntent(of ConversationID) (i *Intent, err error) {
	_, err = tx.one(`SELECT `+intentColumns+` FROM intent WHERE conversation = ? ORDER BY id LIMIT 1`,
		func(r *row) { i = readIntent(r) }, of[:])
	return i, err
}

// HurryWaiting makes what waits for a time that is later than any that would be chosen
// today wait no more: it was chosen when the clock was ahead. Intents of the kind but
// wait as long as they do.
func (tx *Tx) HurryWaiting(but string, now, latest time.Time) (found bool, err error) {
	if err := tx.run(`UPDATE intent SET next = ? WHERE next > ? AND kind <> ?`, now, latest, but); err != nil {
		return false, err
	}
	intents := tx.changed()
	err = tx.run(`UPDATE outbox SET next = ? WHERE next > ?`, now, latest)
	return intents+tx.changed() > 0, err
}

// DueIntent returns the oldest intent of a conversation whose time has come, nil if
// there is none.
func (tx *Tx) DueIntent(of ConversationID, now time.Time) (i *Intent, err error) {
	_, err = tx.one(`SELECT `+intentColumns+` FROM intent WHERE conversation = ? AND coalesce(next, 0) <= ? ORDER BY id LIMIT 1`,
		func(r *row) { i = readIntent(r) }, of[:], now)
	return i, err
}

// IntentsOf returns the intents of a conversation, the oldest first.
func (tx *Tx) IntentsOf(of ConversationID) (list []*Intent, err error) {
	err = tx.each(`SELECT `+intentColumns+` FROM intent WHERE conversation = ? ORDER BY id`, func(r *row) error {
		list = append(list, readIntent(r))
		return nil
	}, of[:])
	return list, err
}
