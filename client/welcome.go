package client

import (
	"errors"
	"fmt"
	"slices"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/internal/planted"
)

// welcome takes an invitation: it becomes a conversation, or a request of somebody who
// is no contact, or continues a conversation that is here if it proves that it does.
func (t *turn) welcome(in *incoming, p *groupstate.Payload) error {
	group, used, err := t.join(p)
	if err != nil || group == nil {
		return t.strange(in, errors.Join(err, errNotForUs))
	}
	data, err := groupstate.DataOf(group.Public().Context().Extensions)
	if err != nil {
		return t.strange(in, err)
	}
	peer, err := t.checkRoom(in, group, data)
	if err != nil {
		return t.strange(in, err)
	}
	by, err := inviter(group)
	if err != nil {
		return err
	}
	if blocked, err := t.Blocked(by); err != nil || blocked {
		return errors.Join(err, t.strange(in, errors.New("who invites is blocked")))
	}
	row, err := t.held(group, data)
	if err != nil {
		return err
	}
	if row == nil {
		return t.invited(group, data, peer, by, used)
	}
	return t.invitedAgain(in, row, group, data, peer, by, used)
}

var errNotForUs = errors.New("the welcome is for none of our key packages")

// join opens a welcome with the key package that it is for, and returns the
// reference of that; the group is nil if it is for none.
func (t *turn) join(p *groupstate.Payload) (*mls.Group, []byte, error) {
	kp, ref, err := t.ownKeyPackage(p.KeyPackages)
	if err != nil || kp == nil {
		return nil, nil, err
	}
	defer kp.Zero()
	group, err := mls.Join(t.c.config(), []*mls.KeyPackage{kp}, p.Message, mls.JoinOptions{}, t.now)
	if err != nil {
		return nil, nil, fmt.Errorf("join by welcome: %w", err)
	}
	if mls.LastResort(kp.Public) {
		ref = nil // it is used again
	}
	return group, ref, nil
}

