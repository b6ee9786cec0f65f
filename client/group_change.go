package client

import (
	"context"
	"slices"
	"time"

	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
)

// may says who may want a change.
type may uint8

const (
	mayMember may = iota // every member, also of a DM
	mayAdmin             // the admins of a group
)

// want checks a wish against what is now, keeps it, and waits until it holds.
func (v *Conversation) want(ctx context.Context, who may, make func(t *turn, row *talk, data *groupstate.Data) (wish, error)) error {
	if err := v.c.Start(); err != nil {
		return err
	}
	var id int64
	err := v.c.turn(func(t *turn) error {
		row, data, err := t.member(v.id)
		if err != nil {
			return err
		}
		if who == mayAdmin {
			if row.Kind == kindDM {
				return ErrNotGroup
			}
			if !isAdmin(row.group, data, t.c.account()) {
				return ErrNotAdmin
			}
		}
		w, err := make(t, row, data)
		if err != nil {
			return err
		}
		id, err = t.intend(row, w)
		return err
	})
	if err != nil {
		return err
	}
	return v.c.settled(ctx, id)
}

// member returns a conversation that we are in.
func (t *turn) member(id vault.ConversationID) (*talk, *groupstate.Data, error) {
	row, err := t.talk(id)
	if err != nil {
		return nil, nil, err
	}
	if err := row.usable(); err != nil {
		return nil, nil, err
	}
	if row.group == nil {
		return nil, nil, because(ErrNotMember, "the invitation has not come yet")
	}
	return row, row.data(), nil
}

// Invite adds people to a group, with all their devices.
func (v *Conversation) Invite(ctx context.Context, usernames ...string) error {
	if err := v.c.Start(); err != nil {
		return err
	}
	accounts, err := v.c.resolveAll(ctx, usernames)
	if err != nil {
		return err
	}
	return v.want(ctx, mayAdmin, func(t *turn, row *talk, _ *groupstate.Data) (wish, error) {
		if err := t.befriend(accounts...); err != nil {
			return wish{}, err
		}
		in := accountsOf(row.group)
		for i, account := range accounts {
			if _, there := in[account]; there {
				return wish{}, because(ErrAlreadyIn, "%s", usernames[min(i, len(usernames)-1)])
			}
		}
		return wish{Kind: wishInvite, Accounts: accounts}, nil
	})
}

// Remove removes somebody from a group. The link, if there is one, is replaced.
func (v *Conversation) Remove(ctx context.Context, username string) error {
	return v.aboutMember(ctx, username, func(_ *groupstate.Data, account AccountKey) (wish, error) {
		if account == v.c.account() {
			return wish{}, because(ErrSelf, "leave the group instead")
		}
		return wish{Kind: wishRemove, Accounts: []AccountKey{account}}, nil
	})
}

// Promote makes a member an admin.
func (v *Conversation) Promote(ctx context.Context, username string) error {
	return v.aboutMember(ctx, username, func(_ *groupstate.Data, account AccountKey) (wish, error) {
		return wish{Kind: wishRole, Accounts: []AccountKey{account}, On: true}, nil
	})
}

// Demote makes an admin an ordinary member.
func (v *Conversation) Demote(ctx context.Context, username string) error {
	return v.aboutMember(ctx, username, func(data *groupstate.Data, account AccountKey) (wish, error) {
		if len(data.Admins) == 1 && data.Listed(account) {
			return wish{}, ErrLastAdmin
		}
		return wish{Kind: wishRole, Accounts: []AccountKey{account}}, nil
	})
}

// aboutMember wants something of a member.
func (v *Conversation) aboutMember(ctx context.Context, username string, make func(*groupstate.Data, AccountKey) (wish, error)) error {
	account, err := v.memberNamed(ctx, username)
	if err != nil {
		return err
	}
	return v.want(ctx, mayAdmin, func(_ *turn, row *talk, data *groupstate.Data) (wish, error) {
		if _, there := accountsOf(row.group)[account]; !there {
			return wish{}, because(ErrNotIn, "%s", username)
		}
		return make(data, account)
	})
}

// memberNamed returns the account of a member: also of one whose name leads to
// another key by now.
func (v *Conversation) memberNamed(ctx context.Context, username string) (AccountKey, error) {
	list, err := v.Members()
	if err != nil {
		return AccountKey{}, err
	}
	for _, m := range list {
		if m.Username == username || "@"+m.Username == username {
			return m.Key, nil
		}
	}
	return v.c.resolve(ctx, username)
}

// Rename changes the group's title.
func (v *Conversation) Rename(ctx context.Context, title string) error {
	if err := checkTitle(title); err != nil {
		return err
	}
	return v.want(ctx, mayAdmin, func(*turn, *talk, *groupstate.Data) (wish, error) {
		return wish{Kind: wishRename, Title: title}, nil
	})
}

// Rekey renews our keys, so that whoever knew the old ones can't read on.
func (v *Conversation) Rekey(ctx context.Context) error {
	return v.want(ctx, mayMember, func(*turn, *talk, *groupstate.Data) (wish, error) {
		return wish{Kind: wishRekey}, nil
	})
}

// SyncDevices adds the new devices of the members and removes revoked ones.
func (v *Conversation) SyncDevices(ctx context.Context) error {
	return v.want(ctx, mayMember, func(*turn, *talk, *groupstate.Data) (wish, error) {
		return wish{Kind: wishDevices}, nil
	})
}

