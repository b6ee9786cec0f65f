package account

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// A setup survives being wrapped and unwrapped, in every version.
func TestWrapRoundTrip(t *testing.T) {
	setup := NewSetup()
	for version := uint32(1); version <= 3; version++ {
		wrapped := setup.Wrap([32]byte{1})
		if len(wrapped) != WrappedSetupSize {
			t.Errorf("wrapped setup has %d bytes, want %d", len(wrapped), WrappedSetupSize)
		}
		if got := must(WrappedVersion(wrapped))(t); got != version || setup.Version() != version {
			t.Errorf("version is %d outside and %d inside, want %d", got, setup.Version(), version)
		}
		if got := must(Unwrap([32]byte{1}, wrapped))(t); *got != *setup {
			t.Error("the setup came back changed")
		}
		setup = setup.Rotate()
	}
}

// Nothing of a wrapped setup opens without the key, and no bit can be changed:
// neither the version nor the rest.
func TestUnwrapRefuses(t *testing.T) {
	kek := [32]byte{1}
	wrapped := NewSetup().Rotate().Wrap(kek)
	refused := func(what string, kek [32]byte, b []byte) {
		t.Helper()
		if s, err := Unwrap(kek, b); !errors.Is(err, ErrSetup) || s != nil {
			t.Errorf("%s: got %v, want %v", what, err, ErrSetup)
		}
	}
	refused("another key", [32]byte{2}, wrapped)
	for i := range wrapped {
		refused(fmt.Sprintf("byte %d changed", i), kek, overwrite(wrapped, i, []byte{wrapped[i] ^ 1}))
		refused(fmt.Sprintf("cut to %d bytes", i), kek, wrapped[:i])
	}
	refused("a byte more", kek, append(bytes.Clone(wrapped), 0))
	header := append([]byte(wrapMagic), wrapFormat, 0, 0, 0, 9)
	refused("version 9 outside, 1 inside", kek, sealRandom(wrapAEAD(kek), header, NewSetup().encode()))
}

// Two wraps of one setup have nothing in common, and none holds a secret.
func TestWrapHidesSecrets(t *testing.T) {
	setup := NewSetup().Rotate()
	a, b := setup.Wrap([32]byte{1}), setup.Wrap([32]byte{1})
	if bytes.Equal(a[wrapHeader:wrapHeader+24], b[wrapHeader:wrapHeader+24]) {
		t.Error("two wraps have the same nonce")
	}
	for i, field := range setup.fields() {
		if bytes.Contains(a, field[:8]) {
			t.Errorf("field %d is readable in the wrapped setup", i)
		}
	}
}

// Rotation changes the handshake key, keeps the one before, and nothing else:
// whatever records and answers depend on stays.
func TestRotate(t *testing.T) {
	one := NewSetup()
	two := one.Rotate()
	if two.previous != one.handshake || two.handshake == one.handshake {
		t.Error("the new setup does not hold a new and the previous handshake key")
	}
	same := *two
	same.version, same.handshake, same.previous = one.version, one.handshake, one.previous
	if same != *one {
		t.Error("rotation changed more than the handshake keys")
	}
}

// Encodings that NewSetup and Rotate cannot have made are refused, also by the
// right key.
func TestDecodeSetupRefuses(t *testing.T) {
	encoded := NewSetup().encode()
	for _, c := range []struct {
		what string
		b    []byte
	}{
		{"empty", nil},
		{"other magic", overwrite(encoded, 0, []byte("xxxx"))},
		{"newer format", overwrite(encoded, 4, []byte{2})},
		{"other suite", overwrite(encoded, 5, []byte{2})},
		{"version 0", overwrite(encoded, 6, []byte{0, 0, 0, 0})},
		{"version 2 without a previous key", overwrite(encoded, 6, []byte{0, 0, 0, 2})},
		{"no AKE seed", overwrite(encoded, 10, make([]byte, nok))},
		{"no OPRF seed", overwrite(encoded, 42, make([]byte, nh))},
		{"damaged fake record", overwrite(encoded, 138, bytes.Repeat([]byte{0xff}, 32))},
		{"short", encoded[:len(encoded)-1]},
		{"long", append(bytes.Clone(encoded), 0)},
	} {
		if _, err := decodeSetup(c.b); !errors.Is(err, ErrSetup) {
			t.Errorf("%s: got %v, want %v", c.what, err, ErrSetup)
		}
	}
	if _, err := NewServer(nil); !errors.Is(err, ErrSetup) {
		t.Errorf("no setup: got %v, want %v", err, ErrSetup)
	}
	setup := NewSetup()
	setup.Destroy()
	if _, err := NewServer(setup); !errors.Is(err, ErrSetup) {
		t.Errorf("destroyed setup: got %v, want %v", err, ErrSetup)
	}
}

// The encoding of version 1 of the format does not change: a setup written by
// an older program has the identifiers, the key and the bytes it always had.
func TestSetupEncodingIsFixed(t *testing.T) {
	setup := &Setup{version: 2}
	for i, field := range setup.fields() {
		copy(field, bytes.Repeat([]byte{byte(i + 1)}, len(field)))
	}
	copy(setup.fake[:], fixedElement(t))
	decoded := must(decodeSetup(setup.encode()))(t)
	id := decoded.credentialID(name(t, "alice"))
	public := decoded.serverKey().public
	for _, c := range []struct{ what, got, want string }{
		{"header", hex.EncodeToString(setup.encode()[:12]), "7170714f0101000000020101"},
		{"credential identifier", string(id[:]), goldenCredentialID},
		{"public key", hex.EncodeToString(public[:]), goldenPublicKey},
	} {
		if c.got != c.want {
			t.Errorf("%s is %s, want %s", c.what, c.got, c.want)
		}
	}
}

const (
	goldenCredentialID = "NlcVF7_X5wD21vitucTx3jHjhxc_wFmkSJ1cM0A2B8c"
	goldenPublicKey    = "561abf53b706c3c169ac33df49cc188c91a45339e10165bef3297c843741a34b"
)

// fixedElement is the generator's encoding, RFC 9496 Appendix A.1.
func fixedElement(t *testing.T) []byte {
	t.Helper()
	return unhex(t, "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")
}

// No verb, log handler or encoder prints a byte of a secret.
func TestSecretsDoNotPrint(t *testing.T) {
	setup := NewSetup()
	server := must(NewServer(setup))(t)
	registration, _, err := StartRegistration(name(t, "alice"), []byte("a very secret password"))
	if err != nil {
		t.Fatal(err)
	}
	attempt, _, err := StartLogin(name(t, "alice"), []byte("a very secret password"))
	if err != nil {
		t.Fatal(err)
	}
	defer registration.Close()
	defer attempt.Close()
	for _, v := range []any{setup, *setup, server, *server, Key{1, 2, 3}, &Key{1}, Token{1, 2, 3}, &Token{1}, registration, *registration, attempt, *attempt} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
			if got := fmt.Sprintf(verb, v); got != redacted {
				t.Errorf("%T prints as %s with %s, want %s", v, got, verb, redacted)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("secret", v))
		if got := strings.TrimSpace(log.String()); !strings.HasSuffix(got, "secret="+redacted) {
			t.Errorf("%T logs as %s, want secret=%s", v, got, redacted)
		}
		if b, err := json.Marshal(v); err != nil || (string(b) != `"`+redacted+`"` && string(b) != "{}") {
			t.Errorf("%T is %s in JSON (%v), want %s", v, b, err, redacted)
		}
	}
}
