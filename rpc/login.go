package rpc

import (
	"crypto/sha256"
	"errors"
	"time"

	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// checkSaid refuses what an account has not signed. The log does too, since feature
// level 2; here the answer is early, and holds at every level.
func checkSaid(key fsm.AccountKey, said identity.Statement, signature []byte, field string) error {
	switch {
	case len(signature) == 0:
		return &refusal{code: schemas.Code_statementRequired, detail: field}
	case !said.Verify(key[:], signature):
		return &refusal{code: schemas.Code_signatureInvalid, detail: field}
	}
	return nil
}

// loginStart is the first step of a login. A name without an account gets the
// answer of one with another password.
func loginStart(c *call, p schemas.OpaqueLoginStartParams, results schemas.OpaqueLoginStartResults) error {
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
	record, err := c.recordOf(name)
	if err != nil {
		return err
	}
	device, err := c.provenDevice(name, request, p)
	if err != nil {
		return err
	}
	response, handshake, err := c.beginLogin(server, name, record, request, device)
	if err != nil {
		return err
	}
	return errors.Join(results.SetResponse(response), results.SetHandshake(handshake))
}

// provenDevice returns the device that has signed the start of a login, 16 zero bytes for
// the account itself, nil for nobody: then it is a stranger's, and why is not told. The
// signature is verified in any case, so that what there is shows little.
func (c *call) provenDevice(name account.Username, ke1 []byte, p schemas.OpaqueLoginStartParams) ([]byte, error) {
	signature, err := p.Signature()
	if err != nil {
		return nil, malformed(err)
	}
	named, err := p.DeviceId()
	if err != nil {
		return nil, malformed(err)
	}
	if len(signature) != schemas.SignatureSize || len(named) != 0 && len(named) != schemas.DeviceIDSize {
		return nil, nil
	}
	view, err := c.state()
	if err != nil {
		return nil, err
	}
	key, _, err := view.AccountByName(name.String())
	if err != nil {
		return nil, storageFault(err)
	}
	a, there, err := view.Account(key)
	if err != nil {
		return nil, storageFault(err)
	}
	var id fsm.DeviceID
	copy(id[:], named)
	known := there && (id == fsm.DeviceID{} || a.Device(id) != nil)
	said := identity.LoginStart(key, named, name.String(), ke1)
	if !said.Verify(a.PrincipalKey(id), signature) || !known {
		return nil, nil
	}
	return id[:], nil
}

// mostLooks is a hundred times what lookupTime takes on a fast machine.
const mostLooks = 10_000

// recordOf returns the OPAQUE record of a name, nil if it has none. It always takes
// lookupTime: a row that is found is read and decoded, one that is not there is
// not, and the difference would tell them apart after some thousand calls.
func (c *call) recordOf(name account.Username) ([]byte, error) {
	view, err := c.state()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	record, err := view.Record(name.String())
	// A timer is a hundred times coarser than this. On fake time, which stands still
	// while somebody works, the number of looks ends it.
	for n := 0; n < mostLooks && time.Since(began) < lookupTime; n++ {
		continue
	}
	if err != nil {
		return nil, storageFault(err)
	}
	return record, nil
}

// beginLogin answers a KE1, after the log has counted the attempt: a start that is
// never finished is a password that was tried. Names that must wait are refused
// before any work; messages of the wrong form count as nothing.
//
// device is who has proved to begin it, nil for a stranger.
func (c *call) beginLogin(server *account.Server, name account.Username, record, ke1, device []byte) (response, handshake []byte, err error) {
	hash, err := server.NameHash(name)
	if err != nil {
		return nil, nil, err
	}
	entry, err := schemas.BuildEntry(newRequestID(), schemas.Caller{Kind: schemas.Actor_Kind_node}, func(to schemas.Entry_command) error {
		begin, err := to.NewBeginLogin()
		if err != nil {
			return err
		}
		return errors.Join(begin.SetName(hash[:]), begin.SetDevice(device))
	})
	if err != nil {
		return nil, nil, err
	}
	if err := c.precheck(entry); err != nil {
		return nil, nil, err
	}
	now, err := c.now()
	if err != nil {
		return nil, nil, err
	}
	response, handshake, err = server.LoginStart(name, record, ke1, now)
	if err != nil {
		return nil, nil, opaqueRefusal(err, schemas.Code_opaqueStartFailed)
	}
	// The id is the node's own, new for each start: under one of the client's, the
	// log would take every further attempt for a repetition of the first.
	_, err = c.proposeEntry(entry)
	return response, handshake, err
}

// loginFinish opens a session. Repeated with its request id it gives the same
// token on every node, while the log accepts the handshake once.
func loginFinish(c *call, p schemas.OpaqueLoginFinishParams, results schemas.OpaqueLoginFinishResults) error {
	name, err := username(p.Username())
	if err != nil {
		return err
	}
	key, err := p.IdentityKey()
	if err != nil {
		return malformed(err)
	}
	if n := len(key); n != 0 && n != schemas.AccountKeySize {
		return &refusal{code: schemas.Code_keyLength, value: uint64(n)}
	}
	device, err := p.DeviceId()
	if err != nil {
		return malformed(err)
	}
	server, err := c.opaqueServer()
	if err != nil {
		return err
	}
	login, err := c.finishLogin(server, name, p)
	if err != nil {
		return err
	}
	owner, err := c.loginKey(name, key)
	if err != nil {
		return err
	}
	hash, err := server.NameHash(name)
	if err != nil {
		return err
	}
	token, err := c.sessionToken(&login)
	if err != nil {
		return err
	}
	result, err := c.proposeAsNode(func(to schemas.Entry_command) error {
		s, err := to.NewOpenSession()
		if err != nil {
			return err
		}
		s.SetHandshakeExpiresMs(uint64(login.Expires.UnixMilli()))
		tokenHash := token.Hash()
		return errors.Join(s.SetName(hash[:]), s.SetIdentityKey(owner[:]), s.SetUsername(name.String()),
			s.SetDeviceId(device), s.SetTokenHash(tokenHash[:]),
			s.SetHandshakeId(login.ID[:]), s.SetRecordDigest(login.Record[:]))
	})
	if err != nil {
		return err
	}
	results.SetExpiresAtMs(numberOf(result))
	return results.SetSessionToken(token[:])
}

// loginKey returns the identity key that a login is for: the one that the client names,
// or, for a device that knows a name and a password and no more, the one that the name
// has. It is asked after the password was proved, so that nobody else learns it.
func (c *call) loginKey(name account.Username, named []byte) (fsm.AccountKey, error) {
	if len(named) != 0 {
		return fsm.AccountKey(named), nil
	}
	view, err := c.state()
	if err != nil {
		return fsm.AccountKey{}, err
	}
	key, ok, err := view.AccountByName(name.String())
	switch {
	case err != nil:
		return fsm.AccountKey{}, storageFault(err)
	case !ok:
		return fsm.AccountKey{}, refuse(schemas.Code_opaqueFinishFailed)
	}
	return key, nil
}

// loginProof is a parameter struct that ends a run of OPAQUE.
type loginProof interface {
	Finalization() ([]byte, error)
	Handshake() ([]byte, error)
}

func (c *call) finishLogin(server *account.Server, name account.Username, p loginProof) (account.Login, error) {
	finalization, err := p.Finalization()
	if err != nil {
		return account.Login{}, malformed(err)
	}
	handshake, err := p.Handshake()
	if err != nil {
		return account.Login{}, malformed(err)
	}
	now, err := c.now()
	if err != nil {
		return account.Login{}, err
	}
	login, err := server.LoginFinish(name, finalization, handshake, now)
	if errors.Is(err, account.ErrNoPendingLogin) {
		// Another node may have sealed it under a key that this one has not looked
		// at yet.
		stored, storedErr := c.storedOPAQUE()
		if storedErr != nil {
			return account.Login{}, storedErr
		}
		if stored != server {
			login, err = stored.LoginFinish(name, finalization, handshake, now)
		}
	}
	if err != nil {
		return account.Login{}, opaqueRefusal(err, schemas.Code_opaqueFinishFailed)
	}
	return login, nil
}

// sessionToken derives the token from the login and the call's request id.
func (c *call) sessionToken(login *account.Login) (account.Token, error) {
	id, err := c.request.RequestId()
	if err != nil {
		return account.Token{}, malformed(err)
	}
	if len(id) == 0 {
		id = newRequestID() // never repeated, so any will do
	}
	return login.SessionToken(account.RequestID(id)), nil
}

// numberOf reads a result that is one number.
func numberOf(result fsm.Result) uint64 {
	msg, err := schemas.Unmarshal(result.Data)
	if err != nil {
		return 0
	}
	root, err := msg.Root()
	if err != nil {
		return 0
	}
	return root.Struct().Uint64(0)
}

// changePasswordStart begins the login that proves the present password and the
// registration of the new one. It counts as a login: a stolen session must not
// try passwords faster than a stranger.
func changePasswordStart(c *call, p schemas.ChangePasswordStartParams, results schemas.ChangePasswordStartResults) error {
	ke1, err := p.LoginRequest()
	if err != nil {
		return malformed(err)
	}
	request, err := p.RegistrationRequest()
	if err != nil {
		return malformed(err)
	}
	name, a, err := c.ownName()
	if err != nil {
		return err
	}
	server, err := c.opaqueServer()
	if err != nil {
		return err
	}
	registration, err := server.RegisterStart(name, request)
	if err != nil {
		return opaqueRefusal(err, schemas.Code_opaqueStartFailed)
	}
	response, handshake, err := c.beginLogin(server, name, a.Record, ke1, c.caller.device[:])
	if err != nil {
		return err
	}
	digest := sha256.Sum256(a.Record)
	return errors.Join(results.SetLoginResponse(response), results.SetHandshake(handshake),
		results.SetRegistrationResponse(registration), results.SetRecordDigest(digest[:]))
}

// changePasswordFinish replaces the record; all other sessions end.
func changePasswordFinish(c *call, p schemas.ChangePasswordFinishParams, _ schemas.ChangePasswordFinishResults) error {
	upload, err := p.Upload()
	if err != nil {
		return malformed(err)
	}
	name, _, err := c.ownName()
	if err != nil {
		return err
	}
	server, err := c.opaqueServer()
	if err != nil {
		return err
	}
	login, err := c.finishLogin(server, name, p)
	if err != nil {
		return err
	}
	record, err := server.RegisterFinish(upload)
	if err != nil {
		return opaqueRefusal(err, schemas.Code_opaqueFinishFailed)
	}
	signature, err := p.Signature()
	if err != nil {
		return malformed(err)
	}
	said := identity.ChangePassword(c.caller.account, login.Record, upload)
	if err := checkSaid(c.caller.account, said, signature, "signature."); err != nil {
		return err
	}
	result, err := c.propose(func(to schemas.Entry_command) error {
		r, err := to.NewReplaceRecord()
		if err != nil {
			return err
		}
		r.SetHandshakeExpiresMs(uint64(login.Expires.UnixMilli()))
		return errors.Join(r.SetRecord(record), r.SetHandshakeId(login.ID[:]),
			r.SetRecordDigest(login.Record[:]), r.SetKeepTokenHash(c.caller.token[:]), r.SetSignature(signature))
	})
	if err != nil {
		return err
	}
	return c.relay(result)
}

// ownName is the caller's name and account.
func (c *call) ownName() (account.Username, fsm.Account, error) {
	a, err := c.account(c.caller.account)
	if err != nil {
		return account.Username{}, a, err
	}
	name, err := account.ParseUsername(a.Username)
	return name, a, err
}
