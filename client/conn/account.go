package conn

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"time"

	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// AccountKey is an account's identity key, Ed25519.
type AccountKey [schemas.AccountKeySize]byte

// Ordinals of the account topic in NodeService.
const (
	methodRegisterStart   = 8
	methodRegisterFinish  = 9
	methodLoginStart      = 10
	methodLoginFinish     = 11
	methodPublishEndpoint = 12
	methodResolveEndpoint = 13
	methodResolveUser     = 19
	methodResolveIdentity = 20
	methodDeleteAccount   = 23
	methodRegisterDevice  = 24
	methodListDevices     = 25
	methodRevokeDevice    = 26
	methodBindSession     = 27
	methodWhoami          = 28
	methodLogout          = 29
	methodPasswordStart   = 30
	methodPasswordFinish  = 31
	methodSetContacts     = 39
	methodCreateInvite    = 40
)

// Register makes an account of a name, a password and an identity key, and proves
// that the key's owner wants it. It takes the password over and overwrites it. The
// export key belongs to name and password: the same at every login, never known
// to the server, fit to encrypt what the account keeps elsewhere.
func (c *Conn) Register(ctx context.Context, username string, password []byte, key crypto.Signer) (account.Key, error) {
	return c.RegisterInvited(ctx, username, password, key, account.Invite{})
}

// RegisterInvited is Register with the token of who invites; the zero one is none. Of an
// invite that is refused nothing is used up.
func (c *Conn) RegisterInvited(ctx context.Context, username string, password []byte, key crypto.Signer, invite account.Invite) (account.Key, error) {
	defer clear(password)
	name, public, err := whoRegisters(username, key)
	if err != nil {
		return account.Key{}, err
	}
	run, start, err := account.StartRegistration(name, password)
	if err != nil {
		return account.Key{}, Refusal(err)
	}
	defer run.Close()
	var response, handshake []byte
	err = Call(ctx, c, Request{Method: methodRegisterStart}, schemas.NewOpaqueRegisterStartParams,
		func(p schemas.OpaqueRegisterStartParams) error {
			return errors.Join(p.SetUsername(name.String()), p.SetRequest(start))
		},
		func(r schemas.OpaqueRegisterStartResults) (err error) {
			if response, err = copied(r.Response()); err != nil {
				return err
			}
			handshake, err = copied(r.Handshake())
			return err
		})
	if err != nil {
		return account.Key{}, err
	}
	upload, export, err := run.Finish(response)
	if err != nil {
		return account.Key{}, Refusal(err)
	}
	server := [32]byte(response[len(response)-32:]) // Finish has checked the length
	proof, err := identity.Register(server, public, name.String(), upload).Sign(key)
	if err != nil {
		return account.Key{}, err
	}
	return export, Call(ctx, c, Request{Method: methodRegisterFinish, Write: true}, schemas.NewOpaqueRegisterFinishParams,
		func(p schemas.OpaqueRegisterFinishParams) error {
			if invite != (account.Invite{}) {
				if err := p.SetInvite(invite[:]); err != nil {
					return err
				}
			}
			return errors.Join(p.SetUsername(name.String()), p.SetUpload(upload),
				p.SetIdentityKey(public[:]), p.SetIdentityProof(proof), p.SetHandshake(handshake))
		},
		func(schemas.OpaqueRegisterFinishResults) error { return nil })
}

// CreateInvite lets as many accounts register as uses says, for a time; 0: what the
// cluster's settings allow. The token is drawn here, and the cluster learns its hash.
func (c *Conn) CreateInvite(ctx context.Context, uses int, ttl time.Duration) (invite account.Invite, expires time.Time, err error) {
	invite = account.NewInvite()
	expires, err = c.putInvite(ctx, invite, uses, ttl)
	return invite, expires, err
}

// EndInvite takes back an invite that this account has made.
func (c *Conn) EndInvite(ctx context.Context, invite account.Invite) error {
	_, err := c.putInvite(ctx, invite, 0, 0)
	return err
}

