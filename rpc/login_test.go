package rpc

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	client "quicproquo/client/conn"
	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// A wrong password and a name that nobody has are answered alike: the same
// length, byte for byte but for what is random, the same code and words at the
// end; and the same evaluation of the password before and after registration.
func TestLoginTellsNothingOfNames(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	qc := d.dial(t)
	request := ke1(t, "alice")
	known, unknown := startLogin(t, qc, "alice", request, nil), startLogin(t, qc, "nobody", request, nil)
	if len(known.frame) != len(unknown.frame) || len(known.response) != 320 || len(unknown.response) != 320 ||
		len(known.handshake) != len(unknown.handshake) {
		t.Errorf("starts: %d and %d bytes, responses %d and %d, handshakes %d and %d", len(known.frame), len(unknown.frame),
			len(known.response), len(unknown.response), len(known.handshake), len(unknown.handshake))
	}
	public := alice.public()
	end := func(name string, s started) raw {
		f := finish{name: name, finalization: make([]byte, account.FinalizationSize), handshake: s.handshake, key: public[:]}
		return f.call(t, qc, nil)
	}
	before := d.node.digest()
	wrong, nobody := end("alice", known), end("nobody", unknown)
	if !bytes.Equal(wrong.frame, nobody.frame) {
		t.Errorf("ends differ:\n%x\n%x", wrong.frame, nobody.frame)
	}
	if wrong.failure.code != schemas.Code_opaqueFinishFailed {
		t.Errorf("a wrong password: got %s, want %s", wrong.failure.code, schemas.Code_opaqueFinishFailed)
	}
	if d.node.digest() != before {
		t.Error("a failed end has written something")
	}
	d.register(t, "nobody")
	later := startLogin(t, qc, "nobody", request, nil)
	if !bytes.Equal(later.response[:32], unknown.response[:32]) {
		t.Error("registering the name has changed its evaluation")
	}
}

// A device that knows a name and a password, and no key, logs in and learns whose the
// account is; with a wrong password it learns nothing.
func TestLoginWithoutTheAccountsKey(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	qc := d.dial(t)
	f := begun(t, qc, alice, "right")
	f.key = nil
	r := f.call(t, qc, newRequestID())
	if r.failure.code != schemas.Code_ok {
		t.Fatalf("without a key: got %s, want a session", r.failure.code)
	}
	token := tokenIn(t, r)
	auth := func(p schemas.WhoamiParams) error {
		a, err := p.NewAuth()
		must(t, err)
		a.SetVersion(1)
		return a.SetAccessToken(token)
	}
	who, err := schemas.WhoamiResults(callRaw(t, qc, 28, nil, schemas.NewWhoamiParams, auth).results).IdentityKey()
	must(t, err)
	if public := alice.public(); !bytes.Equal(who, public[:]) {
		t.Errorf("whoami says %x, want %x", who, public)
	}
	for _, f := range []finish{begun(t, qc, alice, "right"), {name: "nobody"}} {
		f.key, f.finalization = nil, make([]byte, account.FinalizationSize)
		if f.handshake == nil {
			f.handshake = startLogin(t, qc, f.name, ke1(t, f.name), nil).handshake
		}
		if got := f.call(t, qc, nil).failure.code; got != schemas.Code_opaqueFinishFailed {
			t.Errorf("%s with a wrong password and no key: got %s, want %s", f.name, got, schemas.Code_opaqueFinishFailed)
		}
	}
}

// A client whose answer was lost repeats the end of its login with the same
// request id and gets the token that the log has taken; with another one the
// handshake is used up.
func TestLoginEndsOnce(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	qc := d.dial(t)
	f := begun(t, qc, alice, "right")
	id := newRequestID()
	first, again := f.call(t, qc, id), f.call(t, qc, id)
	if first.failure.code != schemas.Code_ok || again.failure.code != schemas.Code_ok {
		t.Fatalf("got %s and %s", first.failure.code, again.failure.code)
	}
	token := tokenIn(t, first)
	if len(token) != 32 || !bytes.Equal(token, tokenIn(t, again)) {
		t.Errorf("the repetition gives %x after %x", tokenIn(t, again), token)
	}
	if got := f.call(t, qc, newRequestID()).failure.code; got != schemas.Code_noPendingLogin {
		t.Errorf("another request with the handshake: got %s, want %s", got, schemas.Code_noPendingLogin)
	}
	if got := f.call(t, qc, nil).failure.code; got != schemas.Code_noPendingLogin {
		t.Errorf("without a request id: got %s, want %s", got, schemas.Code_noPendingLogin)
	}
	c := d.client(t)
	c.SetSession(&client.Session{Token: account.Token(token), Account: alice.public()})
	if _, err := c.Whoami(t.Context()); err != nil {
		t.Errorf("the token: %v", err)
	}
}

