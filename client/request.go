package client

import (
	"context"
	"fmt"
	"time"

	"quicproquo/client/content"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
)

// Invitations says whose invitations become conversations by themselves. Those of
// others are requests, which the user accepts, declines or blocks (decision 0113).
type Invitations uint8

// Whose invitations are accepted.
const (
	FromContacts Invitations = iota // accounts that the user has written to, or accepted
	FromEverybody
)

// wanted reports whether an account's invitations are accepted without asking.
func (t *turn) wanted(by AccountKey) (bool, error) {
	if t.c.settings.Invitations == FromEverybody || by == t.c.account() {
		return true, nil
	}
	return t.Accepted(by)
}

// befriend notes that the user wants to hear of an account: what it asks is accepted
// from now on.
func (t *turn) befriend(accounts ...AccountKey) error {
	for _, key := range accounts {
		if err := t.Accept(key); err != nil {
			return err
		}
	}
	t.c.standings.due.Store(true)
	return nil
}

// RequestInfo is something that waits for the user's yes or no.
type RequestInfo struct {
	// ID names it for Accept, Decline and Block: that of its conversation, or i and a
	// number for an invitation that claims to be a conversation that is here already.
	ID      string
	Kind    string // dm or group; of keys that prove nothing: keys
	By      string // who asks: username, or the beginning of the account's key
	ByKey   AccountKey
	Title   string // of a group, as By calls it
	Members int    // accounts
	At      time.Time
	Reason  string // why the user is asked, where there is more to say
	Warning string // that By or Title looks like a name that the user knows
}

// Requests returns what waits for the user's yes or no: what people who are no contacts
// ask, invitations that claim to be a conversation that is here, and conversations
// whose new keys prove nothing.
func (c *Client) Requests() (list []RequestInfo, err error) {
	err = c.look(func(t *turn) error {
		rows, err := t.Conversations()
		if err != nil {
			return err
		}
		names := t.names()
		asked := map[vault.ConversationID]bool{}
		for _, one := range rows {
			if one.State != stateRequested && one.State != stateUnproven {
				continue
			}
			row, err := t.talk(one.ID)
			if err != nil {
				return err
			}
			list, asked[one.ID] = append(list, t.request(row, names)), true
		}
		kept, err := t.Invitations()
		for _, i := range kept {
			if i.Kind != kindDM || !asked[i.Conversation] { // else it is the same question
				list = append(list, invitationRequest(i, names))
			}
		}
		for i := range list {
			if err == nil {
				list[i].Warning, err = names.requestWarning(&list[i])
			}
		}
		return err
	})
	return list, err
}

func (t *turn) request(row *talk, names *names) RequestInfo {
	r := RequestInfo{
		ID: idText(row.ID), Kind: "group", By: names.name(row.Inviter), ByKey: row.Inviter, Title: row.Title, At: row.Created,
	}
	if row.group != nil {
		r.Members = len(accountsOf(row.group))
	}
	if row.Kind == kindDM {
		r.Kind, r.Title = "dm", ""
	}
	if row.State == stateUnproven {
		r.Kind, r.At, r.Reason = "keys", row.Active, row.Reason
		if row.Kind == kindDM {
			r.By, r.ByKey = names.name(row.Peer), row.Peer
		}
	}
	return r
}

func invitationRequest(i *vault.Invitation, names *names) RequestInfo {
	r := RequestInfo{
		ID: fmt.Sprintf("i%d", i.ID), Kind: "group", By: names.name(i.Inviter), ByKey: i.Inviter, Title: i.Title,
		Members: i.Members, At: i.Received,
		Reason: "it claims to be a conversation that you have, and does not prove it; accepted, it stands beside that one",
	}
	if i.Kind == kindDM {
		r.Kind, r.Title = "dm", ""
		r.Reason = "the keys of this conversation with " + r.By + " are new; compare the safety number"
	}
	return r
}

