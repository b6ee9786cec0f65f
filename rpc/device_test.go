package rpc

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	client "quicproquo/client/conn"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// Devices are listed as they were registered: with their names for their owner,
// with their signed keys for everybody.
func TestDevices(t *testing.T) {
	d := openAccounts(t)
	alice, bob := d.register(t, "alice"), d.register(t, "bob")
	owner, other := d.login(t, alice.as()), d.login(t, bob.as())
	phone := client.Device{ID: client.DeviceID{1}, Name: "phone", Key: newKey(t).Public().(ed25519.PublicKey)}
	desk := client.Device{ID: client.DeviceID{2}, Name: "desk"}
	for _, dev := range []client.Device{phone, desk} {
		if isNew, err := owner.RegisterDevice(t.Context(), dev, alice.key); err != nil || !isNew {
			t.Fatalf("register %s: new %v, %v", dev.Name, isNew, err)
		}
	}
	phone.Name = "new phone"
	if isNew, err := owner.RegisterDevice(t.Context(), phone, alice.key); err != nil || isNew {
		t.Errorf("register it again: new %v, %v", isNew, err)
	}
	desk.Key = newKey(t).Public().(ed25519.PublicKey)
	_, err := owner.RegisterDevice(t.Context(), desk, alice.key)
	wantCode(t, "another key for an id", err, schemas.Code_deviceExists)

	for who, c := range map[string]*client.Conn{"owner": owner, "other": other} {
		list, err := c.ListDevices(t.Context(), alice.public())
		if err != nil || len(list) != 2 {
			t.Fatalf("%s: %d devices, %v", who, len(list), err)
		}
		name := ""
		if who == "owner" {
			name = "new phone"
		}
		if got := list[0]; got.ID != phone.ID || got.Name != name || !bytes.Equal(got.Key, phone.Key) || time.Since(got.Registered) > time.Minute {
			t.Errorf("%s sees %+v", who, got)
		}
		if got := list[1]; got.ID != desk.ID || got.Key != nil {
			t.Errorf("%s sees %+v", who, got)
		}
	}
	_, err = other.ListDevices(t.Context(), client.AccountKey{9})
	wantCode(t, "the devices of nobody", err, schemas.Code_accountNotFound)
}