// The end of a login is refused with the code that says why. What is wrong with
// the identity is told after the password was proved, and to nobody else.
func TestLoginEndRefused(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	qc := d.dial(t)
	good := begun(t, qc, alice, "right")
	bad := good
	bad.finalization = append([]byte{good.finalization[0] ^ 1}, good.finalization[1:]...)
	stranger := newKey(t).Public().(ed25519.PublicKey)
	for _, c := range []struct {
		what string
		from finish
		edit func(*finish)
		want schemas.Code
	}{
		{"a short key", good, func(f *finish) { f.key = f.key[:31] }, schemas.Code_keyLength},
		{"another key", good, func(f *finish) { f.key = stranger }, schemas.Code_identityMismatch},
		{"another key and a wrong password", bad, func(f *finish) { f.key = stranger }, schemas.Code_opaqueFinishFailed},
		{"a wrong password", bad, func(*finish) {}, schemas.Code_opaqueFinishFailed},
		{"no finalization", good, func(f *finish) { f.finalization = nil }, schemas.Code_opaqueFinishFailed},
		{"a short finalization", good, func(f *finish) { f.finalization = f.finalization[:63] }, schemas.Code_opaqueFinishFailed},
		{"no handshake", good, func(f *finish) { f.handshake = nil }, schemas.Code_noPendingLogin},
		{"a forged handshake", good, func(f *finish) {
			f.handshake = bytes.Clone(f.handshake)
			f.handshake[100] ^= 1
		}, schemas.Code_noPendingLogin},
		{"another's handshake", good, func(f *finish) { f.name = "bob" }, schemas.Code_noPendingLogin},
		{"a bad name", good, func(f *finish) { f.name = "a b" }, schemas.Code_usernameInvalid},
		{"a short device id", good, func(f *finish) { f.device = make([]byte, 15) }, schemas.Code_keyLength},
		{"an unknown device", good, func(f *finish) { f.device = bytes.Repeat([]byte{1}, 16) }, schemas.Code_deviceNotFound},
	} {
		f := c.from
		c.edit(&f)
		if got := f.call(t, qc, nil).failure.code; got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
	if got := good.call(t, qc, nil).failure.code; got != schemas.Code_ok {
		t.Errorf("the same login undisturbed: %s", got)
	}
}

// KE1 of the wrong form is refused and does not count as an attempt.
func TestLoginStartRefused(t *testing.T) {
	d := openAccounts(t)
	d.register(t, "alice")
	qc := d.dial(t)
	request := ke1(t, "alice")
	before := d.node.digest()
	for what, message := range map[string][]byte{
		"none": nil, "short": request[:95], "long": append(bytes.Clone(request), 0),
		"zeros": make([]byte, 96), "no group element": bytes.Repeat([]byte{0xff}, 96),
	} {
		for _, name := range []string{"alice", "nobody"} {
			if got := startLogin(t, qc, name, message, nil).failure.code; got != schemas.Code_opaqueStartFailed {
				t.Errorf("%s, %s: got %s, want %s", name, what, got, schemas.Code_opaqueStartFailed)
			}
		}
	}
	if got := startLogin(t, qc, "a b", request, nil).failure.code; got != schemas.Code_usernameInvalid {
		t.Errorf("a bad name: got %s, want %s", got, schemas.Code_usernameInvalid)
	}
	if d.node.digest() != before {
		t.Error("a refused start has written something")
	}
}

// Starts that nobody finishes are failures: after ten of them the name has to
// wait, be it known or not, and a repeated request id is no way round. The wait ends
// though nobody else writes meanwhile. A success clears the count, and other names go on.
func TestStartsCountAsFailures(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	qc := d.dial(t)
	id := newRequestID()
	for _, name := range []string{"alice", "nobody"} {
		request := ke1(t, name)
		for i := range 10 {
			if got := startLogin(t, qc, name, request, id).failure; got.code != schemas.Code_ok {
				t.Fatalf("%s, start %d: %s", name, i+1, got.code)
			}
		}
		got := startLogin(t, qc, name, request, id).failure
		if got.code != schemas.Code_rateLimited || got.after == 0 || got.after > 2000 {
			t.Errorf("%s, start 11: got %s, retry after %d ms; want %s within 2 s", name, got.code, got.after, schemas.Code_rateLimited)
		}
	}
	if got := startLogin(t, qc, "bob", ke1(t, "bob"), nil).failure.code; got != schemas.Code_ok {
		t.Errorf("another name: %s", got)
	}
	d.node.setSkew(3 * time.Second) // the wait is over, and nobody has written since
	f := begun(t, qc, alice, "right")
	if got := f.call(t, qc, nil).failure.code; got != schemas.Code_ok {
		t.Fatalf("the right password after the wait: %s", got)
	}
	for i := range 10 {
		if got := startLogin(t, qc, "alice", ke1(t, "alice"), nil).failure.code; got != schemas.Code_ok {
			t.Fatalf("start %d after a success: %s", i+1, got)
		}
	}
}

// signedStart begins a login as an account of which signer says that it is its own.
func signedStart(tb testing.TB, qc *quic.Conn, name string, signer ed25519.PrivateKey, said, sent []byte) schemas.Code {
	tb.Helper()
	key := [32]byte(signer.Public().(ed25519.PublicKey))
	signature, err := identity.LoginStart(key, nil, name, said).Sign(signer)
	must(tb, err)
	return callRaw(tb, qc, 10, nil, schemas.NewOpaqueLoginStartParams, func(p schemas.OpaqueLoginStartParams) error {
		return errors.Join(p.SetUsername(name), p.SetRequest(sent), p.SetSignature(signature))
	}).failure.code
}

// While strangers guess wrong for twenty minutes the owner gets in each time at the first
// try, by what its key signs. Its own wrong guesses are limited, and what does not verify
// is a stranger's.
func TestStrangersKeepNoOwnerOut(t *testing.T) {
	d := openAccounts(t)
	alice, mallory := d.register(t, "alice"), d.register(t, "mallory")
	d.node.set(t, fsm.SettingFeatureLevel, schemas.FeatureLevel)
	qc := d.dial(t)
	request, other := ke1(t, "alice"), ke1(t, "alice")
	through := 0
	for minute := range 21 {
		d.node.setSkew(time.Duration(minute) * time.Minute)
		for range 12 { // as many as there is room for
			if startLogin(t, qc, "alice", request, nil).failure.code != schemas.Code_ok {
				break
			}
		}
		if got := startLogin(t, qc, "alice", request, nil).failure.code; got != schemas.Code_rateLimited {
			t.Fatalf("minute %d: a stranger's start is answered %s; the test wants the name full of them", minute, got)
		}
		if minute%3 == 0 && signedStart(t, qc, "alice", alice.key, request, request) == schemas.Code_ok {
			through++
		}
	}
	if through != 7 {
		t.Errorf("the owner's start was taken %d times of 7", through)
	}
	for what, got := range map[string]schemas.Code{
		"signed by another account":    signedStart(t, qc, "alice", mallory.key, request, request),
		"signed over another message":  signedStart(t, qc, "alice", alice.key, other, request),
		"signed, for who is not there": signedStart(t, qc, "nobody", alice.key, request, request),
	} {
		if want := schemas.Code_rateLimited; what != "signed, for who is not there" && got != want {
			t.Errorf("a start that is %s is answered %s, want %s", what, got, want)
		}
	}
	d.login(t, alice.as()) // clears its count, and the name's
	for i := range 10 {
		if got := signedStart(t, qc, "alice", alice.key, request, request); got != schemas.Code_ok {
			t.Fatalf("the owner's guess %d: %s", i+1, got)
		}
	}
	if got := signedStart(t, qc, "alice", alice.key, request, request); got != schemas.Code_rateLimited {
		t.Errorf("the owner's guess 11: %s, want %s", got, schemas.Code_rateLimited)
	}
	if got := startLogin(t, qc, "alice", request, nil).failure.code; got != schemas.Code_ok {
		t.Errorf("a stranger after the owner's guesses: %s", got)
	}
}