// SetTimer sets how long the members keep messages from now on, in whole seconds;
// 0: forever.
func (v *Conversation) SetTimer(ctx context.Context, after time.Duration) error {
	if after < 0 || after > 10*365*24*time.Hour || after%time.Second != 0 {
		return &Problem{"messages can be kept for a whole number of seconds up to ten years", "Choose another time; 0 keeps them for ever."}
	}
	return v.want(ctx, v.timerMay(), func(*turn, *talk, *groupstate.Data) (wish, error) {
		return wish{Kind: wishTimer, Seconds: uint32(after / time.Second)}, nil
	})
}

// timerMay: in a DM both set it.
func (v *Conversation) timerMay() may {
	if info, err := v.Info(); err == nil && info.Kind == "dm" {
		return mayMember
	}
	return mayAdmin
}

// Link makes a new link into the group and returns it, or switches the link off.
// Whoever has it can come in until the next link is made or a member is removed.
func (v *Conversation) Link(ctx context.Context, on bool) (string, error) {
	secret, err := groupstate.NewLinkSecret()
	if err != nil {
		return "", err
	}
	var groupID []byte
	err = v.want(ctx, mayAdmin, func(_ *turn, row *talk, _ *groupstate.Data) (wish, error) {
		groupID = row.GroupID
		return wish{Kind: wishLink, On: on, Secret: secret}, nil
	})
	if err != nil || !on {
		return "", err
	}
	return groupstate.Link{GroupID: groupID, Secret: secret}.String(), nil
}

// CurrentLink returns the group's link, empty if it has none.
func (v *Conversation) CurrentLink() (link string, err error) {
	err = v.c.look(func(t *turn) error {
		row, data, err := t.member(v.id)
		if err == nil && len(data.Link) > 0 {
			link = groupstate.Link{GroupID: row.GroupID, Secret: data.Link}.String()
		}
		return err
	})
	return link, err
}

// JoinLink comes into a group by its link.
func (c *Client) JoinLink(ctx context.Context, link string) (*Conversation, error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	l, err := groupstate.ParseLink(link)
	if err != nil {
		return nil, &Problem{err.Error(), "Copy the whole link, or ask for a new one."}
	}
	var row *talk
	var id int64
	err = c.turn(func(t *turn) (err error) {
		if row, err = t.talkOf(l.GroupID); err != nil {
			return err
		}
		if row == nil {
			row = &talk{Conversation: vault.Conversation{
				ID: newID(), Kind: kindGroup, GroupID: slices.Clone(l.GroupID), Title: "(joining)", Created: t.now, Active: t.now,
			}}
			err = t.add(row)
		} else if row.group != nil && row.usable() == nil {
			return ErrAlreadyIn
		}
		if err != nil {
			return err
		}
		row.State, row.Reason = stateJoining, ""
		t.changed(row)
		id, err = t.intend(row, wish{Kind: wishJoin, Secret: l.Secret})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Conversation{c, row.ID}, c.settled(ctx, id)
}

// Rejoin comes back into a conversation that we have lost the thread of.
func (v *Conversation) Rejoin(ctx context.Context) error {
	if err := v.c.Start(); err != nil {
		return err
	}
	var id int64
	err := v.c.turn(func(t *turn) error {
		row, err := t.talk(v.id)
		if err != nil {
			return err
		}
		if row.group == nil {
			return because(ErrNoWayBack, "this client has no keys of the conversation")
		}
		if row.State == stateBroken {
			row.State = stateRecovering
			t.changed(row)
		}
		if id, err = t.intend(row, wish{Kind: wishRejoin}); err != nil {
			return err
		}
		i, err := t.Intent(id)
		if err == nil && i != nil { // now, however often it was tried before
			i.Tries, i.Next = 0, t.now
			err = t.SetIntent(i)
		}
		return err
	})
	if err != nil {
		return err
	}
	return v.c.settled(ctx, id)
}

// Leave leaves a group. The others learn it when one of them commits it, which they
// do by themselves; this client takes no part from now on.
func (v *Conversation) Leave(ctx context.Context) error {
	if err := v.c.Start(); err != nil {
		return err
	}
	err := v.c.turn(func(t *turn) error {
		row, data, err := t.member(v.id)
		if err != nil {
			return err
		}
		if row.Kind == kindDM {
			return ErrNotGroup
		}
		if len(accountsOf(row.group)) == 1 {
			return t.end(row, stateLeft, EventLeft, notice{Who: []AccountKey{t.c.account()}})
		}
		if len(data.Admins) == 1 && data.Listed(t.c.account()) {
			return ErrLastAdmin
		}
		return t.proposeLeave(row)
	})
	if err != nil {
		return err
	}
	return v.c.Flush(ctx)
}

// proposeLeave asks the others to remove us. Until one of them has committed it we
// follow the group, and ask again in each new epoch.
func (t *turn) proposeLeave(row *talk) error {
	next, proposal, err := row.group.ProposeLeave(nil, t.now)
	if err != nil {
		return err
	}
	out := &vault.Outgoing{Conversation: row.ID, Content: []byte{}}
	if err := t.address(row, out, proposal); err != nil {
		return err
	}
	row.group = next
	t.notable = true
	if err := t.AddOutgoing(out); err != nil || row.State == stateLeft {
		return err
	}
	if err := t.giveUpIntents(row); err != nil {
		return err
	}
	row.State = stateLeft
	t.changed(row)
	me := t.c.account()
	return t.event(row, EventLeft, 0, notice{By: &me, Who: []AccountKey{me}})
}
