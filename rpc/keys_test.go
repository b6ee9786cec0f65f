package rpc

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	client "quicproquo/client/conn"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
	"quicproquo/schemas"
)

// keySuite is the default suite: X25519+ML-KEM-768 with Ed25519 signatures.
const keySuite = suite.ID(0x004F)

// packageOf makes a key package that a key signs.
func packageOf(tb testing.TB, id suite.ID, key ed25519.PrivateKey, opt mls.KeyPackageOptions) []byte {
	tb.Helper()
	s, err := suite.Lookup(id)
	must(tb, err)
	signer, err := s.NewSigner(suite.Secret(key.Seed()))
	must(tb, err)
	who := &mls.Identity{Signer: signer, Credential: tree.BasicCredential([]byte("who"))}
	kp, err := who.NewKeyPackage(time.Now(), opt)
	must(tb, err)
	return kp.Message()
}

// life is a lifetime around now.
func life(from, to time.Duration) mls.KeyPackageOptions {
	now := time.Now()
	return mls.KeyPackageOptions{Lifetime: tree.Lifetime{
		NotBefore: uint64(now.Add(from).Unix()), NotAfter: uint64(now.Add(to).Unix()),
	}}
}

// Key packages go from an owner to whoever asks, the oldest first; the last-resort
// one stays. Responses say when more are due.
func TestKeyPackagesAreHandedOut(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.register(t, "ann"), d.register(t, "bob")
	owner, taker := d.login(t, ann.as()), d.login(t, bob.as())
	one, two := packageOf(t, keySuite, ann.key, mls.KeyPackageOptions{}), packageOf(t, 1, ann.key, mls.KeyPackageOptions{})
	last := packageOf(t, keySuite, ann.key, mls.KeyPackageOptions{LastResort: true})
	remaining, low, err := owner.UploadKeyPackages(t.Context(), [][]byte{one, two}, last)
	if err != nil || remaining != 2 || !low {
		t.Fatalf("upload: %d waiting, low %v, %v; want 2, low", remaining, low, err)
	}
	if k, err := owner.KeyPackageCount(t.Context()); err != nil || k != (client.KeyPackages{Remaining: 2, HasLastResort: true, Low: true}) {
		t.Errorf("count: %+v, %v", k, err)
	}
	for i, want := range [][]byte{one, two, last, last} {
		list, err := taker.FetchKeyPackages(t.Context(), ann.public(), client.DeviceID{}, nil)
		if err != nil || len(list) != 1 || !bytes.Equal(list[0].Package, want) || list[0].LastResort != (i > 1) {
			t.Fatalf("claim %d: %d packages, %v; want one, the right one", i, len(list), err)
		}
	}
	// The same request gets the same answer, though nothing else is left.
	id := newRequestID()
	fresh := packageOf(t, keySuite, ann.key, mls.KeyPackageOptions{})
	_, _, err = owner.UploadKeyPackages(t.Context(), [][]byte{fresh}, nil)
	must(t, err)
	for range 2 {
		list, err := taker.FetchKeyPackages(t.Context(), ann.public(), client.DeviceID{}, id)
		if err != nil || len(list) != 1 || !bytes.Equal(list[0].Package, fresh) {
			t.Fatalf("repeated claim: %v, %v", list, err)
		}
	}
	_, _, err = owner.UploadKeyPackages(t.Context(), [][]byte{fresh}, nil)
	wantCode(t, "a used package", err, schemas.Code_keyPackageUsed)
	_, err = taker.FetchKeyPackages(t.Context(), bob.public(), client.DeviceID{9}, nil)
	wantCode(t, "an unknown device", err, schemas.Code_deviceNotFound)
}

