package vault

import "time"

// Invitation is a welcome that nobody has accepted: into a group whose id is that of a
// conversation that is here already, without a proof that it continues it.
type Invitation struct {
	ID           int64
	Conversation ConversationID // that it claims to be
	Inviter      [32]byte
	Kind         uint8
	Title        string
	Members      int // accounts
	Channel      [16]byte
	Received     time.Time
	Payload      []byte // as it came
}

const invitationColumns = `id, conversation, inviter, kind, title, members, channel, received, payload`

func readInvitation(r *row) *Invitation {
	i := &Invitation{
		ID: r.int64(0), Inviter: r.key(2), Kind: uint8(r.int64(3)), Title: r.text(4), Members: int(r.int64(5)),
		Received: r.time(7), Payload: r.bytes(8),
	}
	i.Conversation, i.Channel = r.id(1), r.id(6)
	return i
}

// AddInvitation keeps an invitation in place of the last of the same inviter into the
// same conversation. Those beyond a number of them are dropped, the oldest first.
func (tx *Tx) AddInvitation(i *Invitation, most int) error {
	if err := tx.run(`DELETE FROM invitation WHERE conversation = ? AND inviter = ?`, i.Conversation[:], i.Inviter[:]); err != nil {
		return err
	}
	err := tx.run(`INSERT INTO invitation (conversation, inviter, kind, title, members, channel, received, payload)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, i.Conversation[:], i.Inviter[:], int64(i.Kind), i.Title, i.Members, i.Channel[:], i.Received, i.Payload)
	if err != nil {
		return err
	}
	i.ID = tx.lastInsert()
	return tx.run(`DELETE FROM invitation WHERE id NOT IN (SELECT id FROM invitation ORDER BY id DESC LIMIT ?)`, most)
}

// Invitations returns the invitations, the oldest first.
func (tx *Tx) Invitations() (list []*Invitation, err error) {
	err = tx.each(`SELECT `+invitationColumns+` FROM invitation ORDER BY id`, func(r *row) error {
		list = append(list, readInvitation(r))
		return nil
	})
	return list, err
}

// DeleteInvitation forgets an invitation.
func (tx *Tx) DeleteInvitation(id int64) error {
	return tx.run(`DELETE FROM invitation WHERE id = ?`, id)
}