// inviter is the account that has let us in: the signer of the group info.
func inviter(group *mls.Group) (AccountKey, error) {
	credential, known := group.Inviter()
	if !known {
		return AccountKey{}, errors.New("nobody has signed the welcome")
	}
	c, err := groupstate.ParseCredential(credential)
	return c.Account, err // our Authenticator has let it in
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

// held returns the conversation that a welcome leads into, or claims to: that of the
// group's id, or of a conversation of two that of its channel. nil: there is none.
func (t *turn) held(group *mls.Group, data *groupstate.Data) (*talk, error) {
	row, err := t.talkOf(group.ID())
	if err != nil || row != nil || data.Kind != groupstate.KindDM {
		return row, err
	}
	old, err := t.ConversationWith([16]byte(group.ID()[:len(conn.ChannelID{})]))
	if err != nil || old == nil {
		return nil, err
	}
	return t.talk(old.ID)
}

// invited makes a conversation of a welcome into a group that is new here.
func (t *turn) invited(group *mls.Group, data *groupstate.Data, peer, by AccountKey, used []byte) error {
	wanted, err := t.wanted(by)
	if err != nil {
		return err
	}
	row := &talk{Conversation: vault.Conversation{
		ID: newID(), Kind: uint8(data.Kind), GroupID: group.ID(), Peer: peer, Created: t.now, Active: t.now,
		Inviter: by, NamedBy: by,
	}}
	if row.Kind == kindDM {
		copy(row.Channel[:], group.ID())
	}
	if err := t.add(row); err != nil {
		return err
	}
	kind := EventInvited
	if err := t.enterBy(row, group, data); err != nil {
		return err
	}
	if !wanted {
		kind, row.State = EventRequest, stateRequested
	}
	return t.entered(row, kind, by, used)
}

// invitedAgain is for a welcome into a group whose id, or whose channel, a conversation
// has that is here. It never replaces keys that are in use: without a proof that it
// continues the conversation, it is an invitation of its own.
func (t *turn) invitedAgain(in *incoming, row *talk, group *mls.Group, data *groupstate.Data, peer, by AccountKey, used []byte) error {
	switch {
	case row.Kind != uint8(data.Kind) || row.Kind == kindDM && row.Peer != peer:
		return t.strange(in, errors.New("the welcome is to a group that poses as another conversation"))
	case row.group != nil && row.founded && string(row.GroupID) == string(group.ID()) && row.group.Epoch() >= group.Epoch():
		return nil // we are further
	case row.known == nil && row.State == stateJoining:
		// It is what we wait for: nothing was held before.
	case row.group != nil && !row.founded && !row.begun() && row.Kind == kindDM && string(row.GroupID) == string(group.ID()):
		// Both have founded it, and the other was first: nothing was said in ours.
		row.known, row.group = nil, nil
	default:
		if err := t.continues(row, group); err != nil {
			return t.keepInvitation(in, row, group, data, by, err)
		}
	}
	if err := t.enterBy(row, group, data); err != nil {
		return err
	}
	return t.entered(row, EventInvited, by, used)
}

// continues checks that a group that somebody invites us into is the one that a
// conversation was of.
func (t *turn) continues(row *talk, group *mls.Group) error {
	if planted.On(planted.WelcomeOff) {
		return nil
	}
	if row.known == nil || string(row.GroupID) != string(group.ID()) {
		return groupstate.ErrTie
	}
	credential, _ := group.Inviter()
	offer, err := groupstate.OfferOf(group.Public(), mls.Member{Leaf: &tree.LeafNode{Credential: credential}})
	if err != nil {
		return err
	}
	return row.known.CheckWelcome(group, offer)
}

// entered ends the taking of a welcome: its key package is used up, and what came for
// the group before it is processed.
func (t *turn) entered(row *talk, kind EventKind, by AccountKey, used []byte) error {
	if used != nil {
		if err := t.DeleteKeyPackage(used); err != nil {
			return err
		}
	}
	t.c.stockLow.Store(true)
	for account := range accountsOf(row.group) {
		if err := t.wantName(account); err != nil {
			return err
		}
	}
	if err := t.event(row, kind, 0, notice{By: &by}); err != nil {
		return err
	}
	if err := t.attest(row, row.data()); err != nil {
		return err
	}
	return t.releaseHeld(row)
}

// enterBy continues a conversation with a group that we came into by a welcome.
func (t *turn) enterBy(row *talk, group *mls.Group, data *groupstate.Data) error {
	row.enter(group, t.now)
	row.earlier = nil // who invites us has this leaf
	row.founded, row.State, row.Reason, row.Offer = true, stateActive, "", nil
	if row.Title != data.Title && row.Title != "" {
		row.NamedBy = AccountKey{}
	}
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

// checkRoom reports whether a group is what its data say, and returns the other
// account of a DM. A DM's group has the channel's id, or one that begins with it,
// where it was founded again after both had lost it.
func (t *turn) checkRoom(in *incoming, group *mls.Group, data *groupstate.Data) (peer AccountKey, err error) {
	if data.Kind != groupstate.KindDM {
		return peer, nil
	}
	accounts := accountsOf(group)
	delete(accounts, t.c.account())
	for peer = range accounts {
	}
	if len(accounts) != 1 {
		return peer, fmt.Errorf("a conversation of two has %d accounts", len(accounts)+1)
	}
	id := group.ID()
	if !slices.Contains(dmIDSizes, len(id)) || in.channel != (conn.ChannelID{}) && in.channel != conn.ChannelID(id[:len(in.channel)]) {
		return peer, errors.New("the group is not that of the channel")
	}
	return peer, nil
}

// dmIDSizes are how long the id of a DM's group is: a channel's, or that and as much
// again at random.
var dmIDSizes = []int{len(conn.ChannelID{}), 2 * len(conn.ChannelID{})}
