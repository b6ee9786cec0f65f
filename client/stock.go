package client

import (
	"context"
	"time"

	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
)

// keyPackageLife is how long a key package is good for; it begins keyPackageSlack
// before it is made, since clocks differ.
const (
	keyPackageLife  = 80 * 24 * time.Hour
	keyPackageSlack = 48 * time.Hour
)

// uploadBatch is how many key packages one call uploads.
const uploadBatch = 50

// KeysStatus is how it stands with the device's key packages.
type KeysStatus struct {
	KeyPackages     // at the cluster
	Local       int // with private keys in the vault
	LastResort  time.Time
	Oldest      time.Time
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

// topUp uploads key packages if the cluster has few, and a new last-resort one if
// the last is old.
func (c *Client) topUp(ctx context.Context) error {
	have, err := c.KeysStatus(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	restored := c.who.Incarnation != have.Incarnation
	c.mu.Unlock()
	missing := 0
	if restored || have.Remaining < c.settings.KeyPackages/2 {
		missing = c.settings.KeyPackages - have.Remaining
		if restored {
			missing = c.settings.KeyPackages
		}
	}
	lastResort := restored || !have.HasLastResort || c.now().Sub(have.LastResort) > c.settings.LastResortAge
	for missing > 0 || lastResort {
		n := min(missing, uploadBatch)
		if err := c.upload(ctx, n, lastResort); err != nil {
			return err
		}
		missing, lastResort = missing-n, false
	}
	if !restored {
		return nil
	}
	return c.turn(func(t *turn) error {
		who := *c.who
		who.Incarnation = have.Incarnation
		t.then(func() { c.mu.Lock(); c.who = &who; c.mu.Unlock() })
		return t.SetProfile(&who)
	})
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
	err := c.vault.Update(func(tx *vault.Tx) error {
		for _, row := range made {
			if err := tx.AddKeyPackage(row); err != nil {
				return err
			}
		}
		return tx.DeleteKeyPackages(now.Add(-keyPackageSlack))
	})
	if err != nil {
		return err
	}
	_, _, err = c.conn.UploadKeyPackages(ctx, packages, last)
	return err
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
