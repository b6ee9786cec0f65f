package client

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
	"quicproquo/schemas"
)

// prepared is what an intent needs from the cluster.
type prepared struct {
	add    []*wire.KeyPackage     // of devices to add
	gone   []groupstate.Member    // devices that are revoked
	word   []groupstate.Departure // what their accounts say of that
	failed map[AccountKey]error   // who can't be added now, and why
	record conn.Group
	absent bool // the cluster has no record of the group
	// current: all that waited when the subscription began is processed.
	current bool
}

// prepare asks the cluster for what an intent needs.
func (c *Client) prepare(ctx context.Context, i *vault.Intent, w *wish) (p prepared, err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	switch w.Kind {
	case wishFound:
		p.add, p.failed, err = c.claimPackages(ctx, i, w)
	case wishInvite:
		if p, err = c.compareDevices(ctx, i, w, false); err == nil {
			p.add, p.failed, err = c.claimPackages(ctx, i, w)
		}
	case wishRejoin, wishJoin:
		c.net.mu.Lock()
		p.current = c.net.online
		c.net.mu.Unlock()
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
		if conn.Is(err, schemas.Code_groupNotFound) {
			p.absent, err = true, nil
		}
	default:
		// Whatever a member does, revoked devices leave with it.
		p, err = c.compareDevices(ctx, i, w, w.Kind == wishDevices)
	}
	return p, err
}

// claimPackages takes key packages for the devices of the accounts that are to come
// in, and for our other devices, unless they are in. That somebody can't be added does
// not keep the others out; an error says that the cluster can't be asked.
func (c *Client) claimPackages(ctx context.Context, i *vault.Intent, w *wish) (list []*wire.KeyPackage, failed map[AccountKey]error, err error) {
	failed = map[AccountKey]error{}
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
	if err != nil {
		return nil, nil, err
	}
	for _, account := range w.Accounts {
		if in[account] {
			continue
		}
		some, err := c.claimOf(ctx, i, w, account, DeviceID{})
		if err != nil && (ctx.Err() != nil || !about(err)) {
			return nil, nil, err
		}
		if err != nil {
			failed[account] = err
		}
		list = append(list, some...)
	}
	if w.Kind != wishFound {
		return list, failed, nil
	}
	own, err := c.claimOwn(ctx, i, w)
	return append(list, own...), failed, err
}

// about reports whether an error is about whom it was asked for, and not about the way
// to the cluster.
func about(err error) bool {
	var e *Error
	var p *Problem
	return asError(err, &p) || asError(err, &e) && (e.Code == schemas.Code_keyPackageNone || hopeless(e.Code))
}

