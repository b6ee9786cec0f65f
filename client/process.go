package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
)

// message processes a message to a group. done: it needs nothing any more.
func (t *turn) message(in *incoming, p *groupstate.Payload) (done bool, err error) {
	row, err := t.talkOf(p.GroupID)
	if err != nil {
		return false, err
	}
	switch {
	case row != nil && row.group == nil && row.State != stateJoining && row.State != stateRecovering:
		return true, nil
	case row == nil || row.group == nil || !row.shared() || p.Epoch > row.group.Epoch():
		return false, t.hold(in, p)
	case p.Sort != groupstate.SortApplication && p.Epoch < row.group.Epoch():
		return true, t.rival(row, p)
	}
	before, past := row.group, row.known
	group, ev, err := row.group.Process(p.Message, t.now)
	if err != nil {
		return true, t.refusedMessage(row, in, p, err)
	}
	row.confirmed(before, ev)
	switch ev := ev.(type) {
	case *mls.ApplicationMessage:
		row.group = group
		if row.State == stateLeft {
			return true, nil
		}
		return true, t.application(row, ev)
	case *mls.ProposalStored:
		return true, t.proposed(row, group, ev)
	case *mls.EpochStarted:
		if ev.ReInit != nil {
			return true, t.refusedMessage(row, in, p, errReInit)
		}
		if ev.RemovedUs && !t.mayRemoveUs(row, before, ev) {
			return true, t.thrownOut(row, ev)
		}
		if err := t.dropPending(row, group.Epoch()); err != nil {
			return false, err
		}
		if ev.RemovedUs {
			return true, t.removedUs(row, ev)
		}
		row.enter(group, t.now)
		if c, err := groupstate.ParseCredential(ev.Credential); err == nil {
			row.earlier = row.earlier.Followed(past, group, c.Account, lawless(before, group, ev), t.now)
		}
		if row.State == stateLeft { // our proposal was of the epoch before
			return true, t.proposeLeave(row)
		}
		if err := t.epochBegan(row, before, ev); err != nil {
			return false, err
		}
		if err := t.checkReturned(row, before, past, ev); err != nil {
			return false, err
		}
		return true, t.releaseHeld(row)
	}
	return true, nil
}

// confirmed takes what another member has said for the proof that it has come to the
// epoch whose keys it used: the way back is not sealed to an earlier key of our leaf any
// more.
func (row *talk) confirmed(before *mls.Group, ev mls.Event) {
	switch ev := ev.(type) {
	case *mls.ApplicationMessage:
		if l, member := ev.Sender.Leaf(); member && l != before.Self() {
			row.proven(ev.Epoch, ev.Credential)
		}
	case *mls.ProposalStored:
		if l, member := ev.Sender.Leaf(); member && l != before.Self() {
			row.proven(ev.Epoch, ev.Credential)
		}
	case *mls.EpochStarted:
		if !ev.Joined { // who comes in from outside has been in no epoch
			row.proven(before.Epoch(), ev.Credential)
		}
	}
}

func (row *talk) proven(epoch uint64, by tree.Credential) {
	if c, err := groupstate.ParseCredential(by); err == nil {
		row.earlier = row.earlier.Proven(epoch, c.Account)
	}
}

// rival is for a commit, or a proposal, of an epoch that is over: nothing comes of it.
// But a commit beside one of ours that nobody has confirmed may be the one that has won
// in truth: the group's record will tell.
func (t *turn) rival(row *talk, p *groupstate.Payload) error {
	if p.Sort != groupstate.SortCommit || !row.earlier.Unproven(p.Epoch+1) || row.State != stateActive {
		return nil
	}
	_, err := t.intendAt(row, wish{Kind: wishRejoin}, t.now.Add(rejoinPause))
	return err
}

// errReInit is why a ReInit is refused: no client here makes one, and to take it would
// close the group for everybody (RFC 9420 §12.4.2). A value that is not kept never was.
var errReInit = errors.New("it would close the group for another, which no client begins")

// checkReturned checks that a member who came back by external commit has proved that
// it held an epoch of ours: else its keys may be another's. In a conversation of two
// the user is asked; in a group it is said.
func (t *turn) checkReturned(row *talk, before *mls.Group, past *groupstate.Known, ev *mls.EpochStarted) error {
	c, err := groupstate.ParseCredential(ev.Credential)
	if err != nil || !ev.Joined {
		return err
	}
	if _, member := accountsOf(before)[c.Account]; !member || c.Account == t.c.account() {
		return nil
	}
	err = past.CheckReturning(row.GroupID, before.Epoch(), c.Member, ev.AuthenticatedData)
	switch {
	case err == nil:
		return nil
	case row.Kind == kindDM && row.State == stateActive:
		return t.unproven(row, nil)
	}
	by := AccountKey(c.Account)
	return t.event(row, EventInvalid, 0, notice{By: &by, Note: "a device came back without a proof that it was here before"})
}

