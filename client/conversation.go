package client

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
)

// Kinds and states of conversations as they are kept. Numbers are forever.
const (
	kindDM    = uint8(groupstate.KindDM)
	kindGroup = uint8(groupstate.KindGroup)

	stateActive     = 1
	stateJoining    = 2 // we wait for a welcome, or for our way in by a link
	stateLeft       = 3
	stateRemoved    = 4
	stateRecovering = 5 // we lost the thread and are on the way back
	stateBroken     = 6 // there is no way back
	stateRequested  = 7 // somebody who is no contact has invited us; nothing goes out
	stateUnproven   = 8 // what continues it proves nothing: the user is asked
)

var stateNames = map[uint8]string{
	stateActive: "active", stateJoining: "joining", stateLeft: "left", stateRemoved: "removed",
	stateRecovering: "recovering", stateBroken: "broken", stateRequested: "request", stateUnproven: "unproven",
}

// Conversation is a conversation of two accounts or of a group. It is a name:
// everything is read from the vault when it is asked for.
type Conversation struct {
	c  *Client
	id vault.ConversationID
}

// ID is the conversation's id in this vault, 32 hexadecimal digits.
func (v *Conversation) ID() string { return idText(v.id) }

// Info describes a conversation.
type Info struct {
	ID      string
	Kind    string // dm or group
	Title   string
	Alias   string // what the user calls it, if anything
	Peer    string // of a DM: the other's username
	State   string // active, joining, left, removed, recovering, broken, request or unproven
	Reason  string // why it is in this state, where there is more to say
	Epoch   uint64
	Members int // accounts
	Unread  int
	LastAt  time.Time
	Last    string        // the last entry's text
	Timer   time.Duration // how long messages are kept, 0: forever
	Link    bool          // the group can be joined by a link
	Admin   bool          // we are an admin
	Suite   string        // MLS cipher suite
	SuiteID uint16        // its number, see docs/decisions/0102
	Waiting int           // messages and changes that are on their way
	Warning string        // that the title, or a DM's username, looks like another's
}

// Info returns what the conversation is now.
func (v *Conversation) Info() (info Info, err error) {
	err = v.c.look(func(t *turn) error {
		row, err := t.talk(v.id)
		if err != nil {
			return err
		}
		info, err = t.info(row)
		return err
	})
	return info, err
}

func (t *turn) info(row *talk) (info Info, err error) {
	names := t.names()
	info = Info{
		ID: idText(row.ID), Kind: "group", Title: names.titleOf(&row.Conversation), State: stateNames[row.State],
		Alias: row.Alias, Reason: row.Reason, LastAt: row.Active, Timer: row.Expire,
	}
	if row.Kind == kindDM {
		info.Kind, info.Peer = "dm", info.Title
	}
	if info.Warning, err = names.titleWarning(&row.Conversation); err != nil {
		return info, err
	}
	unread, err := t.Unread(row.ID, row.ReadSeq, messageKinds...)
	if err != nil {
		return info, err
	}
	info.Unread = int(unread)
	last, err := t.History(row.ID, 0, 1)
	if err != nil {
		return info, err
	}
	if len(last) == 1 {
		e, err := t.entry(last[0], names)
		if err != nil {
			return info, err
		}
		info.Last = e.Text
	}
	if row.group == nil {
		return info, nil
	}
	info.Epoch, info.Suite = row.group.Epoch(), row.group.Public().Suite().Name()
	info.SuiteID = uint16(row.group.Public().Suite().ID())
	info.Members = len(accountsOf(row.group))
	data := row.data()
	info.Link, info.Admin = len(data.Link) > 0, isAdmin(row.group, data, t.c.account())
	return info, nil
}

// Member is an account in a conversation.
type Member struct {
	Username string
	Key      AccountKey
	Devices  []DeviceID
	Admin    bool
	Self     bool
	Verified bool
	Warning  string // that the username looks like another's
}

