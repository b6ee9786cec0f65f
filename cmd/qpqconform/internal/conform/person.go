package conform

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// ordinals are the numbers of the schema's methods.
var ordinals = sync.OnceValue(func() map[string]uint16 {
	numbers := map[string]uint16{}
	for _, m := range schemas.NodeService_Methods(nil, nil) {
		numbers[m.MethodName] = m.MethodID
	}
	return numbers
})

// writes are the methods that docs/protocol.md marks with w.
var writes = sync.OnceValue(func() map[string]bool {
	marked := map[string]bool{}
	for _, name := range []string{
		"opaqueRegisterFinish", "opaqueLoginFinish", "createInvite", "setContacts", "logout", "changePasswordFinish", "deleteAccount",
		"registerDevice", "revokeDevice", "publishEndpoint", "uploadKeyPackage", "uploadKeyPackages", "fetchKeyPackage", "fetchKeyPackages",
		"uploadHybridKey", "enqueue", "batchEnqueue", "ack", "createChannel", "publishCommit",
	} {
		marked[name] = true
	}
	return marked
})

// person is an account of this run's, or one of its devices, with a session.
type person struct {
	w        *World
	name     string
	password []byte
	account  ed25519.PrivateKey
	device   []byte             // empty: the account itself
	key      ed25519.PrivateKey // the device's; the account's without one
	token    []byte
	links    map[int]*wire.Link // bound to the session, by node
	gone     bool
}

func (p *person) public() []byte { return p.account.Public().(ed25519.PublicKey) }

// someone is an account of this run's that has a session; it is made when it is first
// asked for.
func (w *World) someone(ctx context.Context, name string) (*person, error) {
	if p := w.people[name]; p != nil && !p.gone {
		return p, nil
	}
	p := w.newPerson(name)
	if err := p.register(ctx); err != nil {
		return nil, fmt.Errorf("an account for the check: %w", err)
	}
	w.people[name] = p
	return p, p.login(ctx)
}

func (w *World) newPerson(name string) *person {
	key := newKey()
	return &person{
		w: w, name: "conform" + w.mark + name, password: []byte("password of " + name), account: key, key: key,
		links: map[int]*wire.Link{},
	}
}

func newKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(random(ed25519.SeedSize)) }

// registration is what opaqueRegisterFinish takes.
type registration struct {
	username                                   string
	upload, key, proof, handshake, invite, hub []byte
}

func (r registration) spec() spec {
	return of("opaqueRegisterFinish", schemas.NewOpaqueRegisterFinishParams, func(p schemas.OpaqueRegisterFinishParams) error {
		return errors.Join(p.SetUsername(r.username), p.SetUpload(r.upload), p.SetIdentityKey(r.key),
			p.SetIdentityProof(r.proof), p.SetHandshake(r.handshake), p.SetInvite(r.invite))
	})
}

func registerStart(username string, request []byte) spec {
	return of("opaqueRegisterStart", schemas.NewOpaqueRegisterStartParams, func(p schemas.OpaqueRegisterStartParams) error {
		return errors.Join(p.SetUsername(username), p.SetRequest(request))
	})
}

// prepare starts a registration and makes what its second step sends.
func (p *person) prepare(ctx context.Context) (r registration, err error) {
	name, err := account.ParseUsername(p.name)
	if err != nil {
		return r, err
	}
	run, request, err := account.StartRegistration(name, bytes.Clone(p.password)) // it erases it
	if err != nil {
		return r, err
	}
	defer run.Close()
	a, err := p.w.call(ctx, nil, registerStart(p.name, request), schemas.Code_ok)
	if err != nil {
		return r, err
	}
	started := results[schemas.OpaqueRegisterStartResults](a)
	response, err := started.Response()
	if err != nil {
		return r, err
	}
	if len(response) != 64 {
		return r, differs("a RegistrationResponse", fmt.Sprint(len(response), " bytes"), "64")
	}
	r = registration{username: p.name, key: p.public(), invite: p.w.options.Invite, hub: response[32:]}
	if r.handshake, err = started.Handshake(); err != nil {
		return r, err
	}
	if r.upload, _, err = run.Finish(response); err != nil {
		return r, err
	}
	r.proof, err = identity.Register([32]byte(r.hub), [32]byte(r.key), name.String(), r.upload).Sign(p.account)
	return r, err
}

func (p *person) register(ctx context.Context) error {
	r, err := p.prepare(ctx)
	if err != nil {
		return err
	}
	_, err = p.w.call(ctx, nil, r.spec(), schemas.Code_ok)
	return err
}

// proof is what opaqueLoginFinish takes.
type proof struct {
	username                                     string
	finalization, identityKey, handshake, device []byte
}

func (l proof) spec() spec {
	return of("opaqueLoginFinish", schemas.NewOpaqueLoginFinishParams, func(p schemas.OpaqueLoginFinishParams) error {
		return errors.Join(p.SetUsername(l.username), p.SetFinalization(l.finalization), p.SetIdentityKey(l.identityKey),
			p.SetHandshake(l.handshake), p.SetDeviceId(l.device))
	})
}

func loginStart(username string, ke1 []byte) spec {
	return of("opaqueLoginStart", schemas.NewOpaqueLoginStartParams, func(p schemas.OpaqueLoginStartParams) error {
		return errors.Join(p.SetUsername(username), p.SetRequest(ke1))
	})
}

