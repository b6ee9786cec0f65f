package client

import (
	"context"
	"slices"
	"strings"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/schemas"
)

// DM returns the conversation with a person, and makes it if there is none. It
// returns when the other can be written to.
func (c *Client) DM(ctx context.Context, username string) (*Conversation, error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	peer, err := c.resolve(ctx, username)
	if err != nil {
		return nil, err
	}
	if peer == c.Account().Key {
		return nil, because(ErrSelf, "%s", username)
	}
	channel, wasNew, err := c.conn.CreateChannel(ctx, peer)
	if err != nil {
		return nil, err
	}
	groupID, err := c.toFound(ctx, channel, wasNew)
	if err != nil {
		return nil, err
	}
	var v *Conversation
	var intent int64
	err = c.turn(func(t *turn) (err error) {
		if err := t.befriend(peer); err != nil {
			return err
		}
		v, intent, err = t.openDM(peer, channel, groupID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if intent != 0 {
		err = c.settled(ctx, intent)
	}
	return v, err
}

// toFound returns the id of the group that is to be founded on a channel, nil if
// nobody has to. Whoever made the channel founds it. If that did not happen, we do: the
// cluster lets one of us win. If there is a record, and no invitation to it among all
// that has come for us, our keys are lost, and a new group begins, about which the
// other is asked.
func (c *Client) toFound(ctx context.Context, channel conn.ChannelID, wasNew bool) ([]byte, error) {
	if wasNew {
		return channel[:], nil
	}
	_, err := c.conn.FetchGroup(ctx, channel[:])
	if conn.Is(err, schemas.Code_groupNotFound) {
		return channel[:], nil
	}
	if err != nil {
		return nil, err
	}
	here, err := c.holds(channel)
	if err != nil || here {
		return nil, err
	}
	if err := c.Sync(ctx); err != nil {
		return nil, err
	}
	if here, err = c.holds(channel); err != nil || here {
		return nil, err
	}
	again := newID()
	return append(channel[:], again[:]...), nil
}

// holds reports whether a conversation of two is here, with keys or waiting for a yes.
func (c *Client) holds(channel conn.ChannelID) (here bool, err error) {
	err = c.look(func(t *turn) error {
		row, err := t.ConversationWith(channel)
		if err != nil || row == nil {
			return err
		}
		v, err := t.talk(row.ID)
		here = err == nil && (v.group != nil || v.State == stateRequested || v.State == stateUnproven)
		return err
	})
	return here, err
}

// openDM returns the conversation on a channel, made if it is not there. found is the
// id of the group that is to be founded if there is none; intent is that of doing so.
func (t *turn) openDM(peer AccountKey, channel conn.ChannelID, found []byte) (v *Conversation, intent int64, err error) {
	row, err := t.dmOn(channel)
	if err != nil {
		return nil, 0, err
	}
	if row == nil {
		row = &talk{Conversation: vault.Conversation{
			ID: newID(), Kind: kindDM, GroupID: channel[:], Channel: channel, Peer: peer,
			State: stateJoining, Created: t.now, Active: t.now,
		}}
		if err := t.add(row); err != nil {
			return nil, 0, err
		}
	}
	v = &Conversation{t.c, row.ID}
	if row.State == stateRequested {
		return v, 0, t.acceptRequest(row) // who writes to somebody says yes to what they asked
	}
	if row.group != nil {
		if row.founded {
			return v, 0, nil
		}
		pending, err := t.FirstIntent(row.ID)
		if err != nil || pending == nil {
			return v, 0, err
		}
		return v, pending.ID, nil
	}
	if found == nil || row.State == stateUnproven {
		return v, 0, nil // the founder's welcome is on its way
	}
	row.GroupID = found
	if err := t.create(row, &groupstate.Data{Kind: groupstate.KindDM}); err != nil {
		return nil, 0, err
	}
	intent, err = t.intend(row, wish{Kind: wishFound, Accounts: []AccountKey{peer}})
	return v, intent, err
}

// dmOn returns the conversation of two on a channel, nil if there is none.
func (t *turn) dmOn(channel conn.ChannelID) (*talk, error) {
	row, err := t.ConversationWith(channel)
	if err != nil || row == nil {
		return nil, err
	}
	return t.talk(row.ID)
}

// create makes the group of a conversation, with us as its only member.
func (t *turn) create(row *talk, data *groupstate.Data) error {
	if data.Kind == groupstate.KindGroup {
		if err := data.SetGrant(row.GroupID, 0, [][identity.KeySize]byte{t.c.account()}, t.c.identity); err != nil {
			return err
		}
	}
	group, err := mls.Create(t.c.config(), t.c.identity, row.GroupID, data.Extensions(nil), t.now)
	if err != nil {
		return err
	}
	row.supersede()
	row.known = nil
	row.enter(group, t.now)
	row.founded, row.State, row.Reason = false, stateActive, ""
	t.changed(row)
	return nil
}

// CreateGroup makes a group with these people and us as its admin. It returns when
// the cluster has it and the invitations.
func (c *Client) CreateGroup(ctx context.Context, title string, usernames ...string) (*Conversation, error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	if err := checkTitle(title); err != nil {
		return nil, err
	}
	accounts, err := c.resolveAll(ctx, usernames)
	if err != nil {
		return nil, err
	}
	first, second := newID(), newID()
	row := &talk{Conversation: vault.Conversation{
		ID: newID(), Kind: kindGroup, GroupID: append(first[:], second[:]...), Title: title,
		State: stateActive, Created: c.now(), Active: c.now(), NamedBy: c.account(),
	}}
	var intent int64
	err = c.turn(func(t *turn) error {
		if err := t.befriend(accounts...); err != nil {
			return err
		}
		if err := t.add(row); err != nil {
			return err
		}
		data := &groupstate.Data{Kind: groupstate.KindGroup, Title: title}
		data.SetAdmin(c.account(), true)
		if err := t.create(row, data); err != nil {
			return err
		}
		intent, err = t.intend(row, wish{Kind: wishFound, Accounts: accounts})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Conversation{c, row.ID}, c.settled(ctx, intent)
}

func checkTitle(title string) error {
	switch {
	case strings.TrimSpace(title) == "":
		return &Problem{"a group needs a title", "Give it one."}
	case groupstate.CheckTitle(title) != nil:
		return &Problem{groupstate.ErrTitle.Error(), "Give the group another title."}
	case len(title) > groupstate.MaxTitle:
		return because(ErrTooLong, "the title has %d bytes, %d are allowed", len(title), groupstate.MaxTitle)
	}
	return nil
}

// resolveAll returns the accounts of usernames, each once.
func (c *Client) resolveAll(ctx context.Context, usernames []string) (accounts []AccountKey, err error) {
	for _, name := range usernames {
		key, err := c.resolve(ctx, name)
		if err != nil {
			return nil, err
		}
		if key == c.Account().Key {
			return nil, because(ErrSelf, "%s", name)
		}
		if !slices.Contains(accounts, key) {
			accounts = append(accounts, key)
		}
	}
	return accounts, nil
}
