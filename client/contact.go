package client

import (
	"bytes"
	"context"
	"crypto/sha512"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
	"quicproquo/crypto/account"
	"quicproquo/schemas"
)

// Contact is an account that this client has met. Its key is kept from the first
// time: another one under the same name is not trusted.
type Contact struct {
	Username     string
	Key          AccountKey
	SafetyNumber string // equal on both sides; to be compared by other means
	Verified     bool   // the user has compared it
	Since        time.Time
}

// Contacts returns the contacts by name.
func (c *Client) Contacts() (list []Contact, err error) {
	err = c.look(func(t *turn) error {
		rows, err := t.Contacts()
		for _, row := range rows {
			list = append(list, c.contact(row))
		}
		return err
	})
	return list, err
}

func (c *Client) contact(row *vault.Contact) Contact {
	own := AccountKey{}
	if c.who != nil {
		own = c.account()
	}
	return Contact{row.Username, row.Account, SafetyNumber(own, row.Account), row.Verified, row.Since}
}

// Contact returns an account by its username. One that is not known yet is asked
// for and kept.
func (c *Client) Contact(ctx context.Context, username string) (Contact, error) {
	key, err := c.resolve(ctx, username)
	if err != nil {
		return Contact{}, err
	}
	var found Contact
	err = c.look(func(t *turn) error {
		row, err := t.Contact(key)
		if row != nil {
			found = c.contact(row)
		}
		return err
	})
	return found, err
}

// SetVerified notes whether the user has compared a contact's safety number.
func (c *Client) SetVerified(username string, verified bool) error {
	name, err := account.ParseUsername(strings.TrimPrefix(username, "@"))
	if err != nil {
		return conn.Refusal(err)
	}
	return c.turn(func(t *turn) error {
		row, err := t.ContactNamed(name.String())
		if err != nil {
			return err
		}
		if row == nil {
			return because(ErrNoConversation, "%s is not a contact", name)
		}
		row.Verified = verified
		if verified {
			if err := t.befriend(row.Account); err != nil {
				return err
			}
		}
		return t.SetContact(row)
	})
}

// Trust takes the key that the cluster has for a username now in place of the one
// that was known, as not verified.
func (c *Client) Trust(ctx context.Context, username string) (Contact, error) {
	if err := c.ready(); err != nil {
		return Contact{}, err
	}
	key, err := c.conn.ResolveUser(ctx, username)
	if err != nil {
		return Contact{}, err
	}
	name, err := account.ParseUsername(username)
	if err != nil {
		return Contact{}, conn.Refusal(err)
	}
	if err := c.turn(func(t *turn) error { return t.meet(key, name.String()) }); err != nil {
		return Contact{}, err
	}
	return c.Contact(ctx, username)
}

// resolve returns the account of a username: the one that is known, else what the
// cluster says, which is kept. Each time the cluster can be asked, both are compared.
func (c *Client) resolve(ctx context.Context, username string) (key AccountKey, err error) {
	name, err := account.ParseUsername(strings.TrimPrefix(username, "@"))
	if err != nil {
		return key, conn.Refusal(err)
	}
	var known *vault.Contact
	err = c.look(func(t *turn) (err error) {
		known, err = t.ContactNamed(name.String())
		return err
	})
	if err != nil {
		return key, err
	}
	if err := c.ready(); err != nil {
		if known != nil {
			return known.Account, nil
		}
		return key, err
	}
	key, err = c.conn.ResolveUser(ctx, name.String())
	switch {
	case err != nil && known != nil && !conn.Is(err, schemas.Code_accountNotFound):
		return known.Account, nil
	case err != nil:
		return key, fmt.Errorf("find %s: %w", name, err)
	case known == nil:
		return key, c.turn(func(t *turn) error { return t.meet(key, name.String()) })
	case AccountKey(known.Account) != key:
		return key, because(ErrUntrustedKey, "%s", name)
	}
	return key, nil
}

// meet keeps an account with its name.
func (t *turn) meet(key AccountKey, name string) error {
	t.notable = true
	return t.SetContact(&vault.Contact{Account: key, Username: name, Since: t.now})
}