// answerKE2 has the cluster answer a login's start, checks the lengths of the answer, and
// finishes the client's side.
func (w *World) answerKE2(ctx context.Context, username string, password []byte) (l proof, err error) {
	name, err := account.ParseUsername(username)
	if err != nil {
		return l, err
	}
	run, ke1, err := account.StartLogin(name, bytes.Clone(password)) // it erases it
	if err != nil {
		return l, err
	}
	defer run.Close()
	a, err := w.call(ctx, nil, loginStart(username, ke1), schemas.Code_ok)
	if err != nil {
		return l, err
	}
	started := results[schemas.OpaqueLoginStartResults](a)
	l.username = username
	ke2, err := started.Response()
	if err != nil {
		return l, err
	}
	if l.handshake, err = started.Handshake(); err != nil {
		return l, err
	}
	if err := first(func() error { return same("bytes of KE2", len(ke2), 320) },
		func() error { return same("bytes of the handshake", len(l.handshake), 209) }); err != nil {
		return l, err
	}
	l.finalization, _, _, err = run.Finish(ke2)
	if err != nil {
		return l, &wrongPassword{err}
	}
	return l, nil
}

// wrongPassword is the client's own refusal of KE2.
type wrongPassword struct{ err error }

func (e *wrongPassword) Error() string { return "the client refuses KE2: " + e.err.Error() }

func (p *person) login(ctx context.Context) error {
	l, err := p.w.answerKE2(ctx, p.name, p.password)
	if err != nil {
		return err
	}
	l.identityKey, l.device = p.public(), p.device
	a, err := p.w.call(ctx, nil, l.spec(), schemas.Code_ok)
	if err != nil {
		return err
	}
	return p.take(a)
}

// take takes the session that a login has opened.
func (p *person) take(a wire.Answer) error {
	token, err := results[schemas.OpaqueLoginFinishResults](a).SessionToken()
	if err != nil {
		return err
	}
	p.token = bytes.Clone(token)
	p.hangUp()
	return same("bytes of a session token", len(token), schemas.TokenSize)
}

// hangUp ends the connections of the session.
func (p *person) hangUp() {
	for node, l := range p.links {
		_ = l.Close()
		delete(p.links, node)
	}
}

// link is a connection to a node that is bound to the session.
func (p *person) link(ctx context.Context, node int) (*wire.Link, error) {
	if l := p.links[node]; l != nil && !over(l) {
		return l, nil
	}
	l, err := p.w.dial(ctx, node)
	if err != nil {
		return nil, err
	}
	for {
		a, err := p.bind(ctx, l)
		if err == nil && again(a) {
			time.Sleep(max(a.RetryAfter, 100*time.Millisecond))
			continue
		}
		if err == nil && a.Code != schemas.Code_ok {
			err = differs("bindSession", said(a), "success")
		}
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		p.links[node] = l
		return l, nil
	}
}

// bind makes a connection the session's.
func (p *person) bind(ctx context.Context, l *wire.Link) (wire.Answer, error) {
	exporter, err := l.Exporter()
	if err != nil {
		return wire.Answer{}, err
	}
	signature, err := identity.Bind(exporter, sha256.Sum256(p.token)).Sign(p.key)
	if err != nil {
		return wire.Answer{}, err
	}
	s := bindSession(p.token, signature)
	return p.w.on(ctx, l, &s)
}

func bindSession(token, signature []byte) spec {
	return of("bindSession", schemas.NewBindSessionParams, func(b schemas.BindSessionParams) error {
		return errors.Join(b.SetSessionToken(token), b.SetSignature(signature))
	})
}

// deletion is the end of the account.
func (p *person) deletion() spec {
	at := uint64(time.Now().UnixMilli())
	return of("deleteAccount", schemas.NewDeleteAccountParams, func(d schemas.DeleteAccountParams) error {
		signature, err := identity.DeleteAccount([32]byte(p.public()), at).Sign(p.account)
		d.SetSignedAtMs(at)
		return errors.Join(err, d.SetSignature(signature))
	})
}

// leave deletes the account. An error is of a cluster that does not let it go.
func (p *person) leave(ctx context.Context) (err error) {
	if !p.gone && len(p.device) == 0 && p.token != nil {
		var a wire.Answer
		s := p.deletion()
		a, err = p.w.settle(ctx, p, &s, schemas.Code_ok)
		if err == nil && a.Code == schemas.Code_tokenInvalid {
			if err = p.login(ctx); err == nil {
				a, err = p.w.settle(ctx, p, &s, schemas.Code_ok)
			}
		}
		if err == nil && a.Code != schemas.Code_ok {
			err = fmt.Errorf("delete the account %s: %s", p.name, said(a))
		}
	}
	p.hangUp()
	return err
}

// two are two accounts with sessions.
func (w *World) two(ctx context.Context) (ann, bob *person, err error) {
	if ann, err = w.someone(ctx, "ann"); err != nil {
		return nil, nil, err
	}
	bob, err = w.someone(ctx, "bob")
	return ann, bob, err
}

// Session makes an account of the run's and returns its session's token and its key: for
// clients that break the rules.
func (w *World) Session(ctx context.Context) (token, key []byte, err error) {
	p, err := w.someone(ctx, "ann")
	if err != nil {
		return nil, nil, err
	}
	return p.token, p.public(), nil
}
