package client

import (
	"errors"
	"fmt"
	"slices"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/internal/planted"
	"quicproquo/schemas"
)

// wayBack seals the way back into a group's epoch, with what is known at it.
func (t *turn) wayBack(next *mls.Group, past *groupstate.Known) ([]byte, error) {
	var link []byte
	if past.Data != nil {
		link = past.Data.Link
	}
	return groupstate.SealReturn(next, past, link, schemas.MaxGroupInfo)
}

// buildReturn makes the external commit with which we come back into a group, or
// in by its link.
func (t *turn) buildReturn(row *talk, i *vault.Intent, w *wish, p prepared) error {
	renewed := w.On && w.Kind == wishRejoin // see restore.go
	switch {
	case row.State == stateUnproven || row.State == stateRequested:
		return ErrMoot // until the user has answered
	case p.absent && renewed && row.founded:
		return because(ErrNoWayBack, "%v", errNoRecord)
	case p.absent && row.group != nil:
		if renewed {
			row.State, row.Reason = stateActive, ""
			t.changed(row)
		}
		// The cluster has forgotten the group: the next commit founds its record anew.
		row.founded, row.noted = false, true
		if _, err := t.intend(row, wish{Kind: wishFound}); err != nil {
			return err
		}
		return t.settle(i, nil)
	case p.absent:
		return because(ErrNoWayBack, "the cluster does not know the group")
	case w.Kind == wishRejoin && row.group == nil:
		return ErrMoot
	}
	apart := w.Kind == wishRejoin && row.apart(w, p.record)
	if w.Kind == wishRejoin && !renewed && !apart && p.record.Epoch <= row.group.Epoch() {
		return ErrMoot
	}
	if w.Kind == wishRejoin && (!p.current || !renewed && !apart && !t.stillBehind(row, p.record.Epoch)) {
		return t.again(i, rejoinPause)
	}
	back, err := openReturn(row, w, p.record.GroupInfo)
	if err == nil && back.Epoch != p.record.Epoch {
		err = fmt.Errorf("%w: the record is said to be of epoch %d, and leads into %d", groupstate.ErrReturn, p.record.Epoch, back.Epoch)
	}
	if err != nil {
		if i.Tries < returnTries {
			return t.postpone(i, err) // the next commit may bring another
		}
		return because(ErrNoWayBack, "%v", err)
	}
	made, err := t.external(row, back)
	if err != nil {
		if i.Tries < returnTries {
			return t.postpone(i, err) // the next commit may bring another, or a proof
		}
		switch {
		case errors.Is(err, groupstate.ErrAnother):
			return t.awaitAnother(row, i, err)
		case errors.Is(err, groupstate.ErrLineage):
			return t.askUnproven(row, i)
		}
		return because(ErrNoWayBack, "%v", err)
	}
	if w.Kind == wishRejoin {
		row.State = stateRecovering
		switch {
		case back.Past != nil:
			row.known, row.earlier = back.Past, row.earlier.Before(back)
			if row.Reason = "what became of a commit of ours is not what we were told"; back.LedBy != nil {
				if err := t.ledAside(row, AccountKey(*back.LedBy)); err != nil {
					return err
				}
			}
		case !renewed:
			row.Reason = fmt.Sprintf("%d epochs were missed", back.Epoch-row.group.Epoch())
		}
	}
	t.changed(row)
	verifier, err := groupstate.Verifier(made.Next)
	if err != nil {
		return err
	}
	sealed, err := t.wayBack(made.Next, row.known.Next(row.group, made.Next))
	if err != nil {
		return err
	}
	id := newID()
	commit := &conn.Commit{
		GroupID: row.GroupID, Epoch: back.Epoch, Proof: back.Proof, NextVerifier: verifier, GroupInfo: sealed, RequestID: id[:],
	}
	for _, d := range t.addressed(row, made.Next) {
		d.Payload = groupstate.Wrap(made.Commit)
		commit.Deliveries = append(commit.Deliveries, d)
	}
	return t.keepPending(row, i, made.Next, commit)
}

// ledAside tells whose commit it was that nobody else has.
func (t *turn) ledAside(row *talk, by AccountKey) error {
	row.Reason = "a member has sent this device a change that nobody else has"
	return t.event(row, EventInvalid, 0, notice{By: &by, Note: "sent this device a change that the others do not have; what was said here since then has not reached them"})
}