// A key is a device's only with the account's signature over it.
func TestDeviceRefused(t *testing.T) {
	d := openAccounts(t)
	alice := d.register(t, "alice")
	token := d.login(t, alice.as()).Session().Token
	qc := d.dial(t)
	id, deviceKey := bytes.Repeat([]byte{1}, 16), newKey(t)
	key := deviceKey.Public().(ed25519.PublicKey)
	good := func(id, key []byte, by ed25519.PrivateKey) []byte {
		signature, err := identity.Device(alice.public(), [16]byte(id), [32]byte(key)).Sign(by)
		must(t, err)
		return signature
	}
	small := append([]byte{1}, make([]byte, 31)...) // the identity point
	before := d.node.digest()
	for _, c := range []struct {
		what           string
		id             []byte
		name           string
		key, signature []byte
		want           schemas.Code
	}{
		{"no id", nil, "", nil, nil, schemas.Code_keyLength},
		{"a short id", id[:15], "", nil, nil, schemas.Code_keyLength},
		{"a long name", id, strings.Repeat("x", 129), nil, nil, schemas.Code_textTooLong},
		{"a short key", id, "", key[:31], good(id, key, alice.key), schemas.Code_keyLength},
		{"a key without a signature", id, "", key, nil, schemas.Code_signatureInvalid},
		{"a signature without a key", id, "", nil, good(id, key, alice.key), schemas.Code_signatureInvalid},
		{"a key that signed itself", id, "", key, good(id, key, deviceKey), schemas.Code_signatureInvalid},
		{"a signature for another id", id, "", key, good(bytes.Repeat([]byte{2}, 16), key, alice.key), schemas.Code_signatureInvalid},
		{"a short signature", id, "", key, good(id, key, alice.key)[:63], schemas.Code_signatureInvalid},
		{"a key for which anybody can sign", id, "", small, good(id, small, alice.key), schemas.Code_signatureInvalid},
	} {
		got := callRaw(t, qc, 24, nil, schemas.NewRegisterDeviceParams, func(p schemas.RegisterDeviceParams) error {
			auth, err := p.NewAuth()
			must(t, err)
			bearer(t, token[:])(auth)
			must(t, p.SetDeviceId(c.id))
			must(t, p.SetDeviceName(c.name))
			must(t, p.SetDeviceKey(c.key))
			return p.SetSignature(c.signature)
		}).failure.code
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
	if d.node.digest() != before {
		t.Error("a refused device has written something")
	}
}

// An account has so many devices and no more; a revoked one makes room, and its
// sessions end.
func TestDeviceLimit(t *testing.T) {
	d := openAccounts(t)
	d.node.set(t, "device_max", 3)
	alice := d.register(t, "alice")
	c := d.login(t, alice.as())
	for i := range byte(3) {
		if _, err := c.RegisterDevice(t.Context(), client.Device{ID: client.DeviceID{i + 1}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.RegisterDevice(t.Context(), client.Device{ID: client.DeviceID{9}}, nil)
	wantCode(t, "a device more", err, schemas.Code_deviceLimit)
	who := alice.as()
	who.Device = client.DeviceID{2}
	ofDevice := d.login(t, who)
	if me, err := ofDevice.Whoami(t.Context()); err != nil || me.Device != who.Device {
		t.Fatalf("a device's session is of %x, %v", me.Device, err)
	}
	if err := c.RevokeDevice(t.Context(), who.Device, alice.key); err != nil {
		t.Fatal(err)
	}
	_, err = ofDevice.Whoami(t.Context())
	wantCode(t, "a revoked device's session", err, schemas.Code_tokenInvalid)
	wantCode(t, "revoke it again", c.RevokeDevice(t.Context(), who.Device, alice.key), schemas.Code_deviceNotFound)
	if _, err := c.RegisterDevice(t.Context(), client.Device{ID: client.DeviceID{9}}, nil); err != nil {
		t.Errorf("in the place of the revoked device: %v", err)
	}
}

// Endpoints are published for the caller's own account, for a while, and can be
// withdrawn.
func TestEndpoints(t *testing.T) {
	d := openAccounts(t)
	alice, bob := d.register(t, "alice"), d.register(t, "bob")
	c, other := d.login(t, alice.as()), d.login(t, bob.as())
	if err := c.PublishEndpoint(t.Context(), []byte("here"), time.Minute); err != nil {
		t.Fatal(err)
	}
	list, err := other.ResolveEndpoint(t.Context(), alice.public())
	if err != nil || len(list) != 1 || string(list[0].Address) != "here" || time.Until(list[0].Expires) > time.Minute {
		t.Errorf("resolves to %+v, %v", list, err)
	}
	wantCode(t, "for two days", c.PublishEndpoint(t.Context(), []byte("x"), 48*time.Hour), schemas.Code_ttlTooLarge)
	wantCode(t, "of 513 bytes", c.PublishEndpoint(t.Context(), make([]byte, 513), 0), schemas.Code_textTooLong)
	_, err = other.ResolveEndpoint(t.Context(), client.AccountKey{9})
	wantCode(t, "of nobody", err, schemas.Code_accountNotFound)
	theirs := *other.Session()
	theirs.Account = alice.public()
	other.SetSession(&theirs)
	wantCode(t, "for somebody else", other.PublishEndpoint(t.Context(), []byte("x"), 0), schemas.Code_identityMismatch)
	if err := c.PublishEndpoint(t.Context(), nil, 0); err != nil {
		t.Fatal(err)
	}
	if list, err := c.ResolveEndpoint(t.Context(), alice.public()); err != nil || len(list) != 0 {
		t.Errorf("a withdrawn endpoint resolves to %+v, %v", list, err)
	}
}

// An endpoint is not told when its time is over, be the row still there.
func TestEndpointsEnd(t *testing.T) {
	d := openAccounts(t)
	d.node.setSkew(-5 * time.Minute) // the log is behind the node's clock
	alice := d.register(t, "alice")
	c := d.login(t, alice.as())
	if err := c.PublishEndpoint(t.Context(), []byte("here"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if list, err := c.ResolveEndpoint(t.Context(), alice.public()); err != nil || len(list) != 0 {
		t.Errorf("an endpoint that is over resolves to %+v, %v", list, err)
	}
}
