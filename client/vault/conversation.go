package vault

import "time"

// ConversationID names a conversation in this vault: 16 random bytes.
type ConversationID [16]byte

// Conversation is a conversation as it stands in the list, without its keys.
type Conversation struct {
	ID      ConversationID
	Kind    uint8
	GroupID []byte
	Channel [16]byte // of a DM
	Peer    [32]byte // of a DM: the other's account
	Title   string
	State   uint8
	Reason  string        // why it is in this state, for people
	Expire  time.Duration // how long messages are kept; 0: forever
	Created time.Time
	Active  time.Time // of the last message
	// ReadSeq is the last message that the user has seen.
	ReadSeq uint64
	// Alias is what the user calls it, empty: nothing of its own.
	Alias string
	// NamedBy is the account that gave a group its title, zero if that is not known.
	NamedBy [32]byte
	// Inviter is the account that let us in, zero: nobody did.
	Inviter [32]byte
	// Offer is the digest of a continuation that the user is asked about, or has agreed
	// to; empty: none.
	Offer []byte
}

const conversationColumns = `id, kind, group_id, channel, peer, title, state, reason, expire, created, active, read_seq, alias, named_by, inviter, offer`

func readConversation(r *row) *Conversation {
	c := &Conversation{
		Kind: uint8(r.int64(1)), GroupID: r.bytes(2), Title: r.text(5), State: uint8(r.int64(6)), Reason: r.text(7),
		Expire: time.Duration(r.int64(8)) * time.Second, Created: r.time(9), Active: r.time(10), ReadSeq: r.uint64(11),
	}
	c.ID = r.id(0)
	c.Channel = r.id(3)
	c.Peer = r.key(4)
	c.Alias, c.NamedBy, c.Inviter, c.Offer = r.text(12), r.key(13), r.key(14), r.bytes(15)
	return c
}

// AddConversation adds a conversation.
func (tx *Tx) AddConversation(c *Conversation) error {
	return tx.run(`INSERT INTO conversation (`+conversationColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.ID[:], int64(c.Kind), c.GroupID, c.Channel[:], c.Peer[:], c.Title, int64(c.State), c.Reason,
		int64(c.Expire/time.Second), c.Created, c.Active, c.ReadSeq, c.Alias, c.NamedBy[:], c.Inviter[:], c.Offer)
}

// SetConversation writes what can change of a conversation.
func (tx *Tx) SetConversation(c *Conversation) error {
	return tx.run(`UPDATE conversation SET group_id = ?, title = ?, state = ?, reason = ?, expire = ?, active = ?, read_seq = ?,
		alias = ?, named_by = ?, inviter = ?, offer = ? WHERE id = ?`,
		c.GroupID, c.Title, int64(c.State), c.Reason, int64(c.Expire/time.Second), c.Active, c.ReadSeq,
		c.Alias, c.NamedBy[:], c.Inviter[:], c.Offer, c.ID[:])
}

// ConversationWith returns the conversation of two on a channel, nil if there is none.
func (tx *Tx) ConversationWith(channel [16]byte) (*Conversation, error) {
	return tx.conversation(`kind = 1 AND channel = ?`, channel[:])
}

// DeleteConversation removes a conversation and all that belongs to it.
func (tx *Tx) DeleteConversation(id ConversationID) error {
	return tx.run(`DELETE FROM conversation WHERE id = ?`, id[:])
}

// Conversation returns a conversation, nil if there is none.
func (tx *Tx) Conversation(id ConversationID) (*Conversation, error) {
	return tx.conversation(`id = ?`, id[:])
}

// ConversationOf returns the conversation of an MLS group, nil if there is none.
func (tx *Tx) ConversationOf(groupID []byte) (*Conversation, error) {
	return tx.conversation(`group_id = ?`, groupID)
}

func (tx *Tx) conversation(where string, args ...any) (c *Conversation, err error) {
	_, err = tx.one(`SELECT `+conversationColumns+` FROM conversation WHERE `+where,
		func(r *row) { c = readConversation(r) }, args...)
	return c, err
}

// Conversations returns all conversations, the latest activity first.
func (tx *Tx) Conversations() (list []*Conversation, err error) {
	err = tx.each(`SELECT `+conversationColumns+` FROM conversation ORDER BY active DESC, id`, func(r *row) error {
		list = append(list, readConversation(r))
		return nil
	})
	return list, err
}