// waits reports whether what is wanted of a conversation has to wait: for its keys, or for
// what the user says to keys that prove nothing. Nothing is sent, and nothing given up.
func (t *turn) waits(row *talk) (bool, error) {
	switch row.State {
	case stateRecovering, stateJoining, stateUnproven:
		return true, nil
	case stateBroken: // until it is found, or given up
		list, err := t.IntentsOf(row.ID)
		return slices.ContainsFunc(list, func(i *vault.Intent) bool { return i.Kind == wishRejoin }), err
	}
	return false, nil
}

// errWaits is why something has to wait.
func errWaits(row *talk) error {
	if err := row.usable(); err != nil {
		return err
	}
	return errors.New("the conversation's keys have not come yet")
}

// wake has a conversation do now what has waited for its keys.
func (t *turn) wake(row *talk) error {
	list, err := t.IntentsOf(row.ID)
	for _, i := range list {
		if err == nil && i.Tries > 0 && i.Next.After(t.now) {
			i.Next = t.now
			err = t.SetIntent(i)
		}
	}
	t.notable = true
	return err
}

// noWayBack tells the user that a way back can't be had, and goes on looking for one at
// longer and longer pauses: what a node withholds today another has, or the same
// tomorrow. Nothing is sent meanwhile.
func (t *turn) noWayBack(row *talk, i *vault.Intent, why error) error {
	if row.State != stateBroken {
		row.State, row.Reason = stateBroken, why.Error()
		t.changed(row)
		note := fmt.Sprintf("%s: %v; nothing is sent until there is one, and it is looked for on and on", i.Kind, why)
		if err := t.event(row, EventFailed, 0, notice{Note: note}); err != nil {
			return err
		}
	}
	t.answer(i, why)
	i.Tries = max(i.Tries, returnTries)
	return t.postpone(i, why)
}

// stillBehind reports whether we have not come to an epoch of the group's record that
// was seen before: what we miss is not merely on its way.
func (t *turn) stillBehind(row *talk, record uint64) bool {
	seen, known := t.c.behind[row.ID]
	if known && row.group.Epoch() < seen {
		delete(t.c.behind, row.ID)
		return true
	}
	if t.c.behind == nil {
		t.c.behind = map[vault.ConversationID]uint64{}
	}
	t.c.behind[row.ID] = record
	return false
}

func openReturn(row *talk, w *wish, sealed []byte) (*groupstate.Return, error) {
	if len(sealed) == 0 {
		return nil, groupstate.ErrReturn
	}
	if w.Kind == wishJoin {
		return groupstate.OpenReturnByLink(groupstate.Link{GroupID: row.GroupID, Secret: w.Secret}, sealed)
	}
	back, err := groupstate.OpenReturn(row.group, row.earlier, sealed)
	if err != nil {
		return nil, err
	}
	return back, row.earlier.Judge(row.GroupID, back, row.known)
}

// apart reports whether the group's record is not behind ours but another: a commit of
// ours, which a node has said to have won, has never reached the others, or one that it
// has said to have lost has, or a commit of another's has reached nobody but us.
func (row *talk) apart(w *wish, record conn.Group) bool {
	if record.Epoch > row.group.Epoch() || row.earlier == nil {
		return false
	}
	back, err := openReturn(row, w, record.GroupInfo)
	return err == nil && back.Past != nil
}

// basis is what is known of the conversation that a way back has to continue.
func (row *talk) basis(back *groupstate.Return) *groupstate.Known {
	if back.Past != nil {
		return back.Past
	}
	return row.known
}

// external makes the external commit, in place of our old leaf where there is one.
func (t *turn) external(row *talk, back *groupstate.Return) (*mls.Pending, error) {
	var refused error
	opt := mls.ExternalOptions{
		AAD: row.basis(back).TieReturning(row.GroupID, back.Epoch, t.c.self),
		Check: func(group *mls.PublicGroup, signer mls.Member) error {
			refused = t.checkReturn(row, back, group, signer)
			return refused
		},
	}
	for _, opt.Resync = range []bool{row.group != nil, row.group == nil} {
		made, err := mls.ExternalJoin(t.c.config(), t.c.identity, back.GroupInfo, opt, t.now)
		if err == nil || refused != nil {
			return made, errors.Join(refused)
		}
		if opt.Resync == (row.group == nil) {
			return nil, fmt.Errorf("join by external commit: %w", err)
		}
	}
	return nil, nil // not reached
}

