package conn

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"

	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// hybridAnswer is what a node, honest or not, says of one device.
type hybridAnswer struct {
	account                               AccountKey
	device                                DeviceID
	public                                []byte
	signature, deviceKey, deviceSignature []byte
}

func (a hybridAnswer) list(tb testing.TB) schemas.HybridKey_List {
	tb.Helper()
	_, seg := schemas.NewMessage()
	list, err := schemas.NewHybridKey_List(seg, 1)
	if err != nil {
		tb.Fatal(err)
	}
	to := list.At(0)
	err = errors.Join(to.SetIdentityKey(a.account[:]), to.SetDeviceId(a.device.bytes()), to.SetHybridPublicKey(a.public),
		to.SetSignature(a.signature), to.SetDeviceKey(a.deviceKey), to.SetDeviceSignature(a.deviceSignature))
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

func testKey(tb testing.TB) (ed25519.PrivateKey, [32]byte) {
	tb.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key, [32]byte(public)
}

func signed(tb testing.TB, s identity.Statement, key ed25519.PrivateKey) []byte {
	tb.Helper()
	signature, err := s.Sign(key)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

// A hybrid key counts only if its account's key vouches for it, itself or through
// the device's: whatever else a node answers, the caller gets no key to seal to.
func TestHybridChain(t *testing.T) {
	key, account := testKey(t)
	otherKey, other := testKey(t)
	deviceKey, devicePublic := testKey(t)
	device, hybrid := DeviceID{1}, bytes.Repeat([]byte{7}, schemas.HybridKeySize)
	own := hybridAnswer{account: account, public: hybrid, signature: signed(t, identity.HybridKey(account, nil, hybrid), key)}
	plain := own
	plain.device, plain.signature = device, signed(t, identity.HybridKey(account, device[:], hybrid), key)
	chained := plain
	chained.signature = signed(t, identity.HybridKey(account, device[:], hybrid), deviceKey)
	chained.deviceKey = devicePublic[:]
	chained.deviceSignature = signed(t, identity.Device(account, device, devicePublic), key)

	for _, c := range []struct {
		name string
		from hybridAnswer
		edit func(*hybridAnswer)
		want error
	}{
		{"the account's own", own, nil, nil},
		{"of a device without a key", plain, nil, nil},
		{"of a device with a key", chained, nil, nil},
		{"without signature", own, func(a *hybridAnswer) { a.signature = nil }, ErrUnsigned},
		{"another hybrid key", own, func(a *hybridAnswer) { a.public = make([]byte, schemas.HybridKeySize) }, ErrUnsigned},
		{"signed by another", own, func(a *hybridAnswer) {
			a.signature = signed(t, identity.HybridKey(account, nil, hybrid), otherKey)
		}, ErrUnsigned},
		{"the account's own as a device's", own, func(a *hybridAnswer) { a.device = device }, ErrUnsigned},
		{"a device's as another device's", plain, func(a *hybridAnswer) { a.device = DeviceID{2} }, ErrUnsigned},
		{"without the device's signature", chained, func(a *hybridAnswer) { a.deviceSignature = nil }, ErrUnsigned},
		{"without the device's key", chained, func(a *hybridAnswer) { a.deviceKey = nil }, ErrUnsigned},
		{"a device's key of 31 bytes", chained, func(a *hybridAnswer) { a.deviceKey = devicePublic[1:] }, ErrUnsigned},
		{"a device that another signed", chained, func(a *hybridAnswer) {
			a.deviceSignature = signed(t, identity.Device(account, device, devicePublic), otherKey)
		}, ErrUnsigned},
		{"a device that signed itself", chained, func(a *hybridAnswer) {
			a.deviceSignature = signed(t, identity.Device(account, device, devicePublic), deviceKey)
		}, ErrUnsigned},
		{"the account's signature where the device has a key", chained, func(a *hybridAnswer) { a.signature = plain.signature }, ErrUnsigned},
		{"no key at all", chained, func(a *hybridAnswer) { a.public = nil }, &Error{Code: schemas.Code_hybridKeyNone}},
	} {
		answer := c.from
		if c.edit != nil {
			c.edit(&answer)
		}
		keys, err := hybridsFrom(answer.list(t), []AccountKey{other, account})
		if err != nil || len(keys) != 1 {
			t.Errorf("%s: %v, %v", c.name, keys, err)
			continue
		}
		got := keys[0]
		if !errors.Is(got.Err, c.want) || got.Account != account || got.Device != answer.device {
			t.Errorf("%s: got %+v, want %v", c.name, got, c.want)
		}
		if (got.Public != nil) != (c.want == nil) || c.want == nil && !bytes.Equal(got.Public, hybrid) {
			t.Errorf("%s: a key of %d bytes", c.name, len(got.Public))
		}
		if unsigned := errors.Is(c.want, ErrUnsigned); unsigned != (got.Unsigned != nil) {
			t.Errorf("%s: an unsigned key of %d bytes", c.name, len(got.Unsigned))
		}
	}
}

// A node that answers for somebody else, or with ids of other lengths, is not
// believed at all.
func TestHybridKeysOfOthers(t *testing.T) {
	key, account := testKey(t)
	_, other := testKey(t)
	hybrid := bytes.Repeat([]byte{7}, schemas.HybridKeySize)
	answer := hybridAnswer{account: account, public: hybrid, signature: signed(t, identity.HybridKey(account, nil, hybrid), key)}
	if keys, err := hybridsFrom(answer.list(t), []AccountKey{account}); err != nil || len(keys) != 1 {
		t.Fatalf("asked for: %v, %v", keys, err)
	}
	if keys, err := hybridsFrom(answer.list(t), []AccountKey{other}); err == nil || keys != nil {
		t.Errorf("not asked for: %v, %v", keys, err)
	}
	for what, spoil := range map[string]func(schemas.HybridKey) error{
		"account": func(k schemas.HybridKey) error { return k.SetIdentityKey(account[1:]) },
		"device":  func(k schemas.HybridKey) error { return k.SetDeviceId([]byte{1}) },
	} {
		list := answer.list(t)
		if err := spoil(list.At(0)); err != nil {
			t.Fatal(err)
		}
		if keys, err := hybridsFrom(list, []AccountKey{account}); err == nil {
			t.Errorf("%s of another length: %v", what, keys)
		}
	}
}
