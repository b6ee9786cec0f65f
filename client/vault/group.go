package vault

import (
	"fmt"
	"time"
)

// Group is the saved MLS state of a conversation (mls.Group.MarshalParts).
type Group struct {
	Epoch uint64
	// Fixed stays the same through an epoch, Moving changes with every message.
	Fixed, Moving []byte
	// Founded is set once the cluster has the group's record.
	Founded bool
	// Started is when the epoch began here, Sent how many messages we have sent in it.
	Started time.Time
	Sent    uint64
	// Renewed is when our leaf got the encryption key that it has, zero: not known.
	Renewed time.Time
}

// renewedColumn is a migration: the age of our own leaf's key in each group.
const renewedColumn = `ALTER TABLE mls_group ADD COLUMN renewed INTEGER;`

// Group returns the state of a conversation's group, nil if there is none.
func (tx *Tx) Group(of ConversationID) (g *Group, err error) {
	_, err = tx.one(`SELECT epoch, fixed, moving, founded, started, sent, renewed FROM mls_group WHERE conversation = ?`,
		func(r *row) {
			g = &Group{
				Epoch: r.uint64(0), Fixed: r.bytes(1), Moving: r.bytes(2),
				Founded: r.bool(3), Started: r.time(4), Sent: r.uint64(5), Renewed: r.time(6),
			}
		}, of[:])
	return g, err
}

// SetGroup writes the state of a conversation's group. Without Fixed, what is
// there of it stays: it must be of the same epoch.
func (tx *Tx) SetGroup(of ConversationID, g *Group) error {
	if g.Fixed == nil {
		err := tx.run(`UPDATE mls_group SET moving = ?, founded = ?, sent = ? WHERE conversation = ? AND epoch = ?`,
			g.Moving, g.Founded, g.Sent, of[:], g.Epoch)
		if err == nil && tx.changed() != 1 {
			err = fmt.Errorf("save group: epoch %d is not the one that is saved", g.Epoch)
		}
		return err
	}
	return tx.run(`INSERT OR REPLACE INTO mls_group (conversation, epoch, fixed, moving, founded, started, sent, renewed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, of[:], g.Epoch, g.Fixed, g.Moving, g.Founded, g.Started, g.Sent, g.Renewed)
}

// DeleteGroup forgets the keys of a conversation.
func (tx *Tx) DeleteGroup(of ConversationID) error {
	return tx.run(`DELETE FROM mls_group WHERE conversation = ?`, of[:])
}

// Past returns what is known of the past of a conversation's group (groupstate.Known),
// nil if nothing is. It outlives the group's state.
func (tx *Tx) Past(of ConversationID) (known []byte, err error) {
	_, err = tx.one(`SELECT known FROM group_past WHERE conversation = ?`, func(r *row) { known = r.bytes(0) }, of[:])
	return known, err
}

// SetPast writes what is known of the past of a conversation's group.
func (tx *Tx) SetPast(of ConversationID, known []byte) error {
	return tx.run(`INSERT OR REPLACE INTO group_past (conversation, known) VALUES (?, ?)`, of[:], known)
}

// earlierTable is a migration: the keys that our leaf had in each group before.
const earlierTable = `CREATE TABLE earlier_leaf (
	conversation BLOB PRIMARY KEY REFERENCES conversation(id) ON DELETE CASCADE, keys BLOB NOT NULL
) STRICT;`

// EarlierLeaves returns the keys that our leaf had before in a conversation's group
// (groupstate.EarlierLeaves), nil if none are kept.
func (tx *Tx) EarlierLeaves(of ConversationID) (keys []byte, err error) {
	_, err = tx.one(`SELECT keys FROM earlier_leaf WHERE conversation = ?`, func(r *row) { keys = r.bytes(0) }, of[:])
	return keys, err
}

// SetEarlierLeaves writes the keys that our leaf had before; empty: none are kept.
func (tx *Tx) SetEarlierLeaves(of ConversationID, keys []byte) error {
	if len(keys) == 0 {
		return tx.run(`DELETE FROM earlier_leaf WHERE conversation = ?`, of[:])
	}
	return tx.run(`INSERT OR REPLACE INTO earlier_leaf (conversation, keys) VALUES (?, ?)`, of[:], keys)
}

// WithEarlierLeaves returns the conversations in which earlier keys of our leaf are kept.
func (tx *Tx) WithEarlierLeaves() (list []ConversationID, err error) {
	err = tx.each(`SELECT conversation FROM earlier_leaf ORDER BY conversation`, func(r *row) error {
		list = append(list, ConversationID(r.id(0)))
		return nil
	})
	return list, err
}

// Pending is a commit that is on its way to the cluster.
type Pending struct {
	Intent int64
	// Next is the group's state if it is accepted (mls.Group.Marshal).
	Next []byte
	// Call is how it is published, so that it can be repeated as it was.
	Call []byte
}

// Pending returns the commit of a conversation that is on its way, nil if none is.
func (tx *Tx) Pending(of ConversationID) (p *Pending, err error) {
	_, err = tx.one(`SELECT intent, next, call FROM pending_commit WHERE conversation = ?`, func(r *row) {
		p = &Pending{Intent: r.int64(0), Next: r.bytes(1), Call: r.bytes(2)}
	}, of[:])
	return p, err
}

// SetPending keeps a commit that is about to be sent; nil forgets it.
func (tx *Tx) SetPending(of ConversationID, p *Pending) error {
	if p == nil {
		return tx.run(`DELETE FROM pending_commit WHERE conversation = ?`, of[:])
	}
	return tx.run(`INSERT OR REPLACE INTO pending_commit (conversation, intent, next, call) VALUES (?, ?, ?, ?)`,
		of[:], p.Intent, p.Next, p.Call)
}

// PendingConversations returns the conversations with a commit on its way.
func (tx *Tx) PendingConversations() (list []ConversationID, err error) {
	err = tx.each(`SELECT conversation FROM pending_commit ORDER BY conversation`, func(r *row) error {
		list = append(list, ConversationID(r.id(0)))
		return nil
	})
	return list, err
}
