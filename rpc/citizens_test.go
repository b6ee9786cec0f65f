package rpc

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// citizen is an account made without OPAQUE, straight in the store, with a
// session that has no device. The same name gives the same keys and tokens.
type citizen struct {
	name    string
	key     fsm.AccountKey
	private ed25519.PrivateKey
	token   []byte
}

func (p *citizen) caller() schemas.Caller {
	return schemas.Caller{Kind: schemas.Actor_Kind_account, Account: p.key[:]}
}

// says signs a statement with the account's key.
func (p *citizen) says(tb testing.TB, s identity.Statement) []byte {
	tb.Helper()
	signature, err := s.Sign(p.private)
	must(tb, err)
	return signature
}

// run proposes a command that must succeed.
func (n *accountNode) run(tb testing.TB, by schemas.Caller, fill func(schemas.Entry_command) error) {
	tb.Helper()
	entry, err := schemas.BuildEntry(newRequestID(), by, fill)
	must(tb, err)
	_, result, err := n.Propose(tb.Context(), entry)
	must(tb, err)
	if result.Code != schemas.Code_ok {
		tb.Fatalf("the store refuses the test's own command: %s, %d", result.Code.ID(), result.Value)
	}
}

func citizenOf(name string) *citizen {
	p := &citizen{name: name}
	seed := sha256.Sum256([]byte("account " + name))
	p.private = ed25519.NewKeyFromSeed(seed[:])
	copy(p.key[:], p.private[ed25519.SeedSize:])
	return p
}

func (n *accountNode) newCitizen(tb testing.TB, name string) *citizen {
	tb.Helper()
	p := citizenOf(name)
	n.run(tb, schemas.Caller{Kind: schemas.Actor_Kind_node}, func(command schemas.Entry_command) error {
		a, err := command.NewCreateAccount()
		must(tb, err)
		return errors.Join(a.SetUsername(name), a.SetIdentityKey(p.key[:]), a.SetRecord([]byte("no record of OPAQUE")))
	})
	p.token = n.newSession(tb, p, nil, "first")
	return p
}

// newSession opens a session and returns its token.
func (n *accountNode) newSession(tb testing.TB, p *citizen, device []byte, label string) []byte {
	tb.Helper()
	token := sha256.Sum256([]byte(label + " token of " + p.name))
	view, err := n.store.View()
	must(tb, err)
	account, _, err := view.Account(p.key)
	must(tb, errors.Join(err, view.Close()))
	hash, proof, name := sha256.Sum256(token[:]), sha256.Sum256(account.Record), sha256.Sum256([]byte(p.name))
	n.run(tb, schemas.Caller{Kind: schemas.Actor_Kind_node}, func(command schemas.Entry_command) error {
		s, err := command.NewOpenSession()
		must(tb, err)
		s.SetHandshakeExpiresMs(uint64(time.Now().Add(n.skew + 30*time.Second).UnixMilli()))
		return errors.Join(s.SetName(name[:]), s.SetIdentityKey(p.key[:]), s.SetUsername(p.name), s.SetDeviceId(device),
			s.SetTokenHash(hash[:]), s.SetHandshakeId(newRequestID()), s.SetRecordDigest(proof[:]))
	})
	return token[:]
}

// newDevice registers a device; key may be empty.
func (n *accountNode) newDevice(tb testing.TB, p *citizen, id fsm.DeviceID, key []byte) {
	tb.Helper()
	n.run(tb, p.caller(), func(command schemas.Entry_command) error {
		d, err := command.NewRegisterDevice()
		must(tb, err)
		return errors.Join(d.SetDeviceId(id[:]), d.SetDeviceKey(key))
	})
}

// setAuth fills a call's auth.
func setAuth(tb testing.TB, newAuth func() (schemas.Auth, error), token, device []byte) {
	tb.Helper()
	auth, err := newAuth()
	must(tb, err)
	auth.SetVersion(schemas.AuthVersion)
	must(tb, errors.Join(auth.SetAccessToken(token), auth.SetDeviceId(device)))
}
