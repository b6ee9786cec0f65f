package client

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"quicproquo/client/room"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
	"quicproquo/schemas"
)

// prepared is what an intent needs from the cluster.
type prepared struct {
	add    []*wire.KeyPackage // of devices to add
	gone   []room.Member      // devices that are revoked
	record Group
	absent bool // the cluster has no record of the group
}

// prepare asks the cluster for what an intent needs.
func (c *Client) prepare(ctx context.Context, i *vault.Intent, w *wish) (p prepared, err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	switch w.Kind {
	case wishFound, wishInvite:
		p.add, err = c.claimPackages(ctx, i, w)
	case wishDevices:
		p, err = c.compareDevices(ctx, i, w)
	case wishRejoin, wishJoin:
		var groupID []byte
		err = c.look(func(t *turn) error {
			row, err := t.talk(i.Conversation)
			if err == nil {
				groupID = row.GroupID
			}
			return err
		})
		if err == nil {
			p.record, err = c.conn.FetchGroup(ctx, groupID)
		}
		if Is(err, schemas.Code_groupNotFound) {
			p.absent, err = true, nil
		}
	}
	return p, err
}

// claimPackages takes key packages for the devices of the accounts that are to come
// in, and for our other devices, unless they are in.
func (c *Client) claimPackages(ctx context.Context, i *vault.Intent, w *wish) (list []*wire.KeyPackage, err error) {
	in := map[AccountKey]bool{}
	err = c.look(func(t *turn) error {
		row, err := t.talk(i.Conversation)
		if err == nil && row.group != nil {
			for account := range accountsOf(row.group) {
				in[account] = true
			}
		}
		return err
	})
	for _, account := range w.Accounts {
		if err != nil {
			return nil, err
		}
		if in[account] {
			continue
		}
		var some []*wire.KeyPackage
		some, err = c.claimOf(ctx, i, w, account, DeviceID{})
		list = append(list, some...)
	}
	if err != nil || w.Kind != wishFound {
		return list, err
	}
	own, err := c.conn.ListDevices(ctx, c.account())
	for _, d := range own {
		if err != nil {
			return nil, err
		}
		if d.ID == DeviceID(c.self.Device) || len(d.Key) == 0 {
			continue
		}
		some, none := c.claimOf(ctx, i, w, c.account(), d.ID)
		if none == nil {
			list = append(list, some...)
		} else if ctx.Err() != nil {
			return nil, none
		}
	}
	return list, err
}

// claimOf takes a key package of each device of an account, or of one. The request
// id is kept first: asked again, the cluster gives the same ones. Devices that have
// none are left out unless none has any.
func (c *Client) claimOf(ctx context.Context, i *vault.Intent, w *wish, account AccountKey, device DeviceID) (list []*wire.KeyPackage, err error) {
	id, err := c.claimID(i, w, account, device)
	if err != nil {
		return nil, err
	}
	claimed, err := c.conn.FetchKeyPackages(ctx, account, device, id)
	if err != nil {
		return nil, fmt.Errorf("key packages of %s: %w", c.nameOf(account), err)
	}
	err = ErrIncompatible
	for _, one := range claimed {
		if one.Err != nil {
			err = one.Err
			continue
		}
		kp, bad := checkPackage(one.Package, account)
		if bad != nil {
			c.log.Warn("a key package can't be used", "account", c.nameOf(account), "error", bad)
			continue
		}
		list = append(list, kp)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s can't be invited now: %w", c.nameOf(account), err)
	}
	return list, nil
}

// claimID returns the request id of a claim, kept with its intent.
func (c *Client) claimID(i *vault.Intent, w *wish, account AccountKey, device DeviceID) ([]byte, error) {
	key := hex.EncodeToString(account[:8]) + hex.EncodeToString(device[:8])
	if id := w.Claims[key]; id != nil {
		return id, nil
	}
	id := newID()
	if w.Claims == nil {
		w.Claims = map[string][]byte{}
	}
	w.Claims[key] = id[:]
	var err error
	if i.Args, err = json.Marshal(w); err != nil {
		return nil, err
	}
	return id[:], c.vault.Update(func(tx *vault.Tx) error { return tx.SetIntent(i) })
}

