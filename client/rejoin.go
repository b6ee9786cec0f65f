package client

import (
	"errors"
	"fmt"

	"quicproquo/client/room"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/schemas"
)

// wayBack seals the way back into a group's epoch.
func (t *turn) wayBack(next *mls.Group) ([]byte, error) {
	data, err := room.DataOf(next.Public().Context().Extensions)
	if err != nil {
		return nil, err
	}
	return room.SealReturn(next, data.Link, schemas.MaxGroupInfo)
}

// buildReturn makes the external commit with which we come back into a group, or
// in by its link.
func (t *turn) buildReturn(row *talk, i *vault.Intent, w *wish, p prepared) error {
	renewed := w.On && w.Kind == wishRejoin // see restore.go
	switch {
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
	case w.Kind == wishRejoin && (row.group == nil || !renewed && p.record.Epoch <= row.group.Epoch()):
		return ErrMoot
	}
	if w.Kind == wishRejoin && (!p.current || !renewed && !t.stillBehind(row, p.record.Epoch)) {
		return t.again(i, rejoinPause)
	}
	back, err := openReturn(row, w, p.record.GroupInfo)
	if err != nil {
		if i.Tries < returnTries {
			return t.postpone(i, err) // the next commit may bring another
		}
		return because(ErrNoWayBack, "%v", err)
	}
	made, err := t.external(row, back)
	if err != nil {
		if i.Tries < returnTries {
			return t.postpone(i, err)
		}
		return because(ErrNoWayBack, "%v", err)
	}
	if w.Kind == wishRejoin {
		row.State = stateRecovering
		if !renewed {
			row.Reason = fmt.Sprintf("%d epochs were missed", back.Epoch-row.group.Epoch())
		}
	}
	t.changed(row)
	verifier, err := room.Verifier(made.Next)
	if err != nil {
		return err
	}
	sealed, err := t.wayBack(made.Next)
	if err != nil {
		return err
	}
	id := newID()
	commit := &Commit{
		GroupID: row.GroupID, Epoch: back.Epoch, Proof: back.Proof, NextVerifier: verifier, GroupInfo: sealed, RequestID: id[:],
	}
	for _, d := range t.addressed(row, made.Next) {
		d.Payload = room.Wrap(made.Commit)
		commit.Deliveries = append(commit.Deliveries, d)
	}
	return t.keepPending(row, i, made.Next, commit)
}

// stillBehind tells whether we have not come to an epoch of the group's record that
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

func openReturn(row *talk, w *wish, sealed []byte) (*room.Return, error) {
	if len(sealed) == 0 {
		return nil, room.ErrReturn
	}
	if w.Kind == wishJoin {
		return room.OpenReturnByLink(room.Link{GroupID: row.GroupID, Secret: w.Secret}, sealed)
	}
	return room.OpenReturn(row.group, sealed)
}

// external makes the external commit, in place of our old leaf where there is one.
func (t *turn) external(row *talk, back *room.Return) (*mls.Pending, error) {
	made, err := mls.ExternalJoin(t.c.config(), t.c.identity, back.GroupInfo, mls.ExternalOptions{Resync: row.group != nil}, t.now)
	if err != nil {
		other, failed := mls.ExternalJoin(t.c.config(), t.c.identity, back.GroupInfo, mls.ExternalOptions{Resync: row.group == nil}, t.now)
		if failed != nil {
			return nil, fmt.Errorf("join by external commit: %w", err)
		}
		made = other
	}
	if string(made.Next.ID()) != string(row.GroupID) {
		return nil, errors.New("the way back leads into another group")
	}
	data, err := room.DataOf(made.Next.Public().Context().Extensions)
	if err != nil {
		return nil, err
	}
	if uint8(data.Kind) != row.Kind {
		return nil, errors.New("the way back leads into a conversation of another kind")
	}
	_, err = t.checkRoom(&incoming{}, made.Next, data)
	return made, err
}
