package vault

import (
	"bytes"
	"errors"
	"testing"
)

// Whatever the bytes, parsing a key file ends with a well-formed one or one of two
// errors; what is accepted is bounded and comes back the same.
func FuzzKeyFile(f *testing.F) {
	p := &argon2Params{Time: 1, Memory: 64, Lanes: 4, Salt: make([]byte, saltSize)}
	for _, k := range []keyFile{
		{Kind: kindPassphrase, Argon2id: p},
		{Kind: kindKeyring, Keyring: &keyringItem{"qpq", "alice"}},
		{Kind: kindRaw},
	} {
		file, err := k.wrap(make([]byte, rawKeySize), make([]byte, dataKeySize))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file.encode())
	}
	f.Add([]byte(`{"format":"qpq-vault-key","version":99}`))
	f.Add([]byte(`{"format":"qpq-vault-key","version":1,"kind":"passphrase","argon2id":{"time":4294967295}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := parseKeyFile(raw)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		if p := k.Argon2id; p != nil && (p.Memory > maxArgon2Memory || p.Time > maxArgon2Time || p.Time == 0) {
			t.Fatal("unbounded Argon2id")
		}
		again, err := parseKeyFile(k.encode())
		if err != nil || !bytes.Equal(again.encode(), k.encode()) {
			t.Fatal("does not come back the same:", err)
		}
	})
}

// The key is bound to all that the file says: a file whose parameters were changed,
// and its check made right, does not unwrap.
func TestKeyFileIsAuthenticated(t *testing.T) {
	secret := make([]byte, rawKeySize)
	k, err := keyFile{Kind: kindKeyring, Keyring: &keyringItem{"qpq", "alice"}}.wrap(secret, make([]byte, dataKeySize))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.unwrap(secret); err != nil {
		t.Error(err)
	}
	k.Keyring = &keyringItem{"qpq", "mallory"}
	k, err = parseKeyFile(k.encode())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.unwrap(secret); !errors.Is(err, ErrWrongKey) {
		t.Error(err)
	}
}