// claimOwn takes key packages for our other devices.
func (c *Client) claimOwn(ctx context.Context, i *vault.Intent, w *wish) (list []*wire.KeyPackage, err error) {
	own, err := c.conn.ListDevices(ctx, c.account())
	for _, d := range own {
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
	_, revoked, deleted, err := c.conn.DeviceStatements(ctx, account)
	if err != nil {
		return nil, fmt.Errorf("what %s says of its devices: %w", c.nameOf(account), err)
	}
	if list, err = c.usable(claimed, account, revoked, deleted); err != nil {
		return nil, fmt.Errorf("%s can't be invited now: %w", c.nameOf(account), err)
	}
	return list, nil
}

// usable returns the key packages that can be added of those that a node hands out for an
// account: not one of a device that the account says is no longer its own, whose keys may
// be in other hands. An error says why there is none.
func (c *Client) usable(claimed []conn.ClaimedKeyPackage, account AccountKey, revoked []conn.Revocation, deleted *conn.Deletion) (list []*wire.KeyPackage, err error) {
	err = ErrIncompatible
	for _, one := range claimed {
		if one.Err != nil {
			err = one.Err
			continue
		}
		kp, of, bad := checkPackage(one.Package, account)
		if bad == nil && departed(of, revoked, deleted) != nil {
			bad = errors.New("the account says that this device is no longer its own")
		}
		if bad != nil {
			c.log.Warn("a key package can't be used", "account", c.nameOf(account), "error", bad)
			continue
		}
		list = append(list, kp)
	}
	if len(list) == 0 {
		return nil, err
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

// checkPackage reports whether a key package is one that we can add: of the account,
// of our suite, and of a client that knows our extension. It returns whose it is.
func checkPackage(b []byte, account AccountKey) (*wire.KeyPackage, groupstate.Member, error) {
	m, err := wire.Parse(b)
	if err != nil {
		return nil, groupstate.Member{}, err
	}
	if m.KeyPackage == nil {
		return nil, groupstate.Member{}, errors.New("it is no key package")
	}
	kp := m.KeyPackage
	credential, err := groupstate.ParseCredential(kp.Leaf.Credential)
	switch {
	case err != nil:
	case AccountKey(credential.Account) != account:
		err = errors.New("it is of another account")
	case kp.Suite != defaultSuite:
		err = because(ErrIncompatible, "its cipher suite is %#x", uint16(kp.Suite))
	case !slices.Contains(kp.Leaf.Capabilities.Extensions, groupstate.ExtensionType):
		err = because(ErrIncompatible, "it does not know our groups")
	}
	return kp, credential.Member, err
}

// compareDevices finds the devices of the members that are not in the group, if they
// are wanted, and those in the group that their accounts have revoked. That a device is
// revoked, or an account has ended, is believed of the account's own key only: a server's
// answer that something is gone removes nobody.
func (c *Client) compareDevices(ctx context.Context, i *vault.Intent, w *wish, add bool) (p prepared, err error) {
	in, err := c.membersNow(i)
	if err != nil {
		return p, err
	}
	// What was revoked before this call counts, whichever node answers: a linearizable
	// read brings the index of all that was acknowledged.
	if _, _, err := c.conn.Peek(ctx, conn.Read{Limit: 1, Linearizable: true}); err != nil {
		return p, fmt.Errorf("ask for the members' devices: %w", err)
	}
	accounts := map[AccountKey]bool{}
	for m := range in {
		accounts[m.Account] = true
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(statementsAtOnce)
	for account := range accounts {
		group.Go(func() error {
			devices, revoked, deleted, err := c.conn.DeviceStatements(ctx, account)
			if err != nil && about(err) {
				c.log.Warn("the devices of a member can't be told", "account", fmt.Sprintf("%x", account[:4]), "error", err)
				return nil
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for m := range in {
				if m.Account != account || m == c.self {
					continue
				}
				if word := departed(m, revoked, deleted); word != nil {
					p.gone, p.word = append(p.gone, m), append(p.word, *word)
				}
			}
			if add {
				p.add = append(p.add, c.claimMissing(ctx, i, w, account, devices, in)...)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return prepared{}, fmt.Errorf("ask for the members' devices: %w", err)
	}
	slices.SortFunc(p.gone, groupstate.Compare)
	return p, nil
}

// statementsAtOnce is how many accounts' devices are asked for at the same time.
const statementsAtOnce = 8

// departed returns what an account has said of a device that has left it, nil if nothing.
func departed(m groupstate.Member, revoked []conn.Revocation, deleted *conn.Deletion) *groupstate.Departure {
	word := &groupstate.Departure{Member: m}
	if deleted != nil {
		word.Device = [16]byte{}
		word.SignedAt = uint64(deleted.Signed.UnixMilli())
		copy(word.Signature[:], deleted.Signature)
		return word
	}
	for _, r := range revoked {
		if [16]byte(r.Device) == m.Device {
			word.SignedAt = uint64(r.Signed.UnixMilli())
			copy(word.Signature[:], r.Signature)
			return word
		}
	}
	return nil
}

// claimMissing takes a key package of each device of an account that is not in a group.
func (c *Client) claimMissing(ctx context.Context, i *vault.Intent, w *wish, account AccountKey, devices []conn.Device, in map[groupstate.Member]mls.Member) (list []*wire.KeyPackage) {
	for _, d := range devices {
		if _, there := in[groupstate.Member{Account: account, Device: d.ID}]; there || len(d.Key) == 0 {
			continue
		}
		if some, none := c.claimOf(ctx, i, w, account, d.ID); none == nil {
			list = append(list, some...)
		}
	}
	return list
}

// membersNow returns who is in the group of an intent.
func (c *Client) membersNow(i *vault.Intent) (in map[groupstate.Member]mls.Member, err error) {
	err = c.look(func(t *turn) error {
		row, err := t.talk(i.Conversation)
		if err == nil && row.group != nil {
			in = membersOf(row.group)
		}
		return err
	})
	return in, err
}
