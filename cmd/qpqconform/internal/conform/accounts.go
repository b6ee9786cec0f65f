package conform

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

const devicesSection = "Devices and endpoints"

// setLonger gives a request parameters that are longer than the schema's.
func setLonger(r schemas.Request) error {
	p, err := capnp.NewStruct(r.Segment(), capnp.ObjectSize{DataSize: 64, PointerCount: 4})
	if err != nil {
		return err
	}
	p.SetUint64(0, 0xffffffffffffffff)
	return r.SetParams(p.ToPtr())
}

func setContacts(standing schemas.SetContactsParams_Standing, keys ...[]byte) spec {
	return of("setContacts", schemas.NewSetContactsParams, func(p schemas.SetContactsParams) error {
		p.SetStanding(standing)
		list, err := p.NewAccounts(int32(len(keys)))
		for i, key := range keys {
			err = errors.Join(err, list.Set(i, key))
		}
		return err
	})
}

func createInvite(hash []byte, uses, ttl uint32) spec {
	return of("createInvite", schemas.NewCreateInviteParams, func(p schemas.CreateInviteParams) error {
		p.SetUses(uses)
		p.SetTtlSecs(ttl)
		return p.SetInviteHash(hash)
	})
}

func logout(all bool) spec {
	return of("logout", schemas.NewLogoutParams, func(p schemas.LogoutParams) error {
		p.SetAll(all)
		return nil
	})
}

func accounts() []Check {
	return []Check{
		{What: "setContacts says how many have changed, and what a blocked account sends is dropped", Section: accountsSection, Methods: []string{"setContacts"}, Codes: []schemas.Code{
			schemas.Code_listTooLong, schemas.Code_keyLength, schemas.Code_channelWithSelf, schemas.Code_malformed,
		}, run: contacts},
		{
			What: "createInvite makes and ends invites where members may, else E047", Section: opaqueSection, Methods: []string{"createInvite"},
			Codes: []schemas.Code{schemas.Code_inviteTerms, schemas.Code_inviteInvalid, schemas.Code_notPermitted, schemas.Code_keyLength}, run: invites,
		},
		{
			What: "a session that has ended is E003 on every node for whoever has seen its end", Section: whoSection, Methods: []string{"logout"},
			Codes: []schemas.Code{schemas.Code_tokenInvalid}, run: loggedOut,
		},
		{
			What: "a new password ends all other sessions; the old one is refused, the new one logs in", Section: accountsSection,
			Methods: []string{"changePasswordStart", "changePasswordFinish"}, Codes: []schemas.Code{schemas.Code_statementRequired, schemas.Code_opaqueStartFailed}, run: newPassword,
		},
	}
}

func contacts(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	const blocked, stranger = schemas.SetContactsParams_Standing_blocked, schemas.SetContactsParams_Standing_stranger
	for _, want := range []uint32{1, 0} {
		a, err := w.call(ctx, ann, setContacts(blocked, bob.public()), schemas.Code_ok)
		if err != nil {
			return err
		}
		if err := same("accounts that have changed", results[schemas.SetContactsResults](a).Changed(), want); err != nil {
			return err
		}
	}
	if _, err := w.clear(ctx, ann); err != nil {
		return err
	}
	if _, err := w.send(ctx, bob, enqueue(ann.public(), nil, []byte("from who is blocked"))); err != nil {
		return err
	}
	got, err := w.waiting(ctx, ann, 0)
	if err != nil {
		return err
	}
	for i := range got.Len() {
		if data, err := got.At(i).Data(); err != nil || len(data) > 0 {
			return errors.Join(err, differs("from who is blocked", string(data), "nothing"))
		}
	}
	if _, err := w.call(ctx, ann, setContacts(stranger, bob.public()), schemas.Code_ok); err != nil {
		return err
	}
	return w.refusals(ctx, ann, []refusal{
		{"257 accounts", setContacts(blocked, make([][]byte, schemas.MaxContacts+1)...), schemas.Code_listTooLong},
		{"a key of 31 bytes", setContacts(blocked, random(31)), schemas.Code_keyLength},
		{"oneself", setContacts(blocked, ann.public()), schemas.Code_channelWithSelf},
		{"a standing that there is not", setContacts(9, bob.public()), schemas.Code_malformed},
	})
}

