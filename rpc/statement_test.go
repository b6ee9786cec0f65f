package rpc

import (
	"crypto/ed25519"
	"testing"
	"time"

	client "quicproquo/client/conn"
	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// A username that mixes scripts, or that looks like another one, is refused when it is
// registered, with the code that says why; what PRECIS makes one name is taken.
func TestLookalikeNamesAreRefused(t *testing.T) {
	d := openAccounts(t)
	d.node.set(t, fsm.SettingFeatureLevel, 2)
	for _, name := range []string{"paypal", "bob", "josé", "modern", "борис"} {
		d.register(t, name)
	}
	for name, want := range map[string]schemas.Code{
		"раураӏ":       schemas.Code_usernameConfusable, // Cyrillic throughout
		"рaypal":       schemas.Code_usernameMixed,
		"PAYPA1":       schemas.Code_usernameConfusable,
		"b0b":          schemas.Code_usernameConfusable,
		"rnodern":      schemas.Code_usernameConfusable,
		"ｂｏｂ":          schemas.Code_usernameTaken, // fullwidth
		"jose\u0301":   schemas.Code_usernameTaken, // a combining accent
		"boри\u0441":   schemas.Code_usernameMixed,
		"b\u03bfb":     schemas.Code_usernameMixed, // Greek omicron
		"bobby":        schemas.Code_ok,
		"jose":         schemas.Code_ok,
		"γιώργος":      schemas.Code_ok,
		"борисов":      schemas.Code_ok,
		"somebody-new": schemas.Code_ok,
	} {
		_, err := d.client(t).Register(t.Context(), name, []byte("x"), newKey(t))
		wantCode(t, "register "+name, err, want)
	}
}

// What an account has said of its devices and of its own end reaches whoever asks, and
// verifies with the account's key alone; a session without that key can't say it.
func TestStatementsReachOthers(t *testing.T) {
	d := openAccounts(t)
	d.node.set(t, fsm.SettingFeatureLevel, 2)
	alice, bob, eve := d.register(t, "alice"), d.register(t, "bob"), newKey(t)
	owner, other := d.login(t, alice.as()), d.login(t, bob.as())
	phone, desk := client.DeviceID{1}, client.DeviceID{2}
	for _, id := range []client.DeviceID{phone, desk} {
		_, err := owner.RegisterDevice(t.Context(), client.Device{ID: id, Key: newKey(t).Public().(ed25519.PublicKey)}, alice.key)
		must(t, err)
	}
	wantCode(t, "revoke by another key", owner.RevokeDevice(t.Context(), phone, eve), schemas.Code_signatureInvalid)
	wantCode(t, "delete by another key", owner.DeleteAccount(t.Context(), eve), schemas.Code_signatureInvalid)
	_, err := owner.ChangePassword(t.Context(), "alice", []byte("right"), []byte("new"), eve)
	wantCode(t, "change the password by another key", err, schemas.Code_signatureInvalid)
	devices, revoked, deleted, err := other.DeviceStatements(t.Context(), alice.public())
	if err != nil || len(devices) != 2 || len(revoked) != 0 || deleted != nil {
		t.Fatalf("after what was refused: %d devices, %d revoked, %v, %v; want both devices", len(devices), len(revoked), deleted, err)
	}

	must(t, owner.RevokeDevice(t.Context(), phone, alice.key))
	devices, revoked, deleted, err = other.DeviceStatements(t.Context(), alice.public())
	if err != nil || len(devices) != 1 || devices[0].ID != desk || len(revoked) != 1 || deleted != nil {
		t.Fatalf("after a revocation: %+v, %+v, %v, %v; want the desk, and the phone revoked", devices, revoked, deleted, err)
	}
	got := revoked[0]
	said := identity.RevokeDevice(alice.public(), got.Device, uint64(got.Signed.UnixMilli()))
	if key := alice.public(); got.Device != phone || time.Since(got.Signed) > time.Minute || !said.Verify(key[:], got.Signature) {
		t.Errorf("the revocation is %+v", got)
	}
	if list, err := other.ListDevices(t.Context(), alice.public()); err != nil || len(list) != 1 {
		t.Errorf("listDevices: %+v, %v", list, err)
	}
	_, err = owner.RegisterDevice(t.Context(), client.Device{ID: phone}, nil)
	wantCode(t, "the id again", err, schemas.Code_deviceExists)

	must(t, owner.DeleteAccount(t.Context(), alice.key))
	devices, revoked, deleted, err = other.DeviceStatements(t.Context(), alice.public())
	if err != nil || len(devices)+len(revoked) != 0 || deleted == nil {
		t.Fatalf("after the account's end: %+v, %+v, %v, %v; want its own word", devices, revoked, deleted, err)
	}
	end := identity.DeleteAccount(alice.public(), uint64(deleted.Signed.UnixMilli()))
	if key := alice.public(); !end.Verify(key[:], deleted.Signature) {
		t.Errorf("the end does not verify: %+v", deleted)
	}
	_, err = other.ListDevices(t.Context(), alice.public())
	wantCode(t, "listDevices of an account that has ended", err, schemas.Code_accountNotFound)
	_, _, deleted, err = other.DeviceStatements(t.Context(), client.AccountKey{9})
	if deleted != nil {
		t.Error("an account that never was has ended")
	}
	wantCode(t, "of an account that never was", err, schemas.Code_accountNotFound)
}