// Members returns who is in the conversation, by name.
func (v *Conversation) Members() (list []Member, err error) {
	err = v.c.look(func(t *turn) error {
		row, err := t.talk(v.id)
		if err != nil || row.group == nil {
			return err
		}
		data, names := row.data(), t.names()
		for account, devices := range accountsOf(row.group) {
			m := Member{
				Username: names.name(account), Key: account, Devices: devices,
				Admin: isAdmin(row.group, data, account), Self: account == t.c.account(),
			}
			if contact, err := t.Contact(account); err == nil && contact != nil {
				m.Verified = contact.Verified
			}
			if m.Warning, err = names.accountWarning(account, m.Username); err != nil {
				return err
			}
			list = append(list, m)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Member) int { return strings.Compare(a.Username, b.Username) })
	return list, err
}

// membersOf returns who stands behind the leaves of a group.
func membersOf(g *mls.Group) map[groupstate.Member]mls.Member {
	members := map[groupstate.Member]mls.Member{}
	for _, m := range g.Members() {
		if c, err := groupstate.ParseCredential(m.Leaf.Credential); err == nil {
			members[c.Member] = m
		}
	}
	return members
}

// accountsOf returns the accounts of a group with their devices.
func accountsOf(g *mls.Group) map[AccountKey][]DeviceID {
	accounts := map[AccountKey][]DeviceID{}
	for _, m := range g.Members() {
		if c, err := groupstate.ParseCredential(m.Leaf.Credential); err == nil {
			accounts[c.Account] = append(accounts[c.Account], c.Device)
		}
	}
	return accounts
}

// isAdmin reports whether an account decides about a group. In a DM both do, and in a
// group that has lost all its admins, everybody.
func isAdmin(g *mls.Group, data *groupstate.Data, account AccountKey) bool {
	if data.Kind == groupstate.KindDM || data.Listed(account) {
		return true
	}
	for member := range accountsOf(g) {
		if data.Listed(member) {
			return false
		}
	}
	return true
}

// Conversations returns all conversations, the latest activity first.
func (c *Client) Conversations() (list []*Conversation, err error) {
	err = c.look(func(t *turn) error {
		rows, err := t.Conversations()
		for _, row := range rows {
			list = append(list, &Conversation{c, row.ID})
		}
		return err
	})
	return list, err
}

// idPrefix is how much of an id names a conversation at least, in hex digits.
const idPrefix = 6

// Find returns the conversation that a name stands for: an id or its beginning, the
// username of a person, with or without @, what the user calls a conversation, the title
// that the user gave to a group, or, after a #, the title that anybody gave to one. A
// bare name never leads to what somebody else has named (ErrNamedByOther).
func (c *Client) Find(name string) (*Conversation, error) {
	var found []vault.ConversationID
	var others bool
	err := c.look(func(t *turn) error {
		rows, err := t.Conversations()
		if err != nil {
			return err
		}
		found, others = t.called(name, rows)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0 && others:
		return nil, because(ErrNamedByOther, "%q", name)
	case len(found) == 0:
		return nil, because(ErrNoConversation, "%q", name)
	case len(found) > 1:
		var ids []string
		for _, id := range found {
			ids = append(ids, hex.EncodeToString(id[:idPrefix/2+1]))
		}
		return nil, because(ErrAmbiguous, "%q (%s)", name, strings.Join(ids, ", "))
	}
	return &Conversation{c, found[0]}, nil
}

// called returns the conversations that a name stands for, and whether others have
// given it to a group as its title.
func (t *turn) called(name string, rows []*vault.Conversation) (found []vault.ConversationID, others bool) {
	names := t.names()
	title, explicit := strings.CutPrefix(name, "#")
	own := func(r *vault.Conversation) bool {
		return r.Kind == kindGroup && t.c.who != nil && r.NamedBy == t.c.account()
	}
	for _, matches := range []func(*vault.Conversation) bool{
		func(r *vault.Conversation) bool { return idText(r.ID) == name },
		func(r *vault.Conversation) bool {
			return r.Kind == kindDM && strings.EqualFold("@"+names.titleOf(r), "@"+strings.TrimPrefix(name, "@")) ||
				r.Alias != "" && strings.EqualFold(r.Alias, name) || own(r) && strings.EqualFold(r.Title, name)
		},
		func(r *vault.Conversation) bool { return explicit && r.Kind == kindGroup && r.Title == title },
		func(r *vault.Conversation) bool {
			return explicit && r.Kind == kindGroup && strings.EqualFold(r.Title, title)
		},
		func(r *vault.Conversation) bool {
			return len(name) >= idPrefix && strings.HasPrefix(idText(r.ID), strings.ToLower(name))
		},
	} {
		for _, row := range rows {
			if matches(row) {
				found = append(found, row.ID)
			}
			others = others || row.Kind == kindGroup && strings.EqualFold(row.Title, name)
		}
		if len(found) > 0 {
			return found, others
		}
	}
	return nil, others
}

// MaxAlias is how long what the user calls a conversation may be, in bytes.
const MaxAlias = 64

// SetAlias has a conversation go by a name of the user's own, on this device; empty:
// no longer. It must not be the username of a contact.
func (v *Conversation) SetAlias(name string) error {
	if len(name) > MaxAlias || strings.HasPrefix(name, "#") || strings.HasPrefix(name, "@") || strings.TrimSpace(name) != name {
		return &Problem{"this can't be a conversation's name", "Choose one of up to 64 bytes that begins with neither # nor @."}
	}
	return v.c.turn(func(t *turn) error {
		row, err := t.talk(v.id)
		if err != nil {
			return err
		}
		if name != "" {
			if contact, err := t.ContactNamed(strings.ToLower(name)); err != nil || contact != nil {
				return because(ErrAmbiguous, "%q is somebody's username", name)
			}
		}
		row.Alias = name
		t.changed(row)
		return nil
	})
}