// dropPending forgets our commit if a new epoch tells that another has won. A commit
// with which we come back may be of an epoch that we have not come to by ourselves:
// it can still win, or have won.
func (t *turn) dropPending(row *talk, epoch uint64) error {
	pending, err := t.Pending(row.ID)
	if err != nil || pending == nil {
		return err
	}
	var commit conn.Commit
	if err := json.Unmarshal(pending.Call, &commit); err != nil {
		return fmt.Errorf("read pending commit: %w", err)
	}
	if commit.Epoch >= epoch {
		return nil
	}
	return t.SetPending(row.ID, nil)
}

// refusedMessage notes a message of a group that can't be read, once per epoch. If
// it was to begin the next epoch we may be the only ones who can't follow: the
// group's record will tell.
func (t *turn) refusedMessage(row *talk, in *incoming, p *groupstate.Payload, reason error) error {
	t.c.log.Warn("a message was refused", "conversation", idText(row.ID), "epoch", p.Epoch, "ours", row.group.Epoch(), "sort", p.Sort, "error", reason)
	if p.Sort == groupstate.SortCommit && (row.State == stateActive || row.State == stateRecovering) {
		if _, err := t.intend(row, wish{Kind: wishRejoin}); err != nil {
			return err
		}
	}
	if p.Sort == groupstate.SortApplication && row.earlier.Unproven(p.Epoch) && row.State == stateActive {
		if _, err := t.intendAt(row, wish{Kind: wishRejoin}, t.now.Add(rejoinPause)); err != nil {
			return err
		}
	}
	if p.Sort == groupstate.SortApplication {
		if err := t.noteUnreadable(row, in, reason); err != nil {
			return err
		}
	}
	if t.c.flagged == nil {
		t.c.flagged = map[vault.ConversationID]uint64{}
	}
	mark := row.group.Epoch() + 1
	if t.c.flagged[row.ID] == mark {
		return nil
	}
	t.c.flagged[row.ID] = mark
	note := "a message could not be read: it is damaged, or not for this device"
	if p.Sort == groupstate.SortApplication && p.Epoch+uint64(t.c.settings.PastEpochs) < row.group.Epoch() {
		return t.event(row, EventLoss, 0, notice{Note: "a message came too late: its keys are deleted"})
	}
	return t.event(row, EventInvalid, 0, notice{Note: note})
}

// strange notes an envelope that belongs to no conversation. There is nobody to be
// told: anybody can send one.
func (t *turn) strange(in *incoming, reason error) error {
	t.c.log.Warn("an envelope was dropped", "channel", fmt.Sprintf("%x", in.channel), "bytes", len(in.payload), "error", reason)
	return nil
}

// removedUs ends a conversation that we are no longer in.
func (t *turn) removedUs(row *talk, ev *mls.EpochStarted) error {
	kind, n := EventRemoved, notice{Who: []AccountKey{t.c.account()}}
	if c, err := groupstate.ParseCredential(ev.Credential); err == nil {
		by := AccountKey(c.Account)
		n.By = &by
	}
	state := uint8(stateRemoved)
	if row.State == stateLeft {
		kind, state = EventLeft, stateLeft
	}
	return t.end(row, state, kind, n)
}

// end drops the keys of a conversation that we are out of, and what we still wanted
// there.
func (t *turn) end(row *talk, state uint8, kind EventKind, n notice) error {
	told := row.State == state
	row.State = state
	t.changed(row)
	if err := t.giveUpIntents(row); err != nil {
		return err
	}
	if err := t.forget(row); err != nil || told {
		return err
	}
	return t.event(row, kind, 0, n)
}

// giveUpIntents ends all that we still wanted of a conversation.
func (t *turn) giveUpIntents(row *talk) error {
	if err := t.SetPending(row.ID, nil); err != nil {
		return err
	}
	intents, err := t.IntentsOf(row.ID)
	if err != nil {
		return err
	}
	for _, i := range intents {
		if err := t.settle(i, ErrNotMember); err != nil {
			return err
		}
	}
	return nil
}

