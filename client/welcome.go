package client

import (
	"errors"
	"fmt"

	"quicproquo/client/room"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
)

// welcome enters a group that we were invited to.
func (t *turn) welcome(in *incoming, p *room.Payload) error {
	kp, ref, err := t.ownKeyPackage(p.KeyPackages)
	if err != nil {
		return err
	}
	if kp == nil {
		return t.strange(in, errors.New("the welcome is for none of our key packages"))
	}
	defer kp.Zero()
	group, err := mls.Join(t.c.config(), []*mls.KeyPackage{kp}, p.Message, mls.JoinOptions{}, t.now)
	if err != nil {
		return t.strange(in, fmt.Errorf("join by welcome: %w", err))
	}
	row, err := t.welcomed(in, group)
	if err != nil || row == nil {
		return err
	}
	if !mls.LastResort(kp.Public) {
		if err := t.DeleteKeyPackage(ref); err != nil {
			return err
		}
	}
	t.c.stockLow.Store(true)
	by, err := inviter(group)
	if err != nil {
		return err
	}
	if err := t.event(row, EventInvited, 0, notice{By: by}); err != nil {
		return err
	}
	return t.releaseHeld(row)
}

// inviter is the account that has let us in.
func inviter(group *mls.Group) (*AccountKey, error) {
	credential, known := group.Inviter()
	if !known {
		return nil, nil
	}
	c, err := room.ParseCredential(credential)
	if err != nil {
		return nil, err // our Authenticator has let it in
	}
	account := AccountKey(c.Account)
	return &account, nil
}

// ownKeyPackage returns the first of our key packages that a welcome is for.
func (t *turn) ownKeyPackage(refs [][]byte) (*mls.KeyPackage, []byte, error) {
	for _, ref := range refs {
		row, err := t.KeyPackage(ref)
		if err != nil {
			return nil, nil, err
		}
		if row == nil {
			continue
		}
		kp, err := mls.ParseKeyPackage(row.State)
		return kp, ref, err
	}
	return nil, nil, nil
}

// welcomed makes a group that we have joined a conversation, if it may be one.
func (t *turn) welcomed(in *incoming, group *mls.Group) (*talk, error) {
	data, err := room.DataOf(group.Public().Context().Extensions)
	if err != nil {
		return nil, t.strange(in, err)
	}
	peer, err := t.checkRoom(in, group, data)
	if err != nil {
		return nil, t.strange(in, err)
	}
	row, err := t.talkOf(group.ID())
	if err != nil {
		return nil, err
	}
	switch {
	case row == nil:
		row = &talk{Conversation: vault.Conversation{
			ID: newID(), Kind: uint8(data.Kind), GroupID: group.ID(), Peer: peer, Created: t.now, Active: t.now,
		}}
		if row.Kind == kindDM {
			copy(row.Channel[:], group.ID())
		}
		if err := t.add(row); err != nil {
			return nil, err
		}
	case row.Kind != uint8(data.Kind) || row.Kind == kindDM && row.Peer != peer:
		return nil, t.strange(in, errors.New("the welcome is to a group that poses as another conversation"))
	case row.group != nil && row.founded && row.State == stateActive && row.group.Epoch() >= group.Epoch():
		return nil, nil // we are further
	}
	if err := t.enterBy(row, group, data); err != nil {
		return nil, err
	}
	for account := range accountsOf(group) {
		if err := t.wantName(account); err != nil {
			return nil, err
		}
	}
	return row, nil
}

// enterBy continues a conversation with a group that we came into anew.
func (t *turn) enterBy(row *talk, group *mls.Group, data *room.Data) error {
	row.enter(group, t.now)
	row.saved, row.founded, row.State, row.Reason = nil, true, stateActive, ""
	row.Title, row.Expire = data.Title, data.Expire
	t.changed(row)
	if err := t.SetPending(row.ID, nil); err != nil {
		return err
	}
	intents, err := t.IntentsOf(row.ID)
	if err != nil {
		return err
	}
	for _, i := range intents {
		if i.Kind == wishFound || i.Kind == wishRejoin || i.Kind == wishJoin {
			if err := t.settle(i, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRoom tells whether a group is what its data say, and returns the other
// account of a DM.
func (t *turn) checkRoom(in *incoming, group *mls.Group, data *room.Data) (peer AccountKey, err error) {
	if data.Kind != room.KindDM {
		return peer, nil
	}
	accounts := accountsOf(group)
	delete(accounts, t.c.account())
	for peer = range accounts {
	}
	if len(accounts) != 1 {
		return peer, fmt.Errorf("a conversation of two has %d accounts", len(accounts)+1)
	}
	if len(group.ID()) != len(ChannelID{}) || in.channel != (ChannelID{}) && in.channel != ChannelID(group.ID()) {
		return peer, errors.New("the group is not that of the channel")
	}
	return peer, nil
}