func (c *Conn) putInvite(ctx context.Context, invite account.Invite, uses int, ttl time.Duration) (expires time.Time, err error) {
	hash := invite.Hash()
	err = CallAs(ctx, c, Request{Method: methodCreateInvite, Write: true}, schemas.NewCreateInviteParams,
		func(p schemas.CreateInviteParams) error {
			p.SetUses(uint32(min(max(uses, 0), math.MaxUint32)))
			p.SetTtlSecs(uint32(min(max(ttl/time.Second, 0), math.MaxUint32)))
			return p.SetInviteHash(hash[:])
		},
		func(r schemas.CreateInviteResults) error {
			expires = timeOf(r.ExpiresAtMs())
			return nil
		})
	return expires, err
}

func whoRegisters(username string, key crypto.Signer) (name account.Username, public AccountKey, err error) {
	if name, err = account.ParseUsername(username); err != nil {
		return name, public, Refusal(err)
	}
	raw, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return name, public, fmt.Errorf("identity key is %T, not Ed25519", key.Public())
	}
	return name, AccountKey(raw), nil
}

// Credentials are what a login takes.
type Credentials struct {
	Username string
	// Password is taken over and overwritten.
	Password []byte
	Account  AccountKey
	// Device is a registered device; zero: the session is the account's own.
	Device DeviceID
	// Key signs for the session: see Session.Key.
	Key crypto.Signer
	// Copies are the session's: see Session.Copies.
	Copies Copies
}

// Login opens a session and makes it the Conn's. It also returns the export key
// of the registration. A wrong password and a name that does not exist give the
// same error, OPAQUE_FINISH_FAILED.
func (c *Conn) Login(ctx context.Context, who Credentials) (*Session, account.Key, error) {
	defer clear(who.Password)
	name, err := account.ParseUsername(who.Username)
	if err != nil {
		return nil, account.Key{}, Refusal(err)
	}
	run, start, err := account.StartLogin(name, who.Password)
	if err != nil {
		return nil, account.Key{}, Refusal(err)
	}
	defer run.Close()
	signature, err := who.signStart(name, start)
	if err != nil {
		return nil, account.Key{}, err
	}
	var response, handshake []byte
	err = Call(ctx, c, Request{Method: methodLoginStart}, schemas.NewOpaqueLoginStartParams,
		func(p schemas.OpaqueLoginStartParams) error {
			return errors.Join(p.SetUsername(name.String()), p.SetRequest(start),
				p.SetDeviceId(who.Device.bytes()), p.SetSignature(signature))
		},
		func(r schemas.OpaqueLoginStartResults) (err error) {
			if response, err = copied(r.Response()); err != nil {
				return err
			}
			handshake, err = copied(r.Handshake())
			return err
		})
	if err != nil {
		return nil, account.Key{}, err
	}
	finalization, _, export, err := run.Finish(response)
	if err != nil {
		return nil, account.Key{}, Refusal(err)
	}
	s, err := c.finishLogin(ctx, name, &who, finalization, handshake)
	if err != nil {
		return nil, account.Key{}, err
	}
	c.SetSession(s)
	return s, export, nil
}

// signStart proves that a login is begun by a device that is known: then wrong passwords
// of others do not keep it waiting. Without a key there is no proof.
func (who *Credentials) signStart(name account.Username, ke1 []byte) ([]byte, error) {
	if who.Key == nil || who.Account == (AccountKey{}) {
		return nil, nil
	}
	signature, err := identity.LoginStart(who.Account, who.Device.bytes(), name.String(), ke1).Sign(who.Key)
	if err != nil {
		return nil, fmt.Errorf("sign the login: %w", err)
	}
	return signature, nil
}

