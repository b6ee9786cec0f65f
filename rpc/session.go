package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// caller is who calls: an account, and the device that acts for it.
type caller struct {
	account fsm.AccountKey
	device  fsm.DeviceID // zero: the account itself
	session fsm.Session
	token   tokenHash
	// instance is which copy of the device's keys the caller has; 0: it has not said.
	instance uint64
}

// tokenHash is the SHA-256 of a session token: all that a node keeps of one.
type tokenHash [schemas.TokenHashSize]byte

// session is what a connection is bound to. The row is read again for every
// call, so that a session that was ended anywhere ends here too.
type session struct {
	token tokenHash
	// instance is which copy of the device's keys the connection's client has; 0: it
	// has not said.
	instance uint64
}

// credentials are what a call brings itself.
type credentials struct {
	some   bool // it brings a token
	token  tokenHash
	device []byte // empty or a device id; of the request's memory
}

// authenticate is the one place where a caller becomes somebody: every call of
// the authenticated table passes here before its handler, no other call does.
//
// That a caller brings a session at all is checked first, so that strangers wait
// for nothing. Whether it is valid is looked up after freshen: a session that was
// opened or ended on another node counts from its index on.
func (c *call) authenticate() error {
	bound := c.conn.session.Load()
	brought, err := c.credentials()
	if err != nil {
		return err
	}
	if !brought.some && bound == nil {
		return refuse(schemas.Code_tokenMissing)
	}
	if err := c.freshen(); err != nil {
		return err
	}
	token, isBound := brought.token, false
	if bound != nil && (!brought.some || subtle.ConstantTimeCompare(bound.token[:], token[:]) == 1) {
		token, isBound = bound.token, true
	}
	if err := c.identify(token, brought.device); err != nil {
		return err
	}
	if !isBound {
		if err := c.admitBearer(); err != nil {
			return err
		}
	} else {
		c.caller.instance = bound.instance
	}
	if err := c.checkInstance(); err != nil {
		return err
	}
	c.admitted()
	return nil
}

// admitted is what follows whenever a caller has become somebody.
func (c *call) admitted() {
	c.conn.welcome(&c.caller)
	c.conn.server.renewals.note(c.caller.token, c.caller.session.RenewedMs)
}

// credentials reads the call's auth.
func (c *call) credentials() (brought credentials, err error) {
	if c.method.auth == nil {
		return brought, nil
	}
	params, err := c.params()
	if err != nil {
		return brought, err
	}
	auth, err := c.method.auth(params)
	if err != nil {
		return brought, malformed(err)
	}
	token, err := auth.AccessToken()
	if err != nil {
		return brought, malformed(err)
	}
	if brought.device, err = auth.DeviceId(); err != nil {
		return brought, malformed(err)
	}
	v := auth.Version()
	if brought.some = len(token) != 0; !brought.some && v == 0 {
		return brought, nil
	}
	switch {
	case v != schemas.AuthVersion:
		return brought, &refusal{code: schemas.Code_authVersionUnsupported, value: schemas.AuthVersion}
	case brought.some && len(token) != schemas.TokenSize:
		return brought, refuse(schemas.Code_tokenInvalid)
	}
	brought.token = sha256.Sum256(token)
	return brought, nil
}

// identify looks the session up and settles which device acts.
func (c *call) identify(token tokenHash, device []byte) error {
	view, err := c.state()
	if err != nil {
		return err
	}
	s, ok, err := view.Session(token)
	s, ok = c.plantedSession(token, s, ok)
	switch {
	case err != nil:
		return storageFault(err)
	case !ok && !c.sure:
		if err := c.catchUp(); err != nil {
			return err
		}
		return c.identify(token, device)
	case !ok:
		c.conn.farewell(token)
		return refuse(schemas.Code_tokenInvalid)
	case s.ExpiresMs <= view.Now():
		c.conn.farewell(token)
		return refuse(schemas.Code_tokenExpired)
	}
	c.caller = caller{account: s.Account, device: s.Device, session: s, token: token, instance: c.caller.instance}
	if len(device) == 0 {
		return nil
	}
	if len(device) != schemas.DeviceIDSize {
		return &refusal{code: schemas.Code_keyLength, value: uint64(len(device)), detail: "auth.deviceId."}
	}
	return c.actAs(fsm.DeviceID(device))
}

// catchUp brings the node to where a session must be that was opened anywhere before the
// call, so that one which this node has not seen yet is not called unknown. Calls that
// ask at the same time share the round.
func (c *call) catchUp() error {
	c.sure = true
	if c.request.Linearizable() {
		return nil // freshen has done it
	}
	c.dropState()
	ctx, cancel := context.WithTimeout(c.context(), seenPatience)
	defer cancel()
	err := c.conn.server.node.Linearize(ctx)
	if err == nil || errors.Is(err, fsm.ErrClosed) {
		return err
	}
	return &refusal{
		code: schemas.Code_lagging, value: c.conn.server.node.Index(), retryAfter: retryLagging, cause: err,
		detail: "Whether there is such a session it can't say.",
	}
}

// actAs lets a session without a device act for a device of its account; one with
// a device acts for that one only.
func (c *call) actAs(device fsm.DeviceID) error {
	own := c.caller.session.Device
	if device == own {
		return nil
	}
	if own != (fsm.DeviceID{}) {
		return refuse(schemas.Code_deviceNotFound)
	}
	a, err := c.account(c.caller.account)
	if err != nil {
		return err
	}
	if a.Device(device) == nil {
		return refuse(schemas.Code_deviceNotFound)
	}
	c.caller.device = device
	return nil
}

// account reads a live account; ACCOUNT_NOT_FOUND if there is none.
func (c *call) account(key fsm.AccountKey) (fsm.Account, error) {
	view, err := c.state()
	if err != nil {
		return fsm.Account{}, err
	}
	a, ok, err := view.Account(key)
	if err != nil {
		return a, storageFault(err)
	}
	if !ok {
		return a, refuse(schemas.Code_accountNotFound)
	}
	return a, nil
}

// Values of the cluster setting bearer_tokens.
const (
	bearerNever   = 0
	bearerKeyless = 1 // sessions without a device key of their own
)

// admitBearer decides whether the session may be used by its token alone.
func (c *call) admitBearer() error {
	allowed, err := c.setting("bearer_tokens")
	if err != nil {
		return err
	}
	switch allowed {
	case bearerNever:
		return refuse(schemas.Code_bindingRequired)
	case bearerKeyless:
		if c.caller.session.Device == (fsm.DeviceID{}) {
			return nil
		}
		a, err := c.account(c.caller.account)
		if err != nil {
			return err
		}
		if d := a.Device(c.caller.session.Device); d != nil && len(d.Key) != 0 {
			return refuse(schemas.Code_bindingRequired)
		}
	}
	return nil
}

// setting reads a cluster setting that the store is known to have.
func (c *call) setting(name string) (uint64, error) {
	view, err := c.state()
	if err != nil {
		return 0, err
	}
	value, ok, err := view.Setting(name)
	if err != nil {
		return 0, storageFault(err)
	}
	if !ok {
		return 0, fmt.Errorf("there is no cluster setting %s", name)
	}
	return value, nil
}

// storageFault is a failed read of the node's store, unless the store is closing.
func storageFault(cause error) error {
	if errors.Is(cause, fsm.ErrClosed) {
		return cause
	}
	return &refusal{code: schemas.Code_storage, cause: cause}
}