// What would be of no use to a taker is refused at the door, with the reason.
func TestBadKeyPackages(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.register(t, "ann"), d.register(t, "bob")
	owner := d.login(t, ann.as())
	good := packageOf(t, keySuite, ann.key, mls.KeyPackageOptions{})
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	const longest = schemas.MaxKeyPackageDays * 24 * time.Hour
	before := d.node.digest()
	for _, c := range []struct {
		name       string
		data, last []byte
		want       schemas.Code
		says       string
	}{
		{name: "empty", data: []byte{}, want: schemas.Code_payloadEmpty},
		{name: "too large", data: make([]byte, schemas.MaxKeyPackage+1), want: schemas.Code_payloadTooLarge},
		{name: "noise", data: []byte("no package"), want: schemas.Code_keyPackageInvalid, says: "neither"},
		{name: "cut", data: good[:len(good)-1], want: schemas.Code_keyPackageInvalid, says: "neither"},
		{name: "longer", data: append(bytes.Clone(good), 0), want: schemas.Code_keyPackageInvalid, says: "neither"},
		{name: "flipped bit", data: flipped, want: schemas.Code_keyPackageInvalid, says: "rule"},
		{name: "another's", data: packageOf(t, keySuite, bob.key, mls.KeyPackageOptions{}), want: schemas.Code_keyPackageInvalid, says: "signature key"},
		{name: "ended", data: packageOf(t, keySuite, ann.key, life(-2*time.Hour, -time.Hour)), want: schemas.Code_keyPackageInvalid, says: "ended"},
		{name: "not begun", data: packageOf(t, keySuite, ann.key, life(time.Hour, 2*time.Hour)), want: schemas.Code_keyPackageInvalid, says: "begun"},
		{name: "for years", data: packageOf(t, keySuite, ann.key, life(-time.Hour, 400*24*time.Hour)), want: schemas.Code_keyPackageInvalid, says: "longer"},
		{name: "a second too long", data: packageOf(t, keySuite, ann.key, life(-time.Hour, longest-time.Hour+time.Second)), want: schemas.Code_keyPackageInvalid, says: "longer"},
		{name: "an unmarked last resort", last: good, want: schemas.Code_keyPackageInvalid, says: "marked"},
	} {
		var list [][]byte
		if c.data != nil {
			list = [][]byte{c.data}
		}
		_, _, err := owner.UploadKeyPackages(t.Context(), list, c.last)
		wantCode(t, c.name, err, c.want)
		if e, ok := errors.AsType[*client.Error](err); ok && !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: the message %q does not say %q", c.name, e.Message, c.says)
		}
	}
	if d.node.digest() != before {
		t.Error("refused packages changed the store")
	}
	if _, _, err := owner.UploadKeyPackages(t.Context(), [][]byte{packageOf(t, keySuite, ann.key, life(-time.Hour, longest-time.Hour))}, nil); err != nil {
		t.Errorf("a package with the longest lifetime: %v", err)
	}
	// The bare struct is as good as the message around it: the version and the wire
	// format come before.
	if _, _, err := owner.UploadKeyPackages(t.Context(), [][]byte{good[4:]}, nil); err != nil {
		t.Errorf("a bare KeyPackage: %v", err)
	}
}

// The two calls of the original contract do the same as the newer ones.
func TestSingleKeyPackageCalls(t *testing.T) {
	d := openAccounts(t)
	ann := d.register(t, "ann")
	owner, qc := d.login(t, ann.as()), d.dial(t)
	session := owner.Session()
	auth := func(a schemas.Auth, err error) error {
		a.SetVersion(schemas.AuthVersion)
		return errors.Join(err, a.SetAccessToken(session.Token[:]))
	}
	data, key := packageOf(t, keySuite, ann.key, mls.KeyPackageOptions{}), ann.public()
	up := callRaw(t, qc, 0, nil, schemas.NewUploadKeyPackageParams, func(p schemas.UploadKeyPackageParams) error {
		return errors.Join(p.SetIdentityKey(key[:]), p.SetPackage(data), auth(p.NewAuth()))
	})
	if up.failure.code != schemas.Code_ok {
		t.Fatalf("uploadKeyPackage: %s", up.failure.code.ID())
	}
	fingerprint, err := schemas.UploadKeyPackageResults(up.results).Fingerprint()
	if err != nil || len(fingerprint) != 32 {
		t.Errorf("fingerprint of %d bytes, %v; want 32", len(fingerprint), err)
	}
	fetch := func() raw {
		return callRaw(t, qc, 1, nil, schemas.NewFetchKeyPackageParams, func(p schemas.FetchKeyPackageParams) error {
			return errors.Join(p.SetIdentityKey(key[:]), auth(p.NewAuth()))
		})
	}
	got, err := schemas.FetchKeyPackageResults(fetch().results).Package()
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("fetchKeyPackage returned %d bytes, %v; want the package", len(got), err)
	}
	if again := fetch(); again.failure.code != schemas.Code_keyPackageNone {
		t.Errorf("a second fetch: %s, want %s", again.failure.code.ID(), schemas.Code_keyPackageNone.ID())
	}
}

