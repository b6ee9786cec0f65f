package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
	"quicproquo/crypto/account"
	"quicproquo/schemas"
)

// Register makes an account with a username and a password, and this client its
// first device, and logs in. It takes the password over and overwrites it. A call
// that failed without a clear outcome can be repeated.
func (c *Client) Register(ctx context.Context, username string, password []byte) error {
	return c.RegisterInvited(ctx, username, password, account.Invite{})
}

// RegisterInvited is Register with the token of who invites; the zero one is none.
func (c *Client) RegisterInvited(ctx context.Context, username string, password []byte, invite account.Invite) error {
	defer clear(password)
	name, err := account.ParseUsername(username)
	if err != nil {
		return conn.Refusal(err)
	}
	if c.conn == nil {
		return ErrNoServer
	}
	if err := c.newProfile(name.String()); err != nil {
		return err
	}
	key := ed25519.NewKeyFromSeed(c.who.AccountKey)
	_, err = c.conn.RegisterInvited(ctx, name.String(), bytes.Clone(password), key, invite)
	if conn.Is(err, schemas.Code_usernameTaken) {
		// An earlier call may have gone through: then it is ours.
		if _, ours := c.openSession(ctx, password, true); ours == nil {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("register %s: %w", name, err)
	}
	err = c.turn(func(t *turn) error {
		who := *c.who
		who.Registered = true
		t.then(func() { c.mu.Lock(); c.who = &who; c.mu.Unlock() })
		return t.SetProfile(&who)
	})
	if err != nil {
		return err
	}
	// The device is new, so there is no use in asking whether the cluster knows it.
	if err := c.addDevice(ctx, password); err != nil {
		return fmt.Errorf("log in as %s: %w", name, err)
	}
	return c.Login(ctx, name.String(), password)
}

// newProfile makes the keys of a new account, or changes the name of one that was
// not registered.
func (c *Client) newProfile(name string) error {
	c.mu.Lock()
	who := c.who
	c.mu.Unlock()
	if who != nil && who.Registered {
		return because(ErrRegistered, "%s", who.Username)
	}
	next := vault.Profile{Created: c.now(), AccountKey: make([]byte, ed25519.SeedSize), DeviceKey: make([]byte, ed25519.SeedSize)}
	if who != nil {
		next = *who
	} else {
		for _, b := range [][]byte{next.AccountKey, next.DeviceKey, next.Device[:]} {
			if _, err := rand.Read(b); err != nil {
				return err
			}
		}
	}
	next.Username = name
	if err := c.vault.Update(func(tx *vault.Tx) error { return tx.SetProfile(&next) }); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.who = &next
	return c.takeIdentity()
}

// credentials are what a login takes, as the device or as the account itself.
func (c *Client) credentials(password []byte, asAccount bool) conn.Credentials {
	who := conn.Credentials{
		Username: c.who.Username, Password: password, Account: c.account(),
		Device: DeviceID(c.who.Device), Key: ed25519.NewKeyFromSeed(c.who.DeviceKey), Copies: c.copies,
	}
	if asAccount {
		who.Copies = nil
		who.Device, who.Key = DeviceID{}, ed25519.NewKeyFromSeed(c.who.AccountKey)
	}
	return who
}

// Login opens a session of this device, which is added to its account if the
// cluster does not know it. It takes the password over and overwrites it.
func (c *Client) Login(ctx context.Context, username string, password []byte) error {
	defer clear(password)
	if c.conn == nil {
		return ErrNoServer
	}
	own := c.Account()
	if !own.Registered {
		return ErrNotRegistered
	}
	if name, err := account.ParseUsername(username); err != nil || name.String() != own.Username {
		return because(ErrRegistered, "the profile is of %s, not of %s", own.Username, username)
	}
	session, err := c.openSession(ctx, password, false)
	if conn.Is(err, schemas.Code_deviceNotFound) {
		if err = c.addDevice(ctx, password); err == nil {
			session, err = c.openSession(ctx, password, false)
		}
	}
	if err != nil {
		return fmt.Errorf("log in as %s: %w", own.Username, err)
	}
	err = c.turn(func(t *turn) error {
		t.notable = true
		return t.SetSession(&vault.Session{Token: session.Token[:], Expires: session.Expires})
	})
	if err != nil {
		return err
	}
	if err := c.topUp(ctx); err != nil {
		return fmt.Errorf("upload key packages: %w", err)
	}
	return nil
}

// loginTries bounds how often a login is begun anew.
const loginTries = 3

// openSession logs in as this device or as its account. The password stays the caller's.
func (c *Client) openSession(ctx context.Context, password []byte, asAccount bool) (session *conn.Session, err error) {
	err = untilKnown(ctx, func() (err error) {
		session, _, err = c.conn.Login(ctx, c.credentials(bytes.Clone(password), asAccount))
		return err
	})
	return session, err
}

// untilKnown begins a login anew whose outcome is unknown: what may have been opened is a
// session that nobody has the token of, and ends unused. A refusal that comes after an
// attempt with an unknown outcome is told as unknown, too (docs/protocol.md), and would
// hide that the cluster does not know this device.
func untilKnown(ctx context.Context, login func() error) error {
	for try := 1; ; try++ {
		err := login()
		if !errors.Is(err, conn.ErrUnknownOutcome) || try == loginTries || ctx.Err() != nil {
			return err
		}
	}
}

// addDevice registers this device, as its account.
func (c *Client) addDevice(ctx context.Context, password []byte) error {
	if _, err := c.openSession(ctx, password, true); err != nil {
		return err
	}
	deviceKey := ed25519.NewKeyFromSeed(c.who.DeviceKey).Public().(ed25519.PublicKey)
	_, err := c.conn.RegisterDevice(ctx, conn.Device{ID: DeviceID(c.who.Device), Key: deviceKey}, ed25519.NewKeyFromSeed(c.who.AccountKey))
	if _, ended := c.conn.Logout(ctx, false); ended != nil && err == nil {
		c.log.Warn("end the account's own session", "error", ended)
	}
	return err
}

// Logout ends this device's session, or all sessions of the account, and returns
// how many have ended. Conversations and keys stay in the vault.
func (c *Client) Logout(ctx context.Context, all bool) (ended int, err error) {
	if err := c.ready(); err != nil {
		return 0, err
	}
	c.halt()
	ended, err = c.conn.Logout(ctx, all)
	if err != nil && !conn.Is(err, schemas.Code_tokenExpired) && !conn.Is(err, schemas.Code_tokenInvalid) {
		return 0, err
	}
	c.conn.SetSession(nil)
	return ended, c.turn(func(t *turn) error {
		t.notable = true
		return t.SetSession(nil)
	})
}

// CreateInvite lets as many accounts register as uses says, with the token that it returns,
// for a time; 0: a week. Whether members may, and how many, a setting of the cluster says.
func (c *Client) CreateInvite(ctx context.Context, uses int, ttl time.Duration) (account.Invite, time.Time, error) {
	if err := c.ready(); err != nil {
		return account.Invite{}, time.Time{}, err
	}
	return c.conn.CreateInvite(ctx, uses, ttl)
}

// EndInvite takes back an invite of this account's.
func (c *Client) EndInvite(ctx context.Context, invite account.Invite) error {
	if err := c.ready(); err != nil {
		return err
	}
	return c.conn.EndInvite(ctx, invite)
}

// halt stops what Start started, so that it can be started again.
func (c *Client) halt() {
	n := &c.net
	n.mu.Lock()
	stop := n.stop
	n.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	n.tasks.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.started, n.stop, n.failure = false, nil, nil
}

// ChangePassword sets a new password; all other sessions of the account end. It
// takes both passwords over and overwrites them.
func (c *Client) ChangePassword(ctx context.Context, old, replacement []byte) error {
	if err := c.ready(); err != nil {
		return err
	}
	_, err := c.conn.ChangePassword(ctx, c.Account().Username, old, replacement, c.accountSigner())
	return err
}

// DeleteAccount ends the account at the cluster. What is in the vault stays there.
func (c *Client) DeleteAccount(ctx context.Context) error {
	if err := c.ready(); err != nil {
		return err
	}
	c.halt()
	if err := c.conn.DeleteAccount(ctx, c.accountSigner()); err != nil {
		return err
	}
	c.conn.SetSession(nil)
	return errors.Join(c.vault.Update(func(tx *vault.Tx) error { return tx.SetSession(nil) }))
}

// accountSigner is the account's identity key.
func (c *Client) accountSigner() ed25519.PrivateKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ed25519.NewKeyFromSeed(c.who.AccountKey)
}

// RevokeDevice removes a device of the account, as its account says to everybody. Groups
// let it go with the next thing that a member does there.
func (c *Client) RevokeDevice(ctx context.Context, id DeviceID) error {
	if err := c.ready(); err != nil {
		return err
	}
	return c.conn.RevokeDevice(ctx, id, c.accountSigner())
}