// finishLogin is one logical call: repeated with its request id, it gives the
// same token on every node.
func (c *Conn) finishLogin(ctx context.Context, name account.Username, who *Credentials, finalization, handshake []byte) (*Session, error) {
	s := &Session{Account: who.Account, Device: who.Device, Key: who.Key, Copies: who.Copies}
	return s, Call(ctx, c, Request{Method: methodLoginFinish, Write: true}, schemas.NewOpaqueLoginFinishParams,
		func(p schemas.OpaqueLoginFinishParams) error {
			return errors.Join(p.SetUsername(name.String()), p.SetFinalization(finalization),
				p.SetIdentityKey(who.Account[:]), p.SetHandshake(handshake), p.SetDeviceId(who.Device.bytes()))
		},
		func(r schemas.OpaqueLoginFinishResults) error {
			token, err := r.SessionToken()
			if err != nil {
				return err
			}
			s.Seen, s.Expires = c.Seen(), timeOf(r.ExpiresAtMs())
			return fill(s.Token[:], token, "session token")
		})
}

// ChangePassword proves the old password and sets the new one; all other sessions
// of the account end. key is the account's identity key: a session and the old password
// alone don't do. It takes both passwords over and overwrites them, and returns the new
// export key.
func (c *Conn) ChangePassword(ctx context.Context, username string, old, replacement []byte, key crypto.Signer) (account.Key, error) {
	defer clear(old)
	defer clear(replacement)
	name, public, err := whoRegisters(username, key)
	if err != nil {
		return account.Key{}, err
	}
	login, ke1, err := account.StartLogin(name, old)
	if err != nil {
		return account.Key{}, Refusal(err)
	}
	defer login.Close()
	registration, request, err := account.StartRegistration(name, replacement)
	if err != nil {
		return account.Key{}, Refusal(err)
	}
	defer registration.Close()
	var loginResponse, registrationResponse, handshake []byte
	var present [32]byte
	err = CallAs(ctx, c, Request{Method: methodPasswordStart}, schemas.NewChangePasswordStartParams,
		func(p schemas.ChangePasswordStartParams) error {
			return errors.Join(p.SetLoginRequest(ke1), p.SetRegistrationRequest(request))
		},
		func(r schemas.ChangePasswordStartResults) (err error) {
			if loginResponse, err = copied(r.LoginResponse()); err != nil {
				return err
			}
			if registrationResponse, err = copied(r.RegistrationResponse()); err != nil {
				return err
			}
			if handshake, err = copied(r.Handshake()); err != nil {
				return err
			}
			digest, err := r.RecordDigest()
			if err != nil {
				return err
			}
			return fill(present[:], digest, "digest of the record")
		})
	if err != nil {
		return account.Key{}, err
	}
	finalization, _, _, err := login.Finish(loginResponse)
	if err != nil {
		return account.Key{}, Refusal(err)
	}
	upload, export, err := registration.Finish(registrationResponse)
	if err != nil {
		return account.Key{}, Refusal(err)
	}
	signature, err := identity.ChangePassword(public, present, upload).Sign(key)
	if err != nil {
		return account.Key{}, err
	}
	return export, CallAs(ctx, c, Request{Method: methodPasswordFinish, Write: true}, schemas.NewChangePasswordFinishParams,
		func(p schemas.ChangePasswordFinishParams) error {
			return errors.Join(p.SetFinalization(finalization), p.SetHandshake(handshake), p.SetUpload(upload), p.SetSignature(signature))
		},
		func(schemas.ChangePasswordFinishResults) error { return nil })
}

// Identity is who a session is.
type Identity struct {
	Username string
	Account  AccountKey
	Device   DeviceID // zero: the account itself
	Expires  time.Time
	Created  time.Time // of the account
}

// Whoami asks who the Conn's session is.
func (c *Conn) Whoami(ctx context.Context) (Identity, error) {
	var who Identity
	err := CallAs(ctx, c, Request{Method: methodWhoami}, schemas.NewWhoamiParams, nil,
		func(r schemas.WhoamiResults) (err error) {
			who.Expires, who.Created = timeOf(r.ExpiresAtMs()), timeOf(r.CreatedAtMs())
			if who.Username, err = r.Username(); err != nil {
				return err
			}
			key, err := r.IdentityKey()
			if err != nil {
				return err
			}
			if err := fill(who.Account[:], key, "identity key"); err != nil {
				return err
			}
			device, err := r.DeviceId()
			if err != nil || len(device) == 0 {
				return err
			}
			return fill(who.Device[:], device, "device id")
		})
	return who, err
}