// checkReturn decides whether a way back leads into the conversation that it is for:
// that is so if it continues what this client knows of it, or the user has said so of
// exactly this.
func (t *turn) checkReturn(row *talk, back *groupstate.Return, group *mls.PublicGroup, signer mls.Member) error {
	offer, err := groupstate.OfferOf(group, signer)
	if err != nil {
		return fmt.Errorf("%w: %w", err, groupstate.ErrAnother)
	}
	if planted.On(planted.LineageOff) {
		return nil
	}
	switch {
	case string(group.ID()) != string(row.GroupID):
		return fmt.Errorf("it is another group: %w", groupstate.ErrAnother)
	case group.Epoch() != back.Epoch:
		return fmt.Errorf("its group info is of epoch %d: %w", group.Epoch(), groupstate.ErrAnother)
	case uint8(offer.Data.Kind) != row.Kind:
		return fmt.Errorf("it is of another kind: %w", groupstate.ErrAnother)
	case row.Kind == kindDM && !t.betweenUs(row, offer):
		return fmt.Errorf("its people are others: %w", groupstate.ErrAnother)
	case row.known == nil:
		return nil // no epoch was ever held here: the link alone leads in
	case back.Past != nil && !back.Lawless && !row.hasMember(offer.Signer):
		return fmt.Errorf("who vouches for it was removed by a commit of ours: %w", groupstate.ErrAnother)
	}
	if err = row.basis(back).Allows(offer); err == nil {
		err = back.Continues(row.GroupID, row.basis(back))
	}
	if !errors.Is(err, groupstate.ErrLineage) || errors.Is(err, groupstate.ErrAnother) {
		return err
	}
	digest := offer.Digest()
	if row.State != stateUnproven && string(row.Offer) == string(digest[:]) {
		return nil // the user was asked, and has accepted this
	}
	row.asked = digest[:]
	return err
}

// hasMember reports whether a device is a member in the present epoch.
func (row *talk) hasMember(m groupstate.Member) bool {
	if row.group == nil {
		return false
	}
	_, member := membersOf(row.group)[m]
	return member
}

// betweenUs reports whether an offer is of this account and its peer.
func (t *turn) betweenUs(row *talk, offer *groupstate.Offer) bool {
	return len(offer.Accounts) == 2 && slices.Contains(offer.Accounts, [identity.KeySize]byte(t.c.account())) && slices.Contains(offer.Accounts, row.Peer)
}

// awaitAnother goes on waiting for a way back that leads into this conversation: the
// next commit of a member who was here brings one. Meanwhile nothing is sent.
func (t *turn) awaitAnother(row *talk, i *vault.Intent, why error) error {
	if i.Tries == returnTries {
		row.State, row.Reason = stateRecovering, "what the server offers as its continuation is none: "+why.Error()
		t.changed(row)
		if err := t.event(row, EventInvalid, 0, notice{Note: row.Reason + "; nothing is sent until a member whom you know there vouches for one"}); err != nil {
			return err
		}
	}
	return t.postpone(i, why)
}

// askUnproven stops a conversation until the user has decided about a continuation
// that proves nothing.
func (t *turn) askUnproven(row *talk, i *vault.Intent) error {
	if err := t.unproven(row, row.asked); err != nil {
		return err
	}
	return t.settle(i, because(ErrUnproven, "%s", row.Reason))
}

// unproven asks the user about a continuation of a conversation. Nothing is sent there
// before the answer.
func (t *turn) unproven(row *talk, offer []byte) error {
	names := t.names()
	row.State, row.Offer = stateUnproven, offer
	row.Reason = "the keys of this group are new, and nothing proves that it is the one that you knew; ask its members by other means"
	if row.Kind == kindDM {
		row.Reason = "the keys of this conversation with " + names.name(row.Peer) + " are new; compare the safety number"
	}
	t.changed(row)
	return t.event(row, EventUnproven, 0, notice{Note: row.Reason})
}
