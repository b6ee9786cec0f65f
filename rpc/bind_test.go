package rpc

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	client "quicproquo/client/conn"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// signed is a binding of a token to a connection.
func signed(tb testing.TB, qc *quic.Conn, token []byte, key ed25519.PrivateKey) []byte {
	tb.Helper()
	exporter, err := export(qc)
	must(tb, err)
	signature, err := identity.Bind(exporter, sha256.Sum256(token)).Sign(key)
	must(tb, err)
	return signature
}

func bind(tb testing.TB, qc *quic.Conn, token, signature []byte) answer {
	tb.Helper()
	return callRaw(tb, qc, 27, nil, schemas.NewBindSessionParams, func(p schemas.BindSessionParams) error {
		must(tb, p.SetSessionToken(token))
		return p.SetSignature(signature)
	}).failure
}

// whoamiRaw is a call with the auth that edit fills in; nil leaves it out.
func whoamiRaw(tb testing.TB, qc *quic.Conn, edit func(schemas.Auth)) answer {
	tb.Helper()
	return callRaw(tb, qc, 28, nil, schemas.NewWhoamiParams, func(p schemas.WhoamiParams) error {
		if edit == nil {
			return nil
		}
		auth, err := p.NewAuth()
		must(tb, err)
		edit(auth)
		return nil
	}).failure
}

func bearer(tb testing.TB, token []byte) func(schemas.Auth) {
	return func(a schemas.Auth) {
		a.SetVersion(1)
		must(tb, a.SetAccessToken(token))
	}
}

// A session is bound by its token and the signature of its key over this very
// connection, and by nothing less.
func TestBindSession(t *testing.T) {
	d := openAccounts(t)
	alice, bob := d.register(t, "alice"), d.register(t, "bob")
	token := d.login(t, alice.as()).Session().Token
	bobs := d.login(t, bob.as()).Session().Token
	qc, elsewhere := d.dial(t), d.dial(t)
	good := signed(t, qc, token[:], alice.key)
	flipped := bytes.Clone(good)
	flipped[7] ^= 1
	unknown := make([]byte, 32)
	rand.Read(unknown)
	for _, c := range []struct {
		what             string
		token, signature []byte
		want             schemas.Code
	}{
		{"no token", nil, good, schemas.Code_tokenMissing},
		{"a short token", token[:31], good, schemas.Code_tokenInvalid},
		{"a long token", append(bytes.Clone(token[:]), 0), good, schemas.Code_tokenInvalid},
		{"an unknown token", unknown, signed(t, qc, unknown, alice.key), schemas.Code_tokenInvalid},
		{"no signature: a stolen token alone", token[:], nil, schemas.Code_signatureInvalid},
		{"a short signature", token[:], good[:63], schemas.Code_signatureInvalid},
		{"a flipped bit", token[:], flipped, schemas.Code_signatureInvalid},
		{"another's key", token[:], signed(t, qc, token[:], bob.key), schemas.Code_signatureInvalid},
		{"another session's signature", token[:], signed(t, qc, bobs[:], alice.key), schemas.Code_signatureInvalid},
		{"another connection's signature", token[:], signed(t, elsewhere, token[:], alice.key), schemas.Code_signatureInvalid},
	} {
		if got := bind(t, qc, c.token, c.signature).code; got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
		if got := whoamiRaw(t, qc, nil).code; got != schemas.Code_tokenMissing {
			t.Errorf("%s: afterwards the connection is somebody: %s", c.what, got)
		}
	}
	for range 2 { // again is no harm
		if got := bind(t, qc, token[:], good).code; got != schemas.Code_ok {
			t.Fatalf("an honest binding: %s", got)
		}
	}
	if got := whoamiRaw(t, qc, nil).code; got != schemas.Code_ok {
		t.Errorf("a call without auth on the bound connection: %s", got)
	}
	if got := bind(t, qc, bobs[:], signed(t, qc, bobs[:], bob.key)).code; got != schemas.Code_bindingConflict {
		t.Errorf("another session: got %s, want %s", got, schemas.Code_bindingConflict)
	}
	if got := whoamiRaw(t, elsewhere, nil).code; got != schemas.Code_tokenMissing {
		t.Errorf("another connection: got %s, want %s", got, schemas.Code_tokenMissing)
	}
}

