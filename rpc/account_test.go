package rpc

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	client "quicproquo/client/conn"
	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// From a name and a password to a session and back: everybody is who they
// registered as, whatever the case of the name, and nobody after the logout.
func TestAccountLife(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "Alice")
	c := d.login(t, client.Credentials{Username: "ALICE", Password: []byte("right"), Account: alice.public(), Key: alice.key})
	who, err := c.Whoami(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if who.Username != "alice" || who.Account != alice.public() || who.Device != (client.DeviceID{}) {
		t.Errorf("she is %+v", who)
	}
	if left := time.Until(who.Expires); left < 29*24*time.Hour || left > 31*24*time.Hour {
		t.Errorf("the session lasts %v, want 30 days", left)
	}
	if age := time.Since(who.Created); age < 0 || age > time.Minute {
		t.Errorf("the account is %v old", age)
	}
	key, err := c.ResolveUser(t.Context(), "aLiCe")
	if err != nil || key != alice.public() {
		t.Errorf("her name gives %x, %v", key, err)
	}
	name, err := c.ResolveIdentity(t.Context(), alice.public())
	if err != nil || name != "alice" {
		t.Errorf("her key gives %q, %v", name, err)
	}
	_, err = c.ResolveUser(t.Context(), "nobody")
	wantCode(t, "resolve a name without account", err, schemas.Code_accountNotFound)
	_, err = c.ResolveIdentity(t.Context(), client.AccountKey{1})
	wantCode(t, "resolve a key without account", err, schemas.Code_accountNotFound)
	_, err = c.ResolveUser(t.Context(), "not a name")
	wantCode(t, "resolve what is no name", err, schemas.Code_usernameInvalid)

	session := c.Session()
	if ended, err := c.Logout(t.Context(), false); err != nil || ended != 1 {
		t.Errorf("logout ended %d sessions, %v", ended, err)
	}
	_, err = c.Whoami(t.Context())
	wantCode(t, "whoami of nobody", err, schemas.Code_tokenMissing)
	c.SetSession(session)
	_, err = c.Whoami(t.Context())
	wantCode(t, "whoami after logout", err, schemas.Code_tokenInvalid)
}