// maxInvitations and maxInvitation bound the invitations that are kept unaccepted: how
// many, and the bytes of each.
const (
	maxInvitations = 16
	maxInvitation  = 2 << 20
)

// keepInvitation keeps a welcome that does not prove what it claims, for the user to
// decide.
func (t *turn) keepInvitation(in *incoming, row *talk, group *mls.Group, data *groupstate.Data, by AccountKey, why error) error {
	t.c.log.Warn("an invitation claims to be a conversation that is here", "conversation", idText(row.ID), "error", why)
	if len(in.payload) > maxInvitation {
		return nil
	}
	err := t.AddInvitation(&vault.Invitation{
		Conversation: row.ID, Inviter: by, Kind: uint8(data.Kind), Title: data.Title, Members: len(accountsOf(group)),
		Channel: in.channel, Received: t.now, Payload: in.payload,
	}, maxInvitations)
	if err != nil {
		return err
	}
	if err := t.wantName(by); err != nil {
		return err
	}
	if row.Kind == kindDM && row.group != nil && row.State == stateActive {
		return t.unproven(row, nil) // the other has lost its keys, and reads nothing of ours
	}
	note := "invites you into a group that claims to be this one, without a proof; it is not accepted"
	return t.event(row, EventRequest, 0, notice{By: &by, Note: note})
}

// errAgain says how to go on where a link was used.
var errAgain = &Problem{"the keys of this group are accepted", "Use its link again."}

// Accept says yes to a request: of somebody who is no contact, of an invitation that
// claims to be a conversation that is here, or of new keys that prove nothing. It
// returns the conversation.
func (c *Client) Accept(ctx context.Context, id string) (v *Conversation, err error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	var intent int64
	err = c.turn(func(t *turn) error {
		if kept, err := t.invitation(id); err != nil || kept != nil {
			if err == nil {
				v, err = t.acceptInvitation(kept)
			}
			return err
		}
		row, err := t.asked(id)
		if err != nil {
			return err
		}
		v = &Conversation{c, row.ID}
		if row.State == stateRequested {
			return t.acceptRequest(row)
		}
		intent, err = t.acceptKeys(row)
		return err
	})
	if err == nil && intent != 0 {
		err = c.settled(ctx, intent)
	}
	return v, err
}

// invitation returns the kept invitation of a request's id.
func (t *turn) invitation(id string) (*vault.Invitation, error) {
	kept, err := t.Invitations()
	for _, i := range kept {
		if fmt.Sprintf("i%d", i.ID) == id {
			return i, nil
		}
	}
	return nil, err
}

// asked returns the conversation that waits for an answer.
func (t *turn) asked(id string) (*talk, error) {
	rows, err := t.Conversations()
	if err != nil {
		return nil, err
	}
	for _, one := range rows {
		if idText(one.ID) != id {
			continue
		}
		if one.State == stateRequested || one.State == stateUnproven {
			return t.talk(one.ID)
		}
	}
	return nil, ErrNoRequest
}

// acceptRequest makes a request a conversation like others. Programs get what has been
// said there as if it came now, and its senders learn that it has arrived.
func (t *turn) acceptRequest(row *talk) error {
	row.State = stateActive
	t.changed(row)
	if err := t.befriend(row.Inviter); err != nil {
		return err
	}
	said, err := t.History(row.ID, 0, maxRequestEvents)
	if err != nil {
		return err
	}
	for _, m := range said {
		if m.Kind == entryNotice {
			continue // the history has them
		}
		sender := AccountKey(m.Sender)
		if t.wantsReceipts(&row.Conversation) && !m.Mine {
			t.noteDelivered(row, m.ID)
		}
		if err := t.event(row, EventMessage, m.Seq, notice{By: &sender}); err != nil {
			return err
		}
	}
	if err := t.deliveredAll(); err != nil {
		return err
	}
	if len(row.group.Public().Proposals()) > 0 {
		_, err = t.intendAt(row, wish{Kind: wishProposals}, t.now.Add(rankPause))
	}
	return err
}