func (c *Client) nameOf(account AccountKey) (name string) {
	_ = c.look(func(t *turn) error { name = t.names().name(account); return nil })
	return name
}

// checkPackage tells whether a key package is one that we can add: of the account,
// of our suite, and of a client that knows our extension.
func checkPackage(b []byte, account AccountKey) (*wire.KeyPackage, error) {
	m, err := wire.Parse(b)
	if err != nil {
		return nil, err
	}
	if m.KeyPackage == nil {
		return nil, errors.New("it is no key package")
	}
	kp := m.KeyPackage
	credential, err := room.ParseCredential(kp.Leaf.Credential)
	if err != nil {
		return nil, err
	}
	switch {
	case AccountKey(credential.Account) != account:
		return nil, errors.New("it is of another account")
	case kp.Suite != defaultSuite:
		return nil, because(ErrIncompatible, "its cipher suite is %#x", uint16(kp.Suite))
	case !slices.Contains(kp.Leaf.Capabilities.Extensions, room.ExtensionType):
		return nil, because(ErrIncompatible, "it does not know our groups")
	}
	return kp, nil
}

// compareDevices finds the devices of the members that are not in the group, and
// those in the group that are not theirs any more.
func (c *Client) compareDevices(ctx context.Context, i *vault.Intent, w *wish) (p prepared, err error) {
	var in map[room.Member]mls.Member
	err = c.look(func(t *turn) error {
		row, err := t.talk(i.Conversation)
		if err == nil && row.group != nil {
			in = membersOf(row.group)
		}
		return err
	})
	if err != nil {
		return p, err
	}
	accounts := map[AccountKey][]Device{}
	for _, m := range sortedMembers(in) {
		if _, asked := accounts[m.Account]; asked {
			continue
		}
		devices, err := c.conn.ListDevices(ctx, m.Account)
		if err != nil && !Is(err, schemas.Code_accountNotFound) {
			return p, err
		}
		accounts[m.Account] = devices
	}
	for _, m := range sortedMembers(in) {
		if !slices.ContainsFunc(accounts[m.Account], func(d Device) bool { return [16]byte(d.ID) == m.Device }) && m != c.self {
			p.gone = append(p.gone, m)
		}
	}
	for account, devices := range accounts {
		for _, d := range devices {
			if _, there := in[room.Member{Account: account, Device: d.ID}]; there || len(d.Key) == 0 {
				continue
			}
			if some, none := c.claimOf(ctx, i, w, account, d.ID); none == nil {
				p.add = append(p.add, some...)
			}
		}
	}
	return p, ctx.Err()
}

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

// wayBack seals the way back into a group's epoch.
func (t *turn) wayBack(next *mls.Group) ([]byte, error) {
	data, err := room.DataOf(next.Public().Context().Extensions)
	if err != nil {
		return nil, err
	}
	return room.SealReturn(next, data.Link, schemas.MaxGroupInfo)
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

// buildReturn makes the external commit with which we come back into a group, or
// in by its link.
func (t *turn) buildReturn(row *talk, i *vault.Intent, w *wish, p prepared) error {
	switch {
	case p.absent && row.group != nil:
		// The cluster has forgotten the group: the next commit founds its record anew.
		row.founded, row.noted = false, true
		if _, err := t.intend(row, wish{Kind: wishFound}); err != nil {
			return err
		}
		return t.settle(i, nil)
	case p.absent:
		return because(ErrNoWayBack, "the cluster does not know the group")
	case w.Kind == wishRejoin && (row.group == nil || p.record.Epoch <= row.group.Epoch()):
		return ErrMoot
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
		row.Reason = fmt.Sprintf("%d epochs were missed", back.Epoch-row.group.Epoch())
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

// returnTries is how often a way back is tried before the conversation counts as
// broken.
const returnTries = 6

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