// Logging out of all sessions ends every one, on the connections that are bound
// to it too.
func TestLogoutEverywhere(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	first, second := d.login(t, alice.as()), d.login(t, alice.as())
	bob := d.register(t, "bob")
	other := d.login(t, bob.as())
	for _, c := range []*client.Conn{first, second, other} {
		if _, err := c.Whoami(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if ended, err := first.Logout(t.Context(), true); err != nil || ended != 2 {
		t.Errorf("logout ended %d sessions, %v; want 2", ended, err)
	}
	_, err := second.Whoami(t.Context())
	wantCode(t, "the other session", err, schemas.Code_tokenInvalid)
	if _, err := other.Whoami(t.Context()); err != nil {
		t.Errorf("somebody else's session: %v", err)
	}
}

// A deleted account is gone: its sessions, its login, its key; its name is held.
func TestDeleteAccount(t *testing.T) {
	d := openAccounts(t)
	alice, bob := d.register(t, "alice"), d.register(t, "bob")
	c, other := d.login(t, alice.as()), d.login(t, bob.as())
	session := c.Session()
	if err := c.DeleteAccount(t.Context(), alice.key); err != nil {
		t.Fatal(err)
	}
	c.SetSession(session)
	_, err := c.Whoami(t.Context())
	wantCode(t, "its session", err, schemas.Code_tokenInvalid)
	_, err = other.ResolveUser(t.Context(), "alice")
	wantCode(t, "its name", err, schemas.Code_accountNotFound)
	_, _, err = d.client(t).Login(t.Context(), alice.as())
	wantCode(t, "its login", err, schemas.Code_opaqueFinishFailed)
	_, err = d.client(t).Register(t.Context(), "alice", []byte("x"), newKey(t))
	wantCode(t, "its name again", err, schemas.Code_usernameTaken)
	_, err = d.client(t).Register(t.Context(), "alicia", []byte("x"), alice.key)
	wantCode(t, "its key again", err, schemas.Code_identityTaken)
}

// What a registration may not be is refused with the code that says why, in the
// order of the parameters, and changes nothing.
func TestRegistrationRefused(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	qc := d.dial(t)
	run, request, err := account.StartRegistration(mustName(t, "carol"), []byte("pw"))
	must(t, err)
	register := func(name string, message []byte) raw {
		return callRaw(t, qc, 8, nil, schemas.NewOpaqueRegisterStartParams, func(p schemas.OpaqueRegisterStartParams) error {
			must(t, p.SetUsername(name))
			return p.SetRequest(message)
		})
	}
	good := register("carol", request)
	response, err := schemas.OpaqueRegisterStartResults(good.results).Response()
	must(t, err)
	responseCopy := bytes.Clone(response)
	upload, _, err := run.Finish(responseCopy)
	must(t, err)
	carol, taken := newKey(t), alice.public()
	key := carol.Public().(ed25519.PublicKey)
	proof := func(server [32]byte, name string, upload []byte) []byte {
		signature, err := identity.Register(server, [32]byte(key), name, upload).Sign(carol)
		must(t, err)
		return signature
	}
	server := [32]byte(responseCopy[32:])
	ownersProof, err := identity.Register(server, taken, "carol", upload).Sign(alice.key)
	must(t, err)
	forged := ed25519.Sign(alice.key, []byte("something else"))
	before := d.node.digest()
	for _, c := range []struct {
		what    string
		name    string
		message []byte
		want    schemas.Code
		words   string
	}{
		{"no name", "", request, schemas.Code_usernameInvalid, "empty"},
		{"a space", "ca rol", request, schemas.Code_usernameInvalid, "character 3, U+0020"},
		{"a long name", strings.Repeat("a", 129), request, schemas.Code_usernameInvalid, "at most 128"},
		{"a very long name", strings.Repeat("a", 3000), request, schemas.Code_usernameInvalid, "at most 256"},
		{"both directions", "aא", request, schemas.Code_usernameInvalid, "RFC 5893"},
		{"no request", "carol", nil, schemas.Code_opaqueStartFailed, ""},
		{"a short request", "carol", request[:31], schemas.Code_opaqueStartFailed, ""},
		{"no group element", "carol", bytes.Repeat([]byte{0xff}, 32), schemas.Code_opaqueStartFailed, ""},
		{"the identity element", "carol", make([]byte, 32), schemas.Code_opaqueStartFailed, ""},
	} {
		got := register(c.name, c.message).failure
		if got.code != c.want || !strings.Contains(got.message, c.words) {
			t.Errorf("start, %s: got %s %q, want %s and %q", c.what, got.code, got.message, c.want, c.words)
		}
	}
	for _, c := range []struct {
		what               string
		name               string
		upload, key, proof []byte
		want               schemas.Code
	}{
		{"a bad name", "ca rol", upload, key, nil, schemas.Code_usernameInvalid},
		{"no key", "carol", upload, nil, nil, schemas.Code_identityRequired},
		{"a short key", "carol", upload, key[:31], nil, schemas.Code_keyLength},
		{"a long key", "carol", upload, append(bytes.Clone(key), 0), nil, schemas.Code_keyLength},
		{"no upload", "carol", nil, key, nil, schemas.Code_opaqueFinishFailed},
		{"a short upload", "carol", upload[:191], key, nil, schemas.Code_opaqueFinishFailed},
		{"an upload of zeros", "carol", make([]byte, 192), key, nil, schemas.Code_opaqueFinishFailed},
		{"no proof", "carol", upload, key, nil, schemas.Code_statementRequired},
		{"a short proof", "carol", upload, taken[:], forged[:63], schemas.Code_signatureInvalid},
		{"another's proof", "carol", upload, key, forged, schemas.Code_signatureInvalid},
		{"a proof for another name", "carol", upload, key, proof(server, "dave", upload), schemas.Code_signatureInvalid},
		{"a proof for another cluster", "carol", upload, key, proof([32]byte{1}, "carol", upload), schemas.Code_signatureInvalid},
		{"a proof for another password", "carol", upload, key, proof(server, "carol", make([]byte, 192)), schemas.Code_signatureInvalid},
		{"a taken name", "alice", upload, key, proof(server, "alice", upload), schemas.Code_usernameTaken},
		{"a taken name in capitals", "ALICE", upload, key, proof(server, "alice", upload), schemas.Code_usernameTaken},
		{"a taken key", "carol", upload, taken[:], ownersProof, schemas.Code_identityTaken},
	} {
		got := callRaw(t, qc, 9, nil, schemas.NewOpaqueRegisterFinishParams, func(p schemas.OpaqueRegisterFinishParams) error {
			must(t, p.SetUsername(c.name))
			must(t, p.SetUpload(c.upload))
			must(t, p.SetIdentityKey(c.key))
			return p.SetIdentityProof(c.proof)
		}).failure
		if got.code != c.want {
			t.Errorf("finish, %s: got %s, want %s", c.what, got.code, c.want)
		}
	}
	if d.node.digest() != before {
		t.Error("a refused registration has written something")
	}
	// What is signed is the canonical name.
	got := callRaw(t, qc, 9, nil, schemas.NewOpaqueRegisterFinishParams, func(p schemas.OpaqueRegisterFinishParams) error {
		must(t, p.SetUsername("Carol"))
		must(t, p.SetUpload(upload))
		must(t, p.SetIdentityKey(key))
		return p.SetIdentityProof(proof(server, "carol", upload))
	})
	if got.failure.code != schemas.Code_ok || !schemas.OpaqueRegisterFinishResults(got.results).Success() {
		t.Errorf("a good registration: %s", got.failure.code)
	}
}

// The start of a registration tells nothing of the name: it is the same for one
// that is taken, and reads no more of the store.
func TestRegistrationStartTellsNothing(t *testing.T) {
	d := openAccounts(t)
	d.register(t, "alice")
	qc := d.dial(t)
	_, request, err := account.StartRegistration(mustName(t, "x"), []byte("pw"))
	must(t, err)
	ask := func(name string) raw {
		return callRaw(t, qc, 8, nil, schemas.NewOpaqueRegisterStartParams, func(p schemas.OpaqueRegisterStartParams) error {
			must(t, p.SetUsername(name))
			return p.SetRequest(request)
		})
	}
	before := ask("carol")
	if taken, free := ask("alice"), ask("carol"); len(taken.frame) != len(free.frame) || taken.failure.code != free.failure.code {
		t.Errorf("a taken name gives %d bytes, a free one %d", len(taken.frame), len(free.frame))
	}
	d.register(t, "carol")
	// The response index aside, which everything that is written moves on.
	after := ask("carol")
	a, err := schemas.OpaqueRegisterStartResults(before.results).Response()
	must(t, err)
	b, err := schemas.OpaqueRegisterStartResults(after.results).Response()
	must(t, err)
	if !bytes.Equal(a, b) {
		t.Error("the answer for a name changes when the name is registered")
	}
}

// A new password works, the old one does not, and the other sessions end; the
// wrong old password changes nothing.
func TestChangePassword(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	c, other := d.login(t, alice.as()), d.login(t, alice.as())
	stale := begun(t, d.dial(t), alice, "right") // before the change
	_, err := c.ChangePassword(t.Context(), "alice", []byte("wrong"), []byte("new"), alice.key)
	wantCode(t, "with a wrong password", err, schemas.Code_opaqueFinishFailed)
	if _, err := other.Whoami(t.Context()); err != nil {
		t.Fatalf("a refused change ended a session: %v", err)
	}
	old, replacement := []byte("right"), []byte("new")
	if _, err := c.ChangePassword(t.Context(), "alice", old, replacement, alice.key); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(old, make([]byte, 5)) || !bytes.Equal(replacement, make([]byte, 3)) {
		t.Error("the passwords are still in memory")
	}
	if _, err := c.Whoami(t.Context()); err != nil {
		t.Errorf("the session that changed the password: %v", err)
	}
	_, err = other.Whoami(t.Context())
	wantCode(t, "another session", err, schemas.Code_tokenInvalid)
	if got := stale.call(t, d.dial(t), nil).failure.code; got != schemas.Code_opaqueFinishFailed {
		t.Errorf("a login that proved the old password: got %s, want %s", got, schemas.Code_opaqueFinishFailed)
	}
	_, _, err = d.client(t).Login(t.Context(), alice.as())
	wantCode(t, "the old password", err, schemas.Code_opaqueFinishFailed)
	who := alice.as()
	who.Password = []byte("new")
	d.login(t, who)
}