// maxRequestEvents is how many of a request's messages become events when it is
// accepted; the history has all.
const maxRequestEvents = 1000

// acceptKeys goes on with keys that prove nothing, as the user has said: with those
// that the other came back with, or by the way back that the user was asked about. It
// returns the intent that does it, 0 if it is done.
func (t *turn) acceptKeys(row *talk) (intent int64, err error) {
	kept, err := t.Invitations()
	if err != nil {
		return 0, err
	}
	for _, i := range kept {
		if i.Conversation == row.ID && i.Kind == kindDM {
			_, err := t.acceptInvitation(i)
			return 0, err
		}
	}
	t.changed(row)
	switch {
	case len(row.Offer) == 0:
		row.State, row.Reason = stateActive, ""
		return 0, t.wake(row)
	case row.group == nil:
		row.State = stateLeft
		return 0, errAgain
	}
	row.State, row.Reason = stateRecovering, "you have accepted its new keys"
	return t.intend(row, wish{Kind: wishRejoin, On: true})
}

// acceptInvitation joins by a welcome that was kept. A conversation of two goes on with
// it: both accounts are the same. A group that only has another's id gets a place of
// its own, and takes neither title nor history over.
func (t *turn) acceptInvitation(i *vault.Invitation) (*Conversation, error) {
	if err := t.DeleteInvitation(i.ID); err != nil {
		return nil, err
	}
	p, err := groupstate.Unwrap(i.Payload)
	if err != nil {
		return nil, err
	}
	group, used, err := t.join(&p)
	if err != nil || group == nil {
		return nil, because(ErrNoRequest, "the invitation can't be used any more (%v)", err)
	}
	data, err := groupstate.DataOf(group.Public().Context().Extensions)
	if err != nil {
		return nil, err
	}
	row, err := t.talk(i.Conversation)
	if err != nil {
		return nil, err
	}
	if err := t.befriend(i.Inviter); err != nil {
		return nil, err
	}
	if row.Kind == kindDM {
		row.GroupID, row.known = group.ID(), nil
		if err := t.forget(row); err != nil {
			return nil, err
		}
	} else if row, err = t.standBeside(row, i, group, data); err != nil {
		return nil, err
	}
	if err := t.enterBy(row, group, data); err != nil {
		return nil, err
	}
	return &Conversation{t.c, row.ID}, t.entered(row, EventInvited, i.Inviter, used)
}

// standBeside makes a conversation for a group whose id another has, which must be over
// and keeps its history under an id that no group has.
func (t *turn) standBeside(old *talk, i *vault.Invitation, group *mls.Group, data *groupstate.Data) (*talk, error) {
	if old.group != nil && old.State != stateBroken {
		return nil, &Problem{
			fmt.Sprintf("the invitation has the id of “%s”, in which you are", old.Title),
			"Leave that group first if you know by other means that this is its successor.",
		}
	}
	if old.group != nil {
		if err := t.end(old, stateLeft, EventLeft, notice{Who: []AccountKey{t.c.account()}}); err != nil {
			return nil, err
		}
	}
	past := newID()
	old.GroupID = append([]byte("past/"), past[:]...)
	t.changed(old)
	if err := t.SetConversation(&old.Conversation); err != nil {
		return nil, err
	}
	row := &talk{Conversation: vault.Conversation{
		ID: newID(), Kind: uint8(data.Kind), GroupID: group.ID(), Created: t.now, Active: t.now, Inviter: i.Inviter, NamedBy: i.Inviter,
	}}
	return row, t.add(row)
}