// Logout ends the Conn's session, or all sessions of its account, and returns how
// many have ended. Afterwards the Conn calls as nobody.
func (c *Conn) Logout(ctx context.Context, all bool) (ended int, err error) {
	s := c.session.Load()
	err = CallAs(ctx, c, Request{Method: methodLogout, Write: true}, schemas.NewLogoutParams,
		func(p schemas.LogoutParams) error { p.SetAll(all); return nil },
		func(r schemas.LogoutResults) error { ended = int(r.Revoked()); return nil })
	if err == nil && c.session.Load() == s {
		c.SetSession(nil)
	}
	return ended, err
}

// ResolveUser returns the identity key of a username. Who needs to be sure that it
// is the right one compares it with its owner by other means.
func (c *Conn) ResolveUser(ctx context.Context, username string) (key AccountKey, err error) {
	err = CallAs(ctx, c, Request{Method: methodResolveUser}, schemas.NewResolveUserParams,
		func(p schemas.ResolveUserParams) error { return p.SetUsername(username) },
		func(r schemas.ResolveUserResults) error {
			raw, err := r.IdentityKey()
			if err != nil {
				return err
			}
			return fill(key[:], raw, "identity key")
		})
	return key, err
}

// ResolveIdentity returns the username of an identity key.
func (c *Conn) ResolveIdentity(ctx context.Context, key AccountKey) (username string, err error) {
	err = CallAs(ctx, c, Request{Method: methodResolveIdentity}, schemas.NewResolveIdentityParams,
		func(p schemas.ResolveIdentityParams) error { return p.SetIdentityKey(key[:]) },
		func(r schemas.ResolveIdentityResults) (err error) {
			username, err = r.Username()
			return err
		})
	return username, err
}

// DeleteAccount ends the account of the Conn's session and removes all that the
// cluster keeps for it. Its identity key, which signs that, can't be registered again.
func (c *Conn) DeleteAccount(ctx context.Context, key crypto.Signer) error {
	s := c.session.Load()
	if s == nil {
		return ErrTokenMissing
	}
	signed := msOf(time.Now())
	signature, err := identity.DeleteAccount(s.Account, signed).Sign(key)
	if err != nil {
		return err
	}
	err = CallAs(ctx, c, Request{Method: methodDeleteAccount, Write: true}, schemas.NewDeleteAccountParams,
		func(p schemas.DeleteAccountParams) error {
			p.SetSignedAtMs(signed)
			return p.SetSignature(signature)
		},
		func(schemas.DeleteAccountResults) error { return nil })
	if err == nil && c.session.Load() == s {
		c.SetSession(nil)
	}
	return err
}

// Refusal gives an error of package account the code that a node gives it.
func Refusal(err error) error {
	for _, known := range []struct {
		err  error
		code schemas.Code
	}{
		{account.ErrUsername, schemas.Code_usernameInvalid},
		{account.ErrLoginFailed, schemas.Code_opaqueFinishFailed},
		{account.ErrMessage, schemas.Code_opaqueStartFailed},
	} {
		if errors.Is(err, known.err) {
			return &Error{Code: known.code, Message: known.code.Doc().Meaning, cause: err}
		}
	}
	return err
}

func msOf(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

func timeOf(ms uint64) time.Time { return time.UnixMilli(int64(ms)) }

// copied clones data of a response, whose memory is used again.
func copied(data []byte, err error) ([]byte, error) {
	return append([]byte(nil), data...), err
}

// fill copies a field that must have the length of to.
func fill(to, from []byte, what string) error {
	if len(from) != len(to) {
		return fmt.Errorf("%w: %s has %d bytes, want %d", ErrResponse, what, len(from), len(to))
	}
	copy(to, from)
	return nil
}
