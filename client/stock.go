package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/schemas"
)

// keyPackageLife is how long a key package is good for; it begins keyPackageSlack
// before it is made, since clocks are off by days. Together they are no more than
// implementations of MLS accept (84 days and an hour).
const (
	keyPackageLife  = 80 * 24 * time.Hour
	keyPackageSlack = 4 * 24 * time.Hour
)

// keyPackageFresh is the life that a key package has at least when others get it, as
// long as this device comes here now and then: with less it is replaced by a new one.
const keyPackageFresh = keyPackageLife / 2

// keyPackageKept is how long the private keys of a key package are kept after its end:
// who adds us may do so a while later (mls.LifetimeLeeway), with a clock that is late,
// and ours may be early.
const keyPackageKept = 14 * 24 * time.Hour

// uploadBatch is how many key packages one call uploads.
const uploadBatch = 50

// KeysStatus is how it stands with the device's key packages.
type KeysStatus struct {
	conn.KeyPackages     // at the cluster
	Fresh            int // of those, with half of their life or more ahead
	Local            int // with private keys in the vault
	LastResort       time.Time
	Oldest           time.Time
}

// KeysStatus asks the cluster how many key packages wait there.
func (c *Client) KeysStatus(ctx context.Context) (k KeysStatus, err error) {
	if err := c.ready(); err != nil {
		return k, err
	}
	if k.KeyPackages, err = c.conn.KeyPackageCount(ctx); err != nil {
		return k, err
	}
	err = c.look(func(t *turn) error {
		list, err := t.KeyPackages()
		k.Fresh, _ = c.settings.fresh(k.KeyPackages, list, t.now)
		for _, kp := range list {
			k.Local++
			if kp.LastResort && kp.Made.After(k.LastResort) {
				k.LastResort = kp.Made
			}
			if k.Oldest.IsZero() || kp.Made.Before(k.Oldest) {
				k.Oldest = kp.Made
			}
		}
		return err
	})
	return k, err
}

// stock is what the cluster lacks.
type stock struct {
	missing    int // key packages
	lastResort bool
}

// fresh tells how many of the key packages at the cluster have life enough, and whether
// the last-resort one has it and is not old, from what the cluster says and the key
// packages of this device, the oldest first. The cluster hands out the oldest first too:
// those that wait there are the newest that were uploaded.
func (s Settings) fresh(have conn.KeyPackages, list []*vault.KeyPackage, now time.Time) (fresh int, last bool) {
	waiting := have.Remaining
	for _, kp := range slices.Backward(list) {
		alive := kp.Expires.Sub(now) >= keyPackageFresh
		switch {
		case !kp.Uploaded || kp.Made.After(now.Add(keyPackageSlack)): // it never arrived there
		case kp.LastResort:
			last = last || alive && now.Sub(kp.Made) <= s.LastResortAge
		case waiting > 0:
			if waiting--; alive {
				fresh++
			}
		}
	}
	return fresh, last && have.HasLastResort
}

// lacks tells what the cluster lacks.
func (s Settings) lacks(have conn.KeyPackages, list []*vault.KeyPackage, now time.Time) stock {
	fresh, last := s.fresh(have, list, now)
	lack := stock{lastResort: !last}
	if fresh < s.KeyPackages/2 {
		lack.missing = s.KeyPackages - fresh
	}
	return lack
}

// topUp uploads key packages if the cluster has few that have a long life, and a new
// last-resort one if the last is old.
func (c *Client) topUp(ctx context.Context) error {
	have, err := c.conn.KeyPackageCount(ctx)
	if err != nil {
		return err
	}
	var list []*vault.KeyPackage
	if err := c.look(func(t *turn) (err error) { list, err = t.KeyPackages(); return err }); err != nil {
		return err
	}
	c.mu.Lock()
	restored := c.who.Incarnation != have.Incarnation
	c.mu.Unlock()
	lack := c.settings.lacks(have, list, c.now())
	if restored {
		lack = stock{c.settings.KeyPackages, true}
	}
	if err := c.supply(ctx, have.Remaining, lack); err != nil || !restored {
		return err
	}
	return c.turn(func(t *turn) error {
		who := *c.who
		who.Incarnation = have.Incarnation
		t.then(func() { c.mu.Lock(); c.who = &who; c.mu.Unlock() })
		return t.SetProfile(&who)
	})
}

// supply uploads what is lacking, beside those that wait already. Where the cluster has
// no room for more it has as many as it may, until their end.
func (c *Client) supply(ctx context.Context, waiting int, lack stock) error {
	for lack.missing > 0 || lack.lastResort {
		n := min(lack.missing, uploadBatch)
		if room := c.stockRoom.Load(); room > 0 {
			n = max(0, min(n, int(room)-waiting))
		}
		if n == 0 && !lack.lastResort {
			return nil
		}
		err := c.upload(ctx, n, lack.lastResort)
		var e *Error
		if asError(err, &e) && e.Code == schemas.Code_keyPackageLimit && n > 0 && c.stockRoom.Swap(int64(e.Value)) != int64(e.Value) {
			continue
		}
		if err != nil {
			return err
		}
		lack, waiting = stock{lack.missing - n, false}, waiting+n
	}
	return nil
}

// upload makes key packages, keeps them, and gives them to the cluster.
func (c *Client) upload(ctx context.Context, n int, lastResort bool) error {
	now := c.now()
	var made []*vault.KeyPackage
	var packages [][]byte
	var last []byte
	for i := range n + 1 {
		if i == n && !lastResort {
			break
		}
		row, message, err := c.newKeyPackage(now, i == n)
		if err != nil {
			return err
		}
		made = append(made, row)
		if row.LastResort {
			last = message
		} else {
			packages = append(packages, message)
		}
	}
	err := c.eachPackage(made, (*vault.Tx).AddKeyPackage)
	if err != nil {
		return err
	}
	_, _, err = c.conn.UploadKeyPackages(ctx, packages, last)
	var e *Error
	switch {
	case err == nil:
		return c.eachPackage(made, func(tx *vault.Tx, row *vault.KeyPackage) error { return tx.KeyPackageUploaded(row.Ref) })
	case asError(err, &e) && (hopeless(e.Code) || e.Code == schemas.Code_rateLimited): // nobody has them
		return errors.Join(err, c.eachPackage(made, func(tx *vault.Tx, row *vault.KeyPackage) error { return tx.DeleteKeyPackage(row.Ref) }))
	}
	return err
}

func (c *Client) eachPackage(list []*vault.KeyPackage, f func(*vault.Tx, *vault.KeyPackage) error) error {
	return c.vault.Update(func(tx *vault.Tx) error {
		for _, row := range list {
			if err := f(tx, row); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Client) newKeyPackage(now time.Time, lastResort bool) (*vault.KeyPackage, []byte, error) {
	from, to := now.Add(-keyPackageSlack), now.Add(keyPackageLife)
	kp, err := c.identity.NewKeyPackage(now, mls.KeyPackageOptions{
		Lifetime: tree.Lifetime{NotBefore: uint64(from.Unix()), NotAfter: uint64(to.Unix())}, LastResort: lastResort,
	})
	if err != nil {
		return nil, nil, err
	}
	defer kp.Zero()
	ref := kp.Public.Ref(c.identity.Signer.Suite())
	return &vault.KeyPackage{Ref: ref, State: kp.AppendTo(nil), LastResort: lastResort, Made: now, Expires: to}, kp.Message(), nil
}