// Hybrid keys come with a chain of signatures from the account's key, and the
// client library takes no other.
func TestHybridKeys(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.register(t, "ann"), d.register(t, "bob")
	owner, reader := d.login(t, ann.as()), d.login(t, bob.as())
	hybrid := bytes.Repeat([]byte{7}, schemas.HybridKeySize)
	device, deviceKey := client.DeviceID{1}, newKey(t)
	_, err := owner.RegisterDevice(t.Context(), client.Device{ID: device, Key: deviceKey.Public().(ed25519.PublicKey)}, ann.key)
	must(t, err)

	keys, err := reader.FetchHybridKeys(t.Context(), ann.public(), client.AccountKey{9})
	if err != nil || len(keys) != 1 || client.CodeOf(keys[0].Err) != schemas.Code_hybridKeyNone {
		t.Fatalf("before any upload: %+v, %v", keys, err)
	}
	on := ann.as()
	on.Device, on.Key = device, deviceKey
	phone := d.login(t, on)
	must(t, phone.UploadHybridKey(t.Context(), hybrid, deviceKey))
	wantCode(t, "the wrong signer", phone.UploadHybridKey(t.Context(), hybrid, ann.key), schemas.Code_signatureInvalid)
	wantCode(t, "a short key", phone.UploadHybridKey(t.Context(), hybrid[1:], deviceKey), schemas.Code_hybridKeyLength)
	keys, err = reader.FetchHybridKeys(t.Context(), ann.public())
	if err != nil || len(keys) != 1 || keys[0].Err != nil || keys[0].Device != device || !bytes.Equal(keys[0].Public, hybrid) {
		t.Errorf("after the upload: %+v, %v", keys, err)
	}
	// A key without a signature may be uploaded, as in the original contract, but
	// nobody who checks uses it.
	must(t, unsignedHybrid(owner, hybrid))
	keys, err = reader.FetchHybridKeys(t.Context(), ann.public())
	if err != nil || len(keys) != 2 || !errors.Is(keys[0].Err, client.ErrUnsigned) || keys[0].Public != nil {
		t.Errorf("an unsigned key: %+v, %v", keys, err)
	}
}

// unsignedHybrid uploads a hybrid key as the original contract has it.
func unsignedHybrid(c *client.Conn, hybrid []byte) error {
	s := c.Session()
	return client.CallAs(context.Background(), c, client.Request{Method: 6, Write: true}, schemas.NewUploadHybridKeyParams,
		func(p schemas.UploadHybridKeyParams) error {
			return errors.Join(p.SetIdentityKey(s.Account[:]), p.SetHybridPublicKey(hybrid))
		},
		func(schemas.UploadHybridKeyResults) error { return nil })
}

