package client

import (
	"encoding/json"
	"time"
)

// Invited is somebody who is to come into a group, and is not in it yet.
type Invited struct {
	Username string
	Key      AccountKey
	Since    time.Time
	Reason   string // why it has not been done yet; empty: it is on its way
}

// Invited returns who is invited and not in the group yet.
func (v *Conversation) Invited() (list []Invited, err error) {
	err = v.c.look(func(t *turn) error {
		names := t.names()
		return t.eachInvited(v, func(account AccountKey, i *invitedIntent) error {
			list = append(list, Invited{names.name(account), account, i.created, i.reason})
			return nil
		})
	})
	return list, err
}

// CancelInvite takes the invitation of somebody back who is not in the group yet.
func (v *Conversation) CancelInvite(username string) error {
	return v.c.turn(func(t *turn) error {
		names, found := t.names(), false
		err := t.eachInvited(v, func(account AccountKey, i *invitedIntent) error {
			if names.name(account) != username && "@"+names.name(account) != username {
				return nil
			}
			found = true
			if len(i.wish.Accounts) == 1 {
				return t.dropIntent(i.id)
			}
			return t.withoutAccount(i, account)
		})
		if err == nil && !found {
			err = because(ErrNotIn, "%s has no invitation that could be taken back", username)
		}
		return err
	})
}

// invitedIntent is an intent to invite, read.
type invitedIntent struct {
	id      int64
	wish    wish
	created time.Time
	reason  string
}

// eachInvited calls f with everybody whom an intent of a conversation invites.
func (t *turn) eachInvited(v *Conversation, f func(AccountKey, *invitedIntent) error) error {
	intents, err := t.IntentsOf(v.id)
	if err != nil {
		return err
	}
	for _, i := range intents {
		if i.Kind != wishInvite {
			continue
		}
		one := &invitedIntent{id: i.ID, created: i.Created, reason: i.Error}
		if err := json.Unmarshal(i.Args, &one.wish); err != nil {
			continue // whoever brings it about says so
		}
		for _, account := range one.wish.Accounts {
			if err := f(account, one); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropIntent ends an intent that the user does not want any more, unless its commit is
// on its way.
func (t *turn) dropIntent(id int64) error {
	i, err := t.Intent(id)
	if err != nil || i == nil {
		return err
	}
	if pending, err := t.Pending(i.Conversation); err != nil || pending != nil && pending.Intent == id {
		return because(ErrAlreadyIn, "the invitation is on its way")
	}
	return t.settle(i, ErrCancelled)
}

// withoutAccount takes one account out of an intent for several.
func (t *turn) withoutAccount(from *invitedIntent, account AccountKey) error {
	i, err := t.Intent(from.id)
	if err != nil || i == nil {
		return err
	}
	var rest []AccountKey
	for _, a := range from.wish.Accounts {
		if a != account {
			rest = append(rest, a)
		}
	}
	from.wish.Accounts = rest
	if i.Args, err = json.Marshal(&from.wish); err != nil {
		return err
	}
	t.notable = true
	return t.SetIntent(i)
}