// A connection that is bound gets the limits of one, and loses its caller when
// the session ends.
func TestBoundConnection(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	c := d.login(t, alice.as())
	token := c.Session().Token
	qc := d.dial(t)
	large := frameOf(t, 28, func(r schemas.Request) { paramsOf(t, r, make([]byte, 80<<10)) })
	if got := callOn(t, qc, large); got.code != schemas.Code_messageTooLarge || got.value != smallMethod {
		t.Errorf("80 KiB from a stranger: got %s, limit %d, want the method's own", got.code, got.value)
	}
	if got := bind(t, qc, token[:], signed(t, qc, token[:], alice.key)).code; got != schemas.Code_ok {
		t.Fatal(got)
	}
	if got := callOn(t, qc, large); got.code != schemas.Code_messageTooLarge || got.value != smallMethod {
		t.Errorf("80 KiB from a bound caller: got %s, limit %d, want the method's own", got.code, got.value)
	}
	if _, err := c.Logout(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := whoamiRaw(t, qc, nil).code; got != schemas.Code_tokenInvalid {
		t.Errorf("after the logout elsewhere: got %s, want %s", got, schemas.Code_tokenInvalid)
	}
	if got := bind(t, qc, token[:], signed(t, qc, token[:], alice.key)).code; got != schemas.Code_tokenInvalid {
		t.Errorf("binding an ended session: got %s, want %s", got, schemas.Code_tokenInvalid)
	}
}

// A session that is not used ends in time, for bound connections and for its
// token.
func TestSessionExpires(t *testing.T) {
	d := openAccounts(t)
	d.node.setSkew(-6 * time.Minute) // the log is behind: what it opens is over already
	d.node.set(t, "session_ttl_secs", 300)
	alice := d.register(t, "alice")
	qc := d.dial(t)
	f := begun(t, qc, alice, "right")
	got := f.call(t, qc, nil)
	if got.failure.code != schemas.Code_ok {
		t.Fatal(got.failure.code)
	}
	token := tokenIn(t, got)
	if got := bind(t, qc, token, signed(t, qc, token, alice.key)).code; got != schemas.Code_tokenExpired {
		t.Errorf("bind: got %s, want %s", got, schemas.Code_tokenExpired)
	}
	if got := whoamiRaw(t, qc, bearer(t, token)).code; got != schemas.Code_tokenExpired {
		t.Errorf("bearer: got %s, want %s", got, schemas.Code_tokenExpired)
	}
}

// Which sessions work by their token alone is the cluster's to say: none, those
// without a device key of their own, or all. Bound, all work.
func TestBearerSetting(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	owner := d.login(t, alice.as())
	plain := client.Device{ID: client.DeviceID{1}}
	keyed := client.Device{ID: client.DeviceID{2}}
	deviceKey := newKey(t)
	keyed.Key = deviceKey.Public().(ed25519.PublicKey)
	for _, dev := range []client.Device{plain, keyed} {
		if _, err := owner.RegisterDevice(t.Context(), dev, alice.key); err != nil {
			t.Fatal(err)
		}
	}
	sessions := []struct {
		what   string
		device client.DeviceID
		key    ed25519.PrivateKey
		token  []byte
	}{
		{"of the account", client.DeviceID{}, alice.key, nil},
		{"of a device without a key", plain.ID, alice.key, nil},
		{"of a device with a key", keyed.ID, deviceKey, nil},
	}
	for i := range sessions {
		who := alice.as()
		who.Device = sessions[i].device
		token := d.login(t, who).Session().Token
		sessions[i].token = bytes.Clone(token[:])
	}
	for setting, allowed := range map[uint64][3]bool{0: {false, false, false}, 1: {true, true, false}, 2: {true, true, true}} {
		d.node.set(t, "bearer_tokens", setting)
		for i, s := range sessions {
			want := schemas.Code_bindingRequired
			if allowed[i] {
				want = schemas.Code_ok
			}
			qc := d.dial(t)
			if got := whoamiRaw(t, qc, bearer(t, s.token)).code; got != want {
				t.Errorf("setting %d, token %s: got %s, want %s", setting, s.what, got, want)
			}
			if got := bind(t, qc, s.token, signed(t, qc, s.token, s.key)).code; got != schemas.Code_ok {
				t.Fatalf("setting %d, bind %s: %s", setting, s.what, got)
			}
			if got := whoamiRaw(t, qc, nil).code; got != schemas.Code_ok {
				t.Errorf("setting %d, bound %s: %s", setting, s.what, got)
			}
			if got := whoamiRaw(t, qc, bearer(t, s.token)).code; got != schemas.Code_ok {
				t.Errorf("setting %d, bound and with the token %s: %s", setting, s.what, got)
			}
		}
	}
	// A device with a key of its own is not bound by the account's.
	qc := d.dial(t)
	if got := bind(t, qc, sessions[2].token, signed(t, qc, sessions[2].token, alice.key)).code; got != schemas.Code_signatureInvalid {
		t.Errorf("the account's key for a device with its own: got %s, want %s", got, schemas.Code_signatureInvalid)
	}
}

// The auth of a call is refused in the order of its fields.
func TestAuthRefused(t *testing.T) {
	d := openAccounts(t)
	alice, bob := d.register(t, "alice"), d.register(t, "bob")
	owner, other := d.login(t, alice.as()), d.login(t, bob.as())
	mine, theirs := client.Device{ID: client.DeviceID{1}}, client.Device{ID: client.DeviceID{2}}
	second := client.Device{ID: client.DeviceID{3}}
	for _, own := range []client.Device{mine, second} {
		if _, err := owner.RegisterDevice(t.Context(), own, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.RegisterDevice(t.Context(), theirs, nil); err != nil {
		t.Fatal(err)
	}
	token := owner.Session().Token
	who := alice.as()
	who.Device = mine.ID
	ofDevice := d.login(t, who).Session().Token
	qc := d.dial(t)
	for _, c := range []struct {
		what    string
		version uint16
		token   []byte
		device  []byte
		want    schemas.Code
	}{
		{"nothing", 0, nil, nil, schemas.Code_tokenMissing},
		{"a version and no token", 1, nil, nil, schemas.Code_tokenMissing},
		{"no version", 0, token[:], nil, schemas.Code_authVersionUnsupported},
		{"version 2", 2, token[:], nil, schemas.Code_authVersionUnsupported},
		{"a short token", 1, token[:31], nil, schemas.Code_tokenInvalid},
		{"a forged token", 1, append([]byte{token[0] ^ 1}, token[1:]...), nil, schemas.Code_tokenInvalid},
		{"a short device id", 1, token[:], make([]byte, 15), schemas.Code_keyLength},
		{"another account's device", 1, token[:], theirs.ID[:], schemas.Code_deviceNotFound},
		{"its own device", 1, token[:], mine.ID[:], schemas.Code_ok},
		{"the session's device", 1, ofDevice[:], mine.ID[:], schemas.Code_ok},
		{"its second device", 1, token[:], second.ID[:], schemas.Code_ok},
		{"a device's session for another device of its account", 1, ofDevice[:], second.ID[:], schemas.Code_deviceNotFound},
		{"a device's session for another account's device", 1, ofDevice[:], theirs.ID[:], schemas.Code_deviceNotFound},
		{"the account's session", 1, token[:], nil, schemas.Code_ok},
	} {
		got := whoamiRaw(t, qc, func(a schemas.Auth) {
			a.SetVersion(c.version)
			must(t, a.SetAccessToken(c.token))
			must(t, a.SetDeviceId(c.device))
		}).code
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
}