// Times until members commit what others proposed: by rank, so that rarely two do.
const (
	proposalPause = 50 * time.Millisecond
	rankPause     = 1500 * time.Millisecond
)

// proposed keeps a proposal that may be made, and intends to commit it.
func (t *turn) proposed(row *talk, next *mls.Group, p *mls.ProposalStored) error {
	data := row.data()
	c, err := groupstate.ParseCredential(p.Credential)
	if err != nil {
		return err
	}
	if p.Proposal.Type == tree.ProposalReInit {
		by := AccountKey(c.Account)
		return t.event(row, EventInvalid, 0, notice{By: &by, Note: "a proposal to close the group was ignored"})
	}
	if !ofSelf(p) && p.Proposal.Type != tree.ProposalUpdate && !isAdmin(row.group, data, c.Account) {
		by := AccountKey(c.Account)
		return t.event(row, EventInvalid, 0, notice{By: &by, Note: "a proposal by a member who is no admin was ignored"})
	}
	row.group = next
	if row.State != stateActive {
		return nil
	}
	rank := 0
	for _, m := range sortedMembers(membersOf(next)) {
		if m == t.c.self {
			break
		}
		if m.Account != c.Account {
			rank++
		}
	}
	_, err = t.intendAt(row, wish{Kind: wishProposals}, t.now.Add(proposalPause+time.Duration(rank)*rankPause))
	return err
}

func sortedMembers(members map[groupstate.Member]mls.Member) []groupstate.Member {
	return slices.SortedFunc(maps.Keys(members), groupstate.Compare)
}

// lost notes that envelopes of a queue are gone, and checks the conversations that
// they may have been of: a commit expires like a message. missing is how many nobody
// can account for, expired how many came to their end unread. Ephemeral ones are not
// worth a word.
func (t *turn) lost(channel conn.ChannelID, missing, expired uint64) error {
	if missing == 0 && expired == 0 {
		return nil
	}
	return t.onQueue(channel, func(row *talk) error {
		if expired > 0 {
			note := fmt.Sprintf("%d envelopes expired before they reached this device", expired)
			if err := t.event(row, EventLoss, 0, notice{Note: note}); err != nil {
				return err
			}
		}
		if missing > 0 {
			note := fmt.Sprintf("%d envelopes were lost before they reached this device; messages may be missing", missing)
			if err := t.event(row, EventLoss, 0, notice{Note: note}); err != nil {
				return err
			}
		}
		_, err := t.intend(row, wish{Kind: wishRejoin})
		return err
	})
}

// overflowed notes that senders who send too much had no room for some of it. What the
// others have sent is all there, so no group has to be rejoined for it: should a commit
// be among it, the next message of its group shows that.
func (t *turn) overflowed(channel conn.ChannelID, missing uint64) error {
	if missing == 0 {
		return nil
	}
	t.c.log.Warn("a sender had used up its share of this device's queue", "channel", fmt.Sprintf("%x", channel), "missing", missing)
	note := fmt.Sprintf("%d envelopes of somebody who sends too much did not reach this device", missing)
	return t.onQueue(channel, func(row *talk) error { return t.event(row, EventLoss, 0, notice{Note: note}) })
}

// onQueue visits the active conversations whose messages come by a queue.
func (t *turn) onQueue(channel conn.ChannelID, visit func(*talk) error) error {
	rows, err := t.Conversations()
	if err != nil {
		return err
	}
	for _, one := range rows {
		inChannel := one.Kind == kindDM && one.Channel == [16]byte(channel)
		if one.State != stateActive || channel != (conn.ChannelID{}) && !inChannel || channel == (conn.ChannelID{}) && one.Kind == kindDM {
			continue
		}
		row, err := t.talk(one.ID)
		if err != nil {
			return err
		}
		if err := visit(row); err != nil {
			return err
		}
	}
	return nil
}

// rejoinPause lets a commit come that is only late.
const rejoinPause = time.Second

// missing is called when nothing more comes: for what is held, something is missing.
func (t *turn) missing(held map[string]int64) error {
	for groupID := range held {
		row, err := t.talkOf([]byte(groupID))
		if err != nil {
			return err
		}
		if row == nil || row.group == nil || row.State != stateActive {
			continue
		}
		if _, err := t.intendAt(row, wish{Kind: wishRejoin}, t.now.Add(rejoinPause)); err != nil {
			return err
		}
	}
	return nil
}
