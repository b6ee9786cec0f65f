package vault

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/zalando/go-keyring"
	"golang.org/x/crypto/argon2"
)

// Key unlocks a vault: it wraps and unwraps the data key that encrypts it. A Key
// serves one call of this package, which forgets the secret when it is done.
// Import uses it twice, for the backup and for the vault that it makes.
type Key interface {
	// wrap makes a key file in which the data key is wrapped anew.
	wrap(dataKey []byte) (keyFile, error)
	// unwrap returns the data key of a key file.
	unwrap(keyFile) ([]byte, error)
	// forget overwrites the secret.
	forget()
}

// Argon2id as in RFC 9106 §4, second recommendation, but for the passes that it
// allows to raise: 64 MiB, so that it runs on small machines.
const (
	argon2Time   = 3
	argon2Memory = 64 << 10 // KiB
	argon2Lanes  = 4
)

// rawKeySize is the length of a secret that is random.
const rawKeySize = 32

var errKeyUsed = errors.New("no passphrase: a Key serves one call and can't be empty")

// Passphrase is a key that people remember; the data key is wrapped under its
// Argon2id. It takes p over: the vault overwrites it after use. The bytes count as
// they are, so the caller normalizes what was typed.
func Passphrase(p []byte) Key { return &passphraseKey{p} }

type passphraseKey struct{ passphrase []byte }

func (k *passphraseKey) wrap(dataKey []byte) (keyFile, error) {
	p := &argon2Params{Time: argon2Time, Memory: argon2Memory, Lanes: argon2Lanes, Salt: make([]byte, saltSize)}
	_, _ = rand.Read(p.Salt) // never fails
	secret, err := k.stretch(p)
	if err != nil {
		return keyFile{}, err
	}
	defer clear(secret)
	return keyFile{Kind: kindPassphrase, Argon2id: p}.wrap(secret, dataKey)
}

func (k *passphraseKey) unwrap(f keyFile) ([]byte, error) {
	if f.Kind != kindPassphrase {
		return nil, otherKind(f)
	}
	secret, err := k.stretch(f.Argon2id)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	return f.unwrap(secret)
}

func (k *passphraseKey) stretch(p *argon2Params) ([]byte, error) {
	if len(k.passphrase) == 0 {
		return nil, errKeyUsed
	}
	return argon2.IDKey(k.passphrase, p.Salt, p.Time, p.Memory, p.Lanes, rawKeySize), nil
}

func (k *passphraseKey) forget() {
	clear(k.passphrase)
	k.passphrase = nil
}

// Keyring is a random key that the operating system keeps for the user: Secret
// Service on Linux, Keychain on macOS, Credential Manager on Windows. An item that
// exists is used, never replaced: other vaults may hang on it.
func Keyring(service, user string) Key { return keyringKey{keyringItem{service, user}} }

type keyringKey struct{ item keyringItem }

func (k keyringKey) wrap(dataKey []byte) (keyFile, error) {
	if !k.item.wellFormed() {
		return keyFile{}, fmt.Errorf("%w: names of an item have 1 to %d bytes of UTF-8", ErrKeyring, maxKeyringName)
	}
	secret, err := k.item.secret()
	if errors.Is(err, keyring.ErrNotFound) {
		secret, err = k.item.newSecret()
	}
	if err != nil {
		return keyFile{}, err
	}
	defer clear(secret)
	return keyFile{Kind: kindKeyring, Keyring: &k.item}.wrap(secret, dataKey)
}

func (k keyringKey) unwrap(f keyFile) ([]byte, error) {
	if f.Kind != kindKeyring {
		return nil, otherKind(f)
	}
	if *f.Keyring != k.item {
		return nil, fmt.Errorf("%w: its secret is in the keyring under %q, %q", ErrWrongKey, f.Keyring.Service, f.Keyring.User)
	}
	secret, err := k.item.secret()
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	return f.unwrap(secret)
}

func (k keyringKey) forget() {}

func (i keyringItem) secret() ([]byte, error) {
	text, err := keyring.Get(i.Service, i.User)
	if err != nil {
		return nil, fmt.Errorf("%w: %q, %q: %w", ErrKeyring, i.Service, i.User, err)
	}
	secret, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(secret) != rawKeySize {
		// The decoder's error would quote from the secret.
		return nil, fmt.Errorf("%w: the item %q, %q is not a vault's", ErrKeyring, i.Service, i.User)
	}
	return secret, nil
}

func (i keyringItem) newSecret() ([]byte, error) {
	secret := make([]byte, rawKeySize)
	_, _ = rand.Read(secret) // never fails
	if err := keyring.Set(i.Service, i.User, base64.RawStdEncoding.EncodeToString(secret)); err != nil {
		return nil, fmt.Errorf("%w: %q, %q: %w", ErrKeyring, i.Service, i.User, err)
	}
	return secret, nil
}

// Raw is 32 random bytes that the caller keeps: a program with a key store of its
// own, or a test that can't wait for Argon2id. It takes secret over.
func Raw(secret []byte) Key { return &rawKey{secret} }

var errRawKey = fmt.Errorf("a raw key of the vault has %d bytes and serves one call", rawKeySize)

type rawKey struct{ secret []byte }

func (k *rawKey) wrap(dataKey []byte) (keyFile, error) {
	if len(k.secret) != rawKeySize {
		return keyFile{}, errRawKey
	}
	return keyFile{Kind: kindRaw}.wrap(k.secret, dataKey)
}

func (k *rawKey) unwrap(f keyFile) ([]byte, error) {
	if f.Kind != kindRaw {
		return nil, otherKind(f)
	}
	if len(k.secret) != rawKeySize {
		return nil, errRawKey
	}
	return f.unwrap(k.secret)
}

func (k *rawKey) forget() {
	clear(k.secret)
	k.secret = nil
}

// Format keeps the passphrase out of logs.
func (k *passphraseKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// Format keeps the secret out of logs.
func (k *rawKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

func otherKind(f keyFile) error {
	return fmt.Errorf("%w: it is unlocked by another kind of key: %s", ErrWrongKey, f.Kind)
}