// Names of accounts that come up without one are asked for before what their owners
// say is shown, nameWait long at most. Those of more than namesAwaited, as in a large
// group that we have just come into, are asked for meanwhile, namesAtOnce at a time.
const (
	nameWait     = 3 * time.Second
	namesAwaited = 16
	namesAtOnce  = 8
)

// learnNames asks for the names of accounts that came up without one, or leaves many
// of them to upkeep. If others ask already it waits for them: the names may be those
// that its caller is about to show.
func (c *Client) learnNames(ctx context.Context) {
	if c.conn == nil {
		return // of a profile without endpoints: the next connection asks
	}
	select {
	case c.naming <- struct{}{}:
		defer func() { <-c.naming }()
	case <-ctx.Done():
		return
	}
	if !c.nameless.Swap(false) {
		return
	}
	asked, err := c.listNameless()
	switch {
	case err != nil:
		c.log.Error("read who has no name", "error", err)
	case len(asked) > namesAwaited:
		c.manyNameless.Store(true)
		c.ring()
	default:
		short, cancel := context.WithTimeout(ctx, nameWait)
		defer cancel()
		c.learnAll(short, asked)
		if c.nameless.Load() && ctx.Err() == nil { // the node is slow: upkeep takes its time
			c.manyNameless.Store(true)
			c.ring()
		}
	}
}

// learnMany asks for all names that are wanted.
func (c *Client) learnMany(ctx context.Context) {
	asked, err := c.listNameless()
	if err != nil {
		c.log.Error("read who has no name", "error", err)
	}
	c.learnAll(ctx, asked)
	c.ring()
}

func (c *Client) listNameless() (asked [][32]byte, err error) {
	err = c.look(func(t *turn) (err error) { asked, err = t.Nameless(); return err })
	return asked, err
}

func (c *Client) learnAll(ctx context.Context, asked [][32]byte) {
	var group errgroup.Group
	group.SetLimit(namesAtOnce)
	for _, key := range asked {
		group.Go(func() error {
			err := ctx.Err()
			if err == nil {
				err = c.learnName(ctx, key)
			}
			if err != nil && ctx.Err() == nil {
				c.log.Warn("learn a name", "account", fmt.Sprintf("%x", key[:4]), "error", err)
			}
			return err
		})
	}
	if group.Wait() != nil {
		c.nameless.Store(true) // the next batch, or the next subscription, asks again
	}
}

func (c *Client) learnName(ctx context.Context, key AccountKey) error {
	name, err := c.conn.ResolveIdentity(ctx, key)
	if conn.Is(err, schemas.Code_accountNotFound) {
		return c.turn(func(t *turn) error { return t.Named(key) })
	}
	if err != nil {
		return err
	}
	return c.turn(func(t *turn) error {
		if err := t.Named(key); err != nil {
			return err
		}
		known, err := t.ContactNamed(name)
		if err != nil || known != nil {
			return err // the name is another's here: it stays so
		}
		return t.meet(key, name)
	})
}

// wantName has an account's name asked for, unless it is known.
func (t *turn) wantName(key AccountKey) error {
	if key == t.c.account() {
		return nil
	}
	row, err := t.Contact(key)
	if err != nil || row != nil {
		return err
	}
	t.then(func() { t.c.nameless.Store(true) })
	return t.WantName(key)
}

// safetyRounds makes finding a key with the same digits costly, as Signal's
// numeric fingerprints do.
const safetyRounds = 5200

// SafetyNumber is what two people compare to be sure of each other's keys: 60
// digits, half from each key in the keys' order.
func SafetyNumber(a, b AccountKey) string {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	digits := fingerprint(a) + fingerprint(b)
	var groups []string
	for i := 0; i < len(digits); i += 5 {
		groups = append(groups, digits[i:i+5])
	}
	return strings.Join(groups, " ")
}

func fingerprint(key AccountKey) string {
	sum := append([]byte("qpq/1 safety number"), key[:]...)
	for range safetyRounds {
		next := sha512.Sum512(append(sum, key[:]...))
		sum = next[:]
	}
	var out strings.Builder
	for i := range 6 {
		n := uint64(0)
		for _, b := range sum[5*i : 5*i+5] {
			n = n<<8 | uint64(b)
		}
		fmt.Fprintf(&out, "%05d", n%100_000)
	}
	return out.String()
}
