package rpc

import (
	"errors"

	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// registerStart is the first step of a registration. It reads nothing about the
// name: not even the time it takes reports whether the name is taken.
func registerStart(c *call, p schemas.OpaqueRegisterStartParams, results schemas.OpaqueRegisterStartResults) error {
	name, err := username(p.Username())
	if err != nil {
		return err
	}
	request, err := p.Request()
	if err != nil {
		return malformed(err)
	}
	server, err := c.opaqueServer()
	if err != nil {
		return err
	}
	if err := c.admitsAnybody(); err != nil {
		return err
	}
	response, err := server.RegisterStart(name, request)
	if err != nil {
		return opaqueRefusal(err, schemas.Code_opaqueStartFailed)
	}
	now, err := c.now()
	if err != nil {
		return err
	}
	handshake, err := server.SealRegistration(name, now)
	if err != nil {
		return err
	}
	return errors.Join(results.SetResponse(response), results.SetHandshake(handshake))
}

// registerFinish makes the account.
func registerFinish(c *call, p schemas.OpaqueRegisterFinishParams, _ schemas.OpaqueRegisterFinishResults) error {
	name, err := username(p.Username())
	if err != nil {
		return err
	}
	key, err := accountKey(p.IdentityKey())
	if err != nil {
		return err
	}
	upload, err := p.Upload()
	if err != nil {
		return malformed(err)
	}
	server, err := c.opaqueServer()
	if err != nil {
		return err
	}
	record, err := server.RegisterFinish(upload)
	if err != nil {
		return opaqueRefusal(err, schemas.Code_opaqueFinishFailed)
	}
	answers, err := c.registration(server, name, p)
	if err != nil {
		return err
	}
	invite, err := inviteHash(p.Invite())
	if err != nil {
		return err
	}
	proof, err := p.IdentityProof()
	if err != nil {
		return malformed(err)
	}
	public := server.PublicKey()
	if err := checkSaid(key, identity.Register(public, key, name.String(), upload), proof, "identityProof."); err != nil {
		return err
	}
	result, err := c.proposeAsNode(func(to schemas.Entry_command) error {
		a, err := to.NewCreateAccount()
		if err != nil {
			return err
		}
		if answers != (account.RegistrationHandshake{}) {
			a.SetHandshakeExpiresMs(uint64(answers.Expires.UnixMilli()))
			if err := a.SetHandshakeId(answers.ID[:]); err != nil {
				return err
			}
		}
		return errors.Join(a.SetUsername(name.String()), a.SetIdentityKey(key[:]), a.SetRecord(record),
			a.SetServer(public[:]), a.SetProof(proof), a.SetInviteHash(invite))
	})
	if err != nil {
		return err
	}
	return c.relay(result)
}

// admitsAnybody refuses the start of a registration that the log would refuse whoever it
// is: then nobody need work for it.
func (c *call) admitsAnybody() error {
	view, err := c.state()
	if err != nil {
		return err
	}
	open, err := view.AdmitsAnybody()
	switch {
	case err != nil:
		return storageFault(err)
	case !open:
		return refuse(schemas.Code_registrationClosed)
	}
	return nil
}

// registration opens the handshake of the response that an upload answers. A client of
// before feature level 6 has none; the log says whether that will do.
func (c *call) registration(server *account.Server, name account.Username, p schemas.OpaqueRegisterFinishParams) (account.RegistrationHandshake, error) {
	sealed, err := p.Handshake()
	switch {
	case err != nil:
		return account.RegistrationHandshake{}, malformed(err)
	case len(sealed) == 0:
		return account.RegistrationHandshake{}, c.needsHandshake()
	}
	now, err := c.now()
	if err != nil {
		return account.RegistrationHandshake{}, err
	}
	answers, err := server.OpenRegistration(name, sealed, now)
	if errors.Is(err, account.ErrNoPendingLogin) {
		// Another node may have sealed it under a key that this one has not looked at yet.
		stored, storedErr := c.storedOPAQUE()
		if storedErr != nil {
			return account.RegistrationHandshake{}, storedErr
		}
		answers, err = stored.OpenRegistration(name, sealed, now)
	}
	if err != nil {
		return account.RegistrationHandshake{}, opaqueRefusal(err, schemas.Code_opaqueFinishFailed)
	}
	return answers, nil
}

// needsHandshake refuses a registration without a handshake where the log does.
func (c *call) needsHandshake() error {
	view, err := c.state()
	if err != nil {
		return err
	}
	bound, err := view.RegistrationsAreBound()
	switch {
	case err != nil:
		return storageFault(err)
	case bound:
		return &refusal{code: schemas.Code_noPendingLogin, detail: "The registration carries no handshake: update this program."}
	}
	return nil
}

// inviteHash is what the log knows an invite token by; nil for none.
func inviteHash(token []byte, err error) ([]byte, error) {
	switch {
	case err != nil:
		return nil, malformed(err)
	case len(token) == 0:
		return nil, nil
	case len(token) != schemas.InviteSize:
		return nil, refuse(schemas.Code_inviteInvalid)
	}
	hash := account.Invite(token).Hash()
	return hash[:], nil
}

// createInvite tells the log whom the caller's account lets in.
func createInvite(_ *call, p schemas.CreateInviteParams, cmd schemas.Entry_command) error {
	hash, err := p.InviteHash()
	if err != nil {
		return malformed(err)
	}
	i, err := cmd.NewCreateInvite()
	if err != nil {
		return err
	}
	i.SetUses(p.Uses())
	i.SetTtlSecs(p.TtlSecs())
	return i.SetInviteHash(hash)
}