// Each device has a pool and a key of its own: packages that the account's key
// signs are none of a device that has a key. Who asks for one gets the oldest of
// all devices, who asks for all gets one of each.
func TestKeyPackagesOfDevices(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.register(t, "ann"), d.register(t, "bob")
	owner, taker := d.login(t, ann.as()), d.login(t, bob.as())
	desk, phone, deskKey := client.DeviceID{1}, client.DeviceID{2}, newKey(t)
	_, err := owner.RegisterDevice(t.Context(), client.Device{ID: desk, Key: deskKey.Public().(ed25519.PublicKey)}, ann.key)
	must(t, err)
	_, err = owner.RegisterDevice(t.Context(), client.Device{ID: phone}, ann.key)
	must(t, err)
	on := func(device client.DeviceID, key ed25519.PrivateKey) *client.Conn {
		as := ann.as()
		as.Device, as.Key = device, key
		return d.login(t, as)
	}
	onDesk, onPhone := on(desk, deskKey), on(phone, ann.key)
	first, second := packageOf(t, 1, deskKey, mls.KeyPackageOptions{}), packageOf(t, 1, ann.key, mls.KeyPackageOptions{})
	third := packageOf(t, 1, deskKey, mls.KeyPackageOptions{})
	for i, up := range []struct {
		by   *client.Conn
		data []byte
		want schemas.Code
	}{
		{onDesk, first, schemas.Code_ok},
		{onPhone, second, schemas.Code_ok},
		{onDesk, third, schemas.Code_ok},
		{onDesk, packageOf(t, 1, ann.key, mls.KeyPackageOptions{}), schemas.Code_keyPackageInvalid},
		{onPhone, packageOf(t, 1, deskKey, mls.KeyPackageOptions{}), schemas.Code_keyPackageInvalid},
	} {
		_, _, err := up.by.UploadKeyPackages(t.Context(), [][]byte{up.data}, nil)
		wantCode(t, fmt.Sprint("upload ", i), err, up.want)
	}
	one, err := taker.FetchKeyPackage(t.Context(), ann.public(), client.DeviceID{}, nil)
	if err != nil || one.Device != desk || !bytes.Equal(one.Package, first) {
		t.Errorf("the oldest of all: of device %x, %v", one.Device[:1], err)
	}
	list, err := taker.FetchKeyPackages(t.Context(), ann.public(), client.DeviceID{}, nil)
	if err != nil || len(list) != 2 || !bytes.Equal(list[0].Package, third) || !bytes.Equal(list[1].Package, second) {
		t.Errorf("one of each: %+v, %v", list, err)
	}
	list, err = taker.FetchKeyPackages(t.Context(), ann.public(), client.DeviceID{}, nil)
	if err != nil || len(list) != 2 || client.CodeOf(list[0].Err) != schemas.Code_keyPackageNone || client.CodeOf(list[1].Err) != schemas.Code_keyPackageNone {
		t.Errorf("when none is left: %+v, %v", list, err)
	}
	_, err = taker.FetchKeyPackage(t.Context(), ann.public(), client.DeviceID{}, nil)
	wantCode(t, "one when none is left", err, schemas.Code_keyPackageNone)
	if k, err := onDesk.KeyPackageCount(t.Context()); err != nil || k.Remaining != 0 || k.HasLastResort {
		t.Errorf("count: %+v, %v", k, err)
	}
	// With the device go its packages.
	_, _, err = onDesk.UploadKeyPackages(t.Context(), [][]byte{packageOf(t, 1, deskKey, mls.KeyPackageOptions{})}, nil)
	must(t, err)
	must(t, owner.RevokeDevice(t.Context(), desk, ann.key))
	_, err = taker.FetchKeyPackage(t.Context(), ann.public(), desk, nil)
	wantCode(t, "of a revoked device", err, schemas.Code_deviceNotFound)
	_, err = taker.FetchKeyPackage(t.Context(), ann.public(), client.DeviceID{}, nil)
	wantCode(t, "after the device was revoked", err, schemas.Code_keyPackageNone)
}

// Nobody drains a stranger: six claims that give something, then a wait that the
// refusal tells; one's own packages are free. Uploads meet limits that say which.
func TestKeyPackageLimits(t *testing.T) {
	d := openAccounts(t)
	ann, bob := d.register(t, "ann"), d.register(t, "bob")
	owner, taker := d.login(t, ann.as()), d.login(t, bob.as())
	fresh := func(n int) (list [][]byte) {
		for range n {
			list = append(list, packageOf(t, 1, ann.key, mls.KeyPackageOptions{}))
		}
		return list
	}
	_, low, err := owner.UploadKeyPackages(t.Context(), fresh(20), nil)
	if err != nil || low {
		t.Errorf("20 packages: low %v, %v", low, err)
	}
	for range 6 {
		_, err := taker.FetchKeyPackage(t.Context(), ann.public(), client.DeviceID{}, nil)
		must(t, err)
	}
	// The client library would wait as long as it is told.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = taker.FetchKeyPackage(ctx, ann.public(), client.DeviceID{}, nil)
	wantCode(t, "the seventh", err, schemas.Code_rateLimited)
	if e, ok := errors.AsType[*client.Error](err); !ok || e.RetryAfter <= 9*time.Minute || e.RetryAfter > 10*time.Minute || e.Value != uint64(e.RetryAfter.Milliseconds()) {
		t.Errorf("the seventh claim's refusal is %+v, want a wait of ten minutes", err)
	}
	for range 7 {
		_, err := owner.FetchKeyPackage(t.Context(), ann.public(), client.DeviceID{}, nil)
		must(t, err)
	}
	if k, err := owner.KeyPackageCount(t.Context()); err != nil || k.Remaining != 7 || !k.Low {
		t.Errorf("count: %+v, %v", k, err)
	}
	d.node.set(t, "key_packages_max", 8)
	_, _, err = owner.UploadKeyPackages(t.Context(), fresh(2), nil)
	wantCode(t, "two where one has room", err, schemas.Code_keyPackageLimit)
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Value != 8 {
		t.Errorf("the limit's refusal is %+v, want 8", err)
	}
	_, _, err = owner.UploadKeyPackages(t.Context(), fresh(1), nil)
	must(t, err)
}