// Decline says no to a request. A group's members see that this client leaves; of a
// conversation of two, and of keys that prove nothing, nobody hears.
func (c *Client) Decline(ctx context.Context, id string) error {
	if err := c.Start(); err != nil {
		return err
	}
	flush := false
	err := c.turn(func(t *turn) (err error) {
		if kept, err := t.invitation(id); err != nil || kept != nil {
			if err == nil {
				err = t.DeleteInvitation(kept.ID)
			}
			return err
		}
		row, err := t.asked(id)
		if err != nil {
			return err
		}
		flush, err = t.decline(row)
		return err
	})
	if err == nil && flush {
		err = c.Flush(ctx)
	}
	return err
}

// decline ends a request; something is to be sent where it was a group's.
func (t *turn) decline(row *talk) (sends bool, err error) {
	me := t.c.account()
	switch {
	case row.State == stateUnproven:
		row.State, row.Reason, row.Offer = stateBroken, "you have declined its new keys", nil
		t.changed(row)
		if err := t.dropInvitations(row); err != nil {
			return false, err
		}
		return false, t.wake(row) // what has waited ends
	case row.Kind == kindDM || row.group == nil || len(accountsOf(row.group)) == 1:
		return false, t.end(row, stateLeft, EventLeft, notice{Who: []AccountKey{me}})
	}
	return true, t.proposeLeave(row)
}

// dropInvitations forgets by which welcomes a conversation of two could have gone on: the
// user has said no to them with its new keys.
func (t *turn) dropInvitations(row *talk) error {
	kept, err := t.Invitations()
	for _, i := range kept {
		if err == nil && i.Kind == kindDM && i.Conversation == row.ID {
			err = t.DeleteInvitation(i.ID)
		}
	}
	return err
}

// Block has nothing of an account come through any more: its requests are declined,
// its invitations and messages dropped. Groups that both are members of go on.
func (c *Client) Block(ctx context.Context, username string) error {
	key, err := c.resolve(ctx, username)
	if err != nil {
		return err
	}
	if err := c.BlockAccount(key); err != nil {
		return err
	}
	c.tellStandings(ctx)
	return nil
}

// BlockAccount is Block for somebody whose name is not known.
func (c *Client) BlockAccount(key AccountKey) error {
	if key == c.Account().Key {
		return ErrSelf
	}
	c.standings.due.Store(true)
	return c.turn(func(t *turn) error {
		if err := t.Block(key, true, t.now); err != nil {
			return err
		}
		kept, err := t.Invitations()
		if err != nil {
			return err
		}
		for _, i := range kept {
			if i.Inviter == key {
				if err := t.DeleteInvitation(i.ID); err != nil {
					return err
				}
			}
		}
		return t.declineAll(key)
	})
}

// declineAll declines an account's requests, silently.
func (t *turn) declineAll(by AccountKey) error {
	rows, err := t.Conversations()
	if err != nil {
		return err
	}
	for _, one := range rows {
		if one.State != stateRequested || one.Inviter != by {
			continue
		}
		row, err := t.talk(one.ID)
		if err != nil {
			return err
		}
		if err := t.end(row, stateLeft, EventLeft, notice{Who: []AccountKey{t.c.account()}}); err != nil {
			return err
		}
	}
	return nil
}

// Unblock takes a Block back.
func (c *Client) Unblock(ctx context.Context, username string) error {
	key, err := c.resolve(ctx, username)
	if err != nil {
		return err
	}
	err = c.turn(func(t *turn) error { return t.Block(key, false, t.now) })
	if err == nil {
		c.tellStandings(ctx)
	}
	return err
}

// Blocked returns who is blocked, by name where it is known.
func (c *Client) Blocked() (list []string, err error) {
	err = c.look(func(t *turn) error {
		accounts, err := t.BlockedAccounts()
		names := t.names()
		for _, key := range accounts {
			list = append(list, names.name(key))
		}
		return err
	})
	return list, err
}

// noteDelivered has a DM's sender told that a message has arrived.
func (t *turn) noteDelivered(row *talk, id content.ID) {
	if t.delivered == nil {
		t.delivered = map[vault.ConversationID][][16]byte{}
	}
	t.delivered[row.ID] = append(t.delivered[row.ID], id)
}
