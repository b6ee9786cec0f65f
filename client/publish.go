package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/schemas"
)

// publish offers a commit to the cluster. Until its outcome is known it is repeated
// as it was, and no other is made.
func (c *Client) publish(ctx context.Context, id vault.ConversationID, p *vault.Pending) error {
	var commit conn.Commit
	if err := json.Unmarshal(p.Call, &commit); err != nil {
		return fmt.Errorf("read pending commit: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	_, _, err := c.conn.PublishCommit(ctx, &commit)
	if err == nil {
		return c.turn(func(t *turn) error { return t.adopt(id, p) })
	}
	var e *Error
	if !asError(err, &e) || !hopeless(e.Code) {
		return fmt.Errorf("publish commit: %w", err) // once more, as it is
	}
	if e.Code == schemas.Code_epochConflict && e.Value == commit.Epoch+1 && c.published(ctx, &commit) {
		// It was ours that won, so long ago that the cluster forgot who asked.
		return c.turn(func(t *turn) error { return t.adopt(id, p) })
	}
	c.log.Info("a commit lost", "conversation", idText(id), "epoch", commit.Epoch, "error", err)
	return c.turn(func(t *turn) error { return t.lostRace(id, p, &commit, e) })
}

// published reports whether the group's record is what a commit of ours has made it.
func (c *Client) published(ctx context.Context, commit *conn.Commit) bool {
	record, err := c.conn.FetchGroup(ctx, commit.GroupID)
	return err == nil && len(commit.GroupInfo) > 0 && string(record.GroupInfo) == string(commit.GroupInfo)
}

// adopt continues with the epoch that our commit has begun.
func (t *turn) adopt(id vault.ConversationID, p *vault.Pending) error {
	have, err := t.Pending(id)
	if err != nil || have == nil || have.Intent != p.Intent {
		return err // an envelope has told it before
	}
	row, err := t.talk(id)
	if err != nil {
		return err
	}
	i, err := t.Intent(p.Intent)
	if err != nil {
		return err
	}
	if i == nil {
		i = &vault.Intent{ID: p.Intent}
	}
	before := row.group
	next, err := t.pendingEpoch(row, p)
	if err != nil {
		return fmt.Errorf("load pending epoch: %w", err)
	}
	if next != before {
		row.enter(next, t.now)
	}
	row.earlier = row.earlier.Accepted()
	row.founded, row.noted = true, true
	if err := t.SetPending(id, nil); err != nil {
		return err
	}
	t.changed(row)
	if err := t.tellForgotten(row, have); err != nil {
		return err
	}
	if i.Kind == wishRejoin || i.Kind == wishJoin {
		err = t.cameBack(row, before, i)
	} else if before != nil && before.Epoch() != next.Epoch() {
		err = t.epochBegan(row, before, &mls.EpochStarted{
			Author: mls.Author{Credential: t.c.identity.Credential}, AuthenticatedData: wordOf(i),
		})
	}
	if err != nil {
		return err
	}
	if err := t.settle(i, leftOut(i)); err != nil {
		return err
	}
	if err := t.releaseHeld(row); err != nil {
		return err
	}
	return t.tellUnreadable()
}

// wordOf is why our commit has removed devices.
func wordOf(i *vault.Intent) []byte {
	var w wish
	if len(i.Args) == 0 || json.Unmarshal(i.Args, &w) != nil {
		return nil
	}
	return w.Word
}

// leftOut is what is told to who waits for an intent that has added all but some.
func leftOut(i *vault.Intent) error {
	var w wish
	if len(i.Args) == 0 || json.Unmarshal(i.Args, &w) != nil || w.Failed == "" {
		return nil
	}
	return because(ErrNotInvited, "%s", w.Failed)
}

// pendingEpoch is the state in which a conversation goes on after our commit: the
// present one, if the commit has only founded the group's record.
func (t *turn) pendingEpoch(row *talk, p *vault.Pending) (*mls.Group, error) {
	if len(p.Next) == 0 {
		if row.group == nil {
			return nil, mls.ErrState
		}
		return row.group, nil
	}
	next, err := mls.Unmarshal(t.c.config(), p.Next)
	if err != nil {
		return nil, err
	}
	if row.group == nil {
		return next.ForgetPast(), nil
	}
	if bytes.Equal(next.EpochAuthenticator(), row.group.EpochAuthenticator()) {
		return row.group, nil // kept by an earlier version of this program
	}
	with, err := next.ContinuePast(row.group)
	if errors.Is(err, mls.ErrNotSuccessor) { // we came back: nothing was before
		return next.ForgetPast(), nil
	}
	return with, err
}

// cameBack tells everybody that we are in the group, after having lost the thread
// or by its link.
func (t *turn) cameBack(row *talk, before *mls.Group, i *vault.Intent) error {
	row.State, row.Reason, row.Offer = stateActive, "", nil
	if err := t.wake(row); err != nil {
		return err
	}
	data := row.data()
	if row.Title != data.Title {
		row.NamedBy = AccountKey{} // who named it so is not known
	}
	row.Title, row.Expire = data.Title, data.Expire
	for account := range accountsOf(row.group) {
		if err := t.wantName(account); err != nil {
			return err
		}
	}
	me := t.c.account()
	n := notice{By: &me, Who: []AccountKey{me}}
	kind := EventJoined
	if i.Kind == wishRejoin {
		kind = EventRecovered
		n.Note = "What was said meanwhile may be missing here."
		if before != nil && row.group.Epoch() <= before.Epoch()+1 {
			n.Note = "The keys are new."
		} else if before != nil {
			n.Note = fmt.Sprintf("%d epochs were missed: what was said in them is missing here.", row.group.Epoch()-before.Epoch()-1)
		}
	}
	if err := t.event(row, kind, 0, n); err != nil {
		return err
	}
	// The others compare it with theirs.
	raw, err := content.Encode(content.Message{ID: newID(), Sent: t.now, Body: content.Rejoined{
		Epoch: row.group.Epoch(), Authenticator: row.group.EpochAuthenticator(),
	}})
	if err != nil {
		return err
	}
	return t.post(row, raw, 0)
}

// Times of lost races.
const (
	racePause  = 150 * time.Millisecond
	raceLosses = 4 // with no winner in sight: then we have lost the thread
)

// overForgotten offers a commit once more, with the proof of the earlier epoch that the
// cluster's record of the group is of: the cluster was restored from a backup and has
// forgotten the epochs since, which its members have not. Only one step leads there: a
// record that is of another epoch by then has been changed by somebody else.
func (t *turn) overForgotten(row *talk, p *vault.Pending, commit *conn.Commit, e *Error) (again bool, err error) {
	if e.Code != schemas.Code_epochConflict || e.Value >= commit.Epoch || commit.Over || row.group == nil || row.group.Epoch() != commit.Epoch {
		return false, nil
	}
	proof, kept := row.known.Proof(e.Value)
	if !kept {
		return false, nil
	}
	next, id := *commit, newID()
	next.Proof, next.Over, next.RequestID = proof, true, id[:]
	if p.Call, err = json.Marshal(next); err != nil {
		return false, err
	}
	t.c.log.Warn("the cluster has forgotten epochs of a group: it was restored from a backup",
		"conversation", idText(row.ID), "has", e.Value, "epoch", commit.Epoch)
	return true, t.SetPending(row.ID, p)
}

// forgottenNote is what a person reads where it shows that the cluster was restored.
const forgottenNote = "the server was put back to an earlier state; what was sent since and nobody had read yet may be missing"

// tellForgotten says what a commit that was taken over forgotten epochs has shown.
func (t *turn) tellForgotten(row *talk, p *vault.Pending) error {
	var commit conn.Commit
	if len(p.Call) == 0 {
		return nil
	}
	if err := json.Unmarshal(p.Call, &commit); err != nil || !commit.Over {
		return err
	}
	return t.event(row, EventLoss, 0, notice{Note: forgottenNote})
}

// lostRace drops a commit that was not accepted. Its intent is built anew for the
// epoch of the winner, which is on its way to us.
func (t *turn) lostRace(id vault.ConversationID, p *vault.Pending, commit *conn.Commit, e *Error) error {
	have, err := t.Pending(id)
	if err != nil || have == nil || have.Intent != p.Intent {
		return err
	}
	row, err := t.talk(id)
	if err != nil {
		return err
	}
	if again, err := t.overForgotten(row, p, commit, e); again || err != nil {
		return err
	}
	if err := t.SetPending(id, nil); err != nil {
		return err
	}
	if err := t.refusedLeaf(row, p); err != nil {
		return err
	}
	i, err := t.Intent(p.Intent)
	if err != nil || i == nil {
		return err
	}
	t.notable = true
	switch {
	case i.Kind == wishFound && row.Kind == kindDM && !row.founded && !row.begun() && e.Code == schemas.Code_epochConflict:
		// The other has founded it: its welcome is on its way.
		row.State = stateJoining
		t.changed(row)
		if err := t.forget(row); err != nil {
			return err
		}
		return t.settle(i, nil)
	case e.Code == schemas.Code_groupNotFound:
		row.founded, row.noted = false, true
	case e.Code == schemas.Code_epochConflict || e.Code == schemas.Code_groupProofInvalid:
		if !row.founded && row.begun() { // the cluster knows it, whoever has said that it does not
			row.founded, row.noted = true, true
		}
	default:
		return t.failed(i, e)
	}
	i.Tries++
	i.Next, i.Error = t.now.Add(conn.Jitter(racePause*time.Duration(i.Tries))), e.Error()
	if row.group != nil && row.group.Epoch() > commit.Epoch {
		i.Next = t.now // the winner is here already
	} else if i.Tries >= raceLosses && i.Kind != wishRejoin && i.Kind != wishJoin {
		if _, err := t.intend(row, wish{Kind: wishRejoin}); err != nil {
			return err
		}
	}
	return t.SetIntent(i)
}

// refusedLeaf keeps the leaf key of a commit that is said to have lost: the group's record
// may be sealed to it.
func (t *turn) refusedLeaf(row *talk, p *vault.Pending) error {
	if row.group == nil || len(p.Next) == 0 {
		return nil
	}
	next, err := mls.Unmarshal(t.c.config(), p.Next)
	if err != nil {
		return fmt.Errorf("load pending epoch: %w", err)
	}
	row.earlier = row.earlier.Refused(row.known, next, t.now)
	next.Retire(nil)
	return nil
}