func invites(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	token := account.NewInvite()
	hash := token.Hash()
	s := createInvite(hash[:], 1, 3600)
	a, err := w.settle(ctx, ann, &s, schemas.Code_ok)
	if err != nil {
		return err
	}
	if a.Code == schemas.Code_notPermitted {
		w.answered["createInvite"] = true // the documents' other answer: members may not
		return nil
	}
	if a.Code != schemas.Code_ok || results[schemas.CreateInviteResults](a).ExpiresAtMs() == 0 {
		return differs("createInvite", said(a), "when it ends, or E047")
	}
	rows := []refusal{
		{"a hash of 31 bytes", createInvite(hash[:31], 1, 0), schemas.Code_keyLength},
		{"the same one again", createInvite(hash[:], 1, 3600), schemas.Code_inviteTerms},
		{"for 10,001", createInvite(random(32), schemas.MaxInviteUses+1, 0), schemas.Code_inviteTerms},
		{"to end one that there is not", createInvite(random(32), 0, 0), schemas.Code_inviteInvalid},
	}
	if err := w.refusals(ctx, ann, rows); err != nil {
		return err
	}
	_, err = w.call(ctx, ann, createInvite(hash[:], 0, 0), schemas.Code_ok)
	return err
}

// another is one more session of an account.
func (p *person) another(ctx context.Context) (*person, error) {
	q := *p
	q.links = map[int]*wire.Link{}
	return &q, q.login(ctx)
}

func loggedOut(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	other, err := ann.another(ctx)
	if err != nil {
		return err
	}
	defer other.hangUp()
	if err := other.is(ctx); err != nil {
		return err
	}
	a, err := w.call(ctx, other, logout(false), schemas.Code_ok)
	if err != nil {
		return err
	}
	if err := same("sessions that have ended", results[schemas.LogoutResults](a).Revoked(), 1); err != nil {
		return err
	}
	for node := range w.nodes {
		s := bearer(1, other.token, nil)
		s.node = node + 1
		if _, err := w.call(ctx, nil, s, schemas.Code_tokenInvalid); err != nil {
			return fmt.Errorf("node %s: %w", w.nodes[node], err)
		}
	}
	return ann.is(ctx)
}

func newPassword(ctx context.Context, w *World) error {
	p, err := w.someone(ctx, "new")
	if err != nil {
		return err
	}
	other, err := p.another(ctx)
	if err != nil {
		return err
	}
	defer other.hangUp()
	bad := of("changePasswordStart", schemas.NewChangePasswordStartParams, func(c schemas.ChangePasswordStartParams) error {
		return errors.Join(c.SetLoginRequest(make([]byte, 95)), c.SetRegistrationRequest(make([]byte, 32)))
	})
	if _, err := w.call(ctx, p, bad, schemas.Code_opaqueStartFailed); err != nil {
		return err
	}
	if err := p.change(ctx, []byte("another password")); err != nil {
		return err
	}
	if _, err := w.call(ctx, nil, bearer(1, other.token, nil), schemas.Code_tokenInvalid); err != nil {
		return err
	}
	old := p.password
	p.password = []byte("another password")
	if _, err := w.answerKE2(ctx, p.name, old); err == nil {
		return differs("the old password", "KE2 that the client takes", "refused")
	}
	return first(func() error { return p.is(ctx) }, func() error { return p.login(ctx) })
}

