package rpc

import (
	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// whoami tells a caller who it is to this cluster.
func whoami(c *call, _ schemas.WhoamiParams, results schemas.WhoamiResults) error {
	a, err := c.account(c.caller.account)
	if err != nil {
		return err
	}
	results.SetExpiresAtMs(c.caller.session.ExpiresMs)
	results.SetCreatedAtMs(a.CreatedMs)
	if err := results.SetUsername(a.Username); err != nil {
		return err
	}
	if err := results.SetDeviceId(c.caller.actorDevice()); err != nil {
		return err
	}
	return results.SetIdentityKey(a.Key[:])
}

// logout ends the caller's session, or all of its account's.
func logout(c *call, p schemas.LogoutParams, _ schemas.LogoutResults) error {
	result, err := c.propose(func(to schemas.Entry_command) error {
		s, err := to.NewCloseSessions()
		if err != nil || p.All() {
			return err
		}
		return s.SetTokenHash(c.caller.token[:])
	})
	if err != nil {
		return err
	}
	return c.relay(result)
}

// setContacts tells the log what the caller's account wants of others.
func setContacts(_ *call, p schemas.SetContactsParams, cmd schemas.Entry_command) error {
	list, err := p.Accounts()
	if err != nil {
		return malformed(err)
	}
	if list.Len() > schemas.MaxContacts { // elements of no size cost a message nothing
		return &refusal{code: schemas.Code_listTooLong, value: schemas.MaxContacts}
	}
	c, err := cmd.NewSetContacts()
	if err != nil {
		return err
	}
	c.SetStanding(p.Standing())
	to, err := c.NewAccounts(int32(list.Len()))
	if err != nil {
		return err
	}
	for i := range list.Len() {
		key, err := list.At(i)
		if err != nil {
			return malformed(err)
		}
		if err := to.Set(i, key); err != nil {
			return err
		}
	}
	return nil
}

// resolveUser finds the account of a name.
func resolveUser(c *call, p schemas.ResolveUserParams, results schemas.ResolveUserResults) error {
	name, err := username(p.Username())
	if err != nil {
		return err
	}
	var key fsm.AccountKey
	err = c.lookUp(schemas.Code_accountNotFound, func(view *fsm.View) (known bool, err error) {
		key, known, err = view.AccountByName(name.String())
		return known, err
	})
	if err != nil {
		return err
	}
	return results.SetIdentityKey(key[:])
}

// resolveIdentity finds the name of an account.
func resolveIdentity(c *call, p schemas.ResolveIdentityParams, results schemas.ResolveIdentityResults) error {
	key, err := accountKey(p.IdentityKey())
	if err != nil {
		return err
	}
	var a fsm.Account
	err = c.lookUp(schemas.Code_accountNotFound, func(view *fsm.View) (known bool, err error) {
		a, known, err = view.Account(key)
		return known, err
	})
	if err != nil {
		return err
	}
	return results.SetUsername(a.Username)
}

// deleteAccount removes the caller's account and all that is its own. The account's key
// must have signed that: a session alone can't do it.
func deleteAccount(c *call, p schemas.DeleteAccountParams, _ schemas.DeleteAccountResults) error {
	signature, err := p.Signature()
	if err != nil {
		return malformed(err)
	}
	said := identity.DeleteAccount(c.caller.account, p.SignedAtMs())
	if err := checkSaid(c.caller.account, said, signature, "signature."); err != nil {
		return err
	}
	result, err := c.propose(func(to schemas.Entry_command) error {
		d, err := to.NewDeleteAccount()
		if err != nil {
			return err
		}
		d.SetSignedAtMs(p.SignedAtMs())
		return d.SetSignature(signature)
	})
	if err != nil {
		return err
	}
	return c.relay(result)
}
