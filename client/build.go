package client

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"quicproquo/client/room"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
)

// build makes the commit of an intent and keeps it. ErrMoot: there is nothing to do.
func (t *turn) build(i *vault.Intent, w *wish, p prepared) error {
	row, err := t.talk(i.Conversation)
	if err != nil {
		return err
	}
	if have, err := t.Pending(row.ID); err != nil || have != nil {
		return err // another intent's commit comes first
	}
	if w.Kind == wishRejoin || w.Kind == wishJoin {
		return t.buildReturn(row, i, w, p)
	}
	if row.State == stateRecovering || row.State == stateJoining {
		return t.postpone(i, errors.New("the conversation's keys have not come yet"))
	}
	if row.group == nil || row.State != stateActive {
		return ErrNotMember
	}
	opt, err := t.options(row, w, p)
	if err != nil {
		return err
	}
	if !row.founded && len(opt.Add) == 0 {
		return t.foundAlone(row, i)
	}
	made, err := row.group.Commit(*opt, t.now)
	if err != nil {
		return because(ErrIncompatible, "build the commit: %v", err)
	}
	before := row.group
	row.group = made.Current
	commit, err := t.commitCall(row, before, made)
	if err != nil {
		return err
	}
	return t.keepPending(row, i, made.Next, commit)
}

// options are what an intent commits in the present epoch.
func (t *turn) options(row *talk, w *wish, p prepared) (*mls.CommitOptions, error) {
	opt := &mls.CommitOptions{}
	data, err := row.data()
	if err != nil {
		return nil, err
	}
	next := data.Clone()
	in := membersOf(row.group)
	switch w.Kind {
	case wishFound, wishInvite:
		opt.Add = notIn(in, p.add)
		if row.founded && len(opt.Add) == 0 {
			return nil, ErrMoot
		}
		return opt, nil
	case wishDevices:
		opt.Add = notIn(in, p.add)
		for _, gone := range p.gone {
			if m, there := in[gone]; there {
				opt.Remove = append(opt.Remove, m.Index)
			}
		}
		return opt, mootIf(len(opt.Add)+len(opt.Remove) == 0)
	case wishRekey:
		return opt, nil
	case wishProposals:
		return opt, mootIf(len(row.group.Public().Proposals()) == 0)
	case wishRemove:
		for _, m := range sortedMembers(in) {
			if slices.Contains(w.Accounts, AccountKey(m.Account)) && m.Account != t.c.account() {
				opt.Remove = append(opt.Remove, in[m].Index)
				next.SetAdmin(m.Account, false)
			}
		}
		if len(opt.Remove) == 0 {
			return nil, ErrMoot
		}
		if len(next.Link) > 0 {
			if next.Link, err = room.NewLinkSecret(); err != nil {
				return nil, err
			}
		}
	case wishRename:
		next.Title = w.Title
	case wishRole:
		for _, account := range w.Accounts {
			next.SetAdmin(account, w.On)
		}
	case wishTimer:
		next.Expire = time.Duration(w.Seconds) * time.Second
	case wishLink:
		if next.Link = nil; w.On {
			next.Link = w.Secret
		}
	}
	before, after := data.AppendTo(nil), next.AppendTo(nil)
	if string(before) != string(after) {
		ext := next.Extensions(row.group.Public().Context().Extensions)
		opt.Extensions = &ext
	}
	return opt, mootIf(opt.Extensions == nil && len(opt.Remove) == 0)
}

func mootIf(moot bool) error {
	if moot {
		return ErrMoot
	}
	return nil
}

// notIn returns the key packages of devices that are not in a group.
func notIn(in map[room.Member]mls.Member, list []*wire.KeyPackage) (out []*wire.KeyPackage) {
	for _, kp := range list {
		c, err := room.ParseCredential(kp.Leaf.Credential)
		if _, there := in[c.Member]; err == nil && !there {
			out = append(out, kp)
		}
	}
	return out
}

// foundAlone gives the cluster the record of a group that has us only.
func (t *turn) foundAlone(row *talk, i *vault.Intent) error {
	verifier, err := room.Verifier(row.group)
	if err != nil {
		return err
	}
	back, err := t.wayBack(row.group)
	if err != nil {
		return err
	}
	id := newID()
	return t.keepPending(row, i, row.group, &Commit{
		GroupID: row.GroupID, Epoch: row.group.Epoch(), NextVerifier: verifier, GroupInfo: back, RequestID: id[:],
	})
}

// commitCall is how a commit is published: to all who were members, and the welcome
// to those who become it.
func (t *turn) commitCall(row *talk, before *mls.Group, made *mls.Pending) (*Commit, error) {
	verifier, err := room.Verifier(made.Next)
	if err != nil {
		return nil, err
	}
	back, err := t.wayBack(made.Next)
	if err != nil {
		return nil, err
	}
	id := newID()
	commit := &Commit{
		GroupID: row.GroupID, Epoch: before.Epoch(), NextVerifier: verifier, GroupInfo: back, RequestID: id[:],
	}
	if row.founded {
		if commit.Proof, err = room.Proof(before); err != nil {
			return nil, err
		}
		for _, d := range t.addressed(row, before) {
			d.Payload = room.Wrap(made.Commit)
			commit.Deliveries = append(commit.Deliveries, d)
		}
	} else {
		commit.Epoch = made.Next.Epoch() // the record begins with it
	}
	if made.Welcome == nil {
		return commit, nil
	}
	added := membersOf(made.Next)
	for m := range membersOf(before) {
		delete(added, m)
	}
	for _, d := range t.addressedTo(row, added) {
		d.Payload = room.Wrap(made.Welcome)
		commit.Deliveries = append(commit.Deliveries, d)
	}
	return commit, nil
}

// keepPending keeps a commit until the cluster has decided about it.
func (t *turn) keepPending(row *talk, i *vault.Intent, next *mls.Group, commit *Commit) error {
	encoded, err := json.Marshal(commit)
	if err != nil {
		return err
	}
	t.notable = true
	return t.SetPending(row.ID, &vault.Pending{Intent: i.ID, Next: next.Marshal(), Call: encoded})
}

// returnTries is how often a way back is tried before the conversation counts as
// broken.
const returnTries = 6