// change changes the password; first without its signature, which is refused.
func (p *person) change(ctx context.Context, to []byte) error {
	name, err := account.ParseUsername(p.name)
	if err != nil {
		return err
	}
	login, ke1, err := account.StartLogin(name, bytes.Clone(p.password)) // it erases it
	if err != nil {
		return err
	}
	defer login.Close()
	registration, request, err := account.StartRegistration(name, bytes.Clone(to))
	if err != nil {
		return err
	}
	defer registration.Close()
	a, err := p.w.call(ctx, p, of("changePasswordStart", schemas.NewChangePasswordStartParams, func(c schemas.ChangePasswordStartParams) error {
		return errors.Join(c.SetLoginRequest(ke1), c.SetRegistrationRequest(request))
	}), schemas.Code_ok)
	if err != nil {
		return err
	}
	r := results[schemas.ChangePasswordStartResults](a)
	ke2, err1 := r.LoginResponse()
	handshake, err2 := r.Handshake()
	response, err3 := r.RegistrationResponse()
	digest, err4 := r.RecordDigest()
	if err := errors.Join(err1, err2, err3, err4, same("bytes of recordDigest", len(digest), 32)); err != nil {
		return err
	}
	finalization, _, _, err1 := login.Finish(ke2)
	upload, _, err2 := registration.Finish(response)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	signature, err := identity.ChangePassword([32]byte(p.public()), [32]byte(digest), upload).Sign(p.account)
	if err != nil {
		return err
	}
	finish := func(signature []byte) spec {
		return of("changePasswordFinish", schemas.NewChangePasswordFinishParams, func(c schemas.ChangePasswordFinishParams) error {
			return errors.Join(c.SetFinalization(finalization), c.SetHandshake(handshake), c.SetUpload(upload), c.SetSignature(signature))
		})
	}
	if _, err := p.w.call(ctx, p, finish(nil), schemas.Code_statementRequired); err != nil {
		return err
	}
	a, err = p.w.call(ctx, p, finish(signature), schemas.Code_ok)
	if err == nil && results[schemas.ChangePasswordFinishResults](a).RevokedSessions() == 0 {
		err = differs("other sessions that have ended", 0, "one at least")
	}
	return err
}

func registerDevice(id []byte, name string, key, signature []byte) spec {
	return of("registerDevice", schemas.NewRegisterDeviceParams, func(p schemas.RegisterDeviceParams) error {
		return errors.Join(p.SetDeviceId(id), p.SetDeviceName(name), p.SetDeviceKey(key), p.SetSignature(signature))
	})
}

func listDevices(of1 []byte, statements bool) spec {
	return of("listDevices", schemas.NewListDevicesParams, func(p schemas.ListDevicesParams) error {
		p.SetStatements(statements)
		return p.SetIdentityKey(of1)
	})
}

func publishEndpoint(key, endpoint []byte, ttl uint32) spec {
	return of("publishEndpoint", schemas.NewPublishEndpointParams, func(p schemas.PublishEndpointParams) error {
		p.SetTtlSecs(ttl)
		return errors.Join(p.SetIdentityKey(key), p.SetEndpoint(endpoint))
	})
}

func resolveEndpoint(key []byte) spec {
	return of("resolveEndpoint", schemas.NewResolveEndpointParams, func(p schemas.ResolveEndpointParams) error { return p.SetIdentityKey(key) })
}

// revocation is the end of one of the account's devices, signed by a key.
func (p *person) revocation(id []byte, by ed25519.PrivateKey) spec {
	at := uint64(time.Now().UnixMilli())
	return of("revokeDevice", schemas.NewRevokeDeviceParams, func(r schemas.RevokeDeviceParams) error {
		r.SetSignedAtMs(at)
		var signature []byte
		var err error
		if by != nil {
			signature, err = identity.RevokeDevice([32]byte(p.public()), [16]byte(id), at).Sign(by)
		}
		return errors.Join(err, r.SetDeviceId(id), r.SetSignature(signature))
	})
}

// deviceHash is how a binding's token is signed.
func deviceHash(token []byte) [32]byte { return sha256.Sum256(token) }
