package vault

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	keyFileFormat  = "qpq-vault-key"
	keyFileVersion = 1
	maxKeyFile     = 4096 // bytes; a real one has about 500

	dataKeySize = 32
	saltSize    = 16
	checkSize   = 8

	wrapInfo = "quicproquo vault key v1"
)

// How a data key can be wrapped.
const (
	kindPassphrase = "passphrase"
	kindKeyring    = "keyring"
	kindRaw        = "raw"
)

// keyFile is vault.key: the wrapped data key and how to unwrap it. All of it but
// the wrapped key itself is authenticated along with it.
type keyFile struct {
	Format   string        `json:"format"`
	Version  int           `json:"version"`
	Kind     string        `json:"kind"`
	Argon2id *argon2Params `json:"argon2id,omitempty"`
	Keyring  *keyringItem  `json:"keyring,omitempty"`
	Nonce    []byte        `json:"nonce,omitempty"`
	Wrapped  []byte        `json:"wrapped,omitempty"`
	// Check is the start of the SHA-256 of all the rest. It tells a damaged file
	// from a wrong passphrase.
	Check []byte `json:"check,omitempty"`
}

// argon2Params are the parameters of RFC 9106.
type argon2Params struct {
	Time   uint32 `json:"time"`
	Memory uint32 `json:"memoryKiB"`
	Lanes  uint8  `json:"lanes"`
	Salt   []byte `json:"salt"`
}

// keyringItem is where the operating system keeps the secret.
type keyringItem struct {
	Service string `json:"service"`
	User    string `json:"user"`
}

// Bounds on what a file can ask for before it is known to be genuine.
const (
	maxArgon2Time   = 16
	maxArgon2Memory = 1 << 20 // KiB: 1 GiB
	maxArgon2Lanes  = 16
	maxKeyringName  = 512
)

// parseKeyFile reads a vault.key. What it returns is well formed, not genuine:
// only unwrap finds that out.
func parseKeyFile(raw []byte) (keyFile, error) {
	if len(raw) > maxKeyFile {
		return keyFile{}, fmt.Errorf("%w: vault.key is too long", ErrCorrupt)
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(raw, &head); err != nil || head.Format != keyFileFormat || head.Version < 1 {
		return keyFile{}, fmt.Errorf("%w: vault.key is not a key file", ErrCorrupt)
	}
	if head.Version > keyFileVersion {
		return keyFile{}, fmt.Errorf("%w: vault.key has version %d, known is up to %d", ErrNewer, head.Version, keyFileVersion)
	}
	var k keyFile
	if err := json.Unmarshal(raw, &k); err != nil {
		return keyFile{}, fmt.Errorf("%w: vault.key is not a key file", ErrCorrupt)
	}
	// There is one way to write a file: encode's, with the right check.
	if !k.wellFormed() || !bytes.Equal(raw, k.encode()) {
		return keyFile{}, fmt.Errorf("%w: vault.key was altered", ErrCorrupt)
	}
	return k, nil
}

func (k keyFile) wellFormed() bool {
	if len(k.Nonce) != chacha20poly1305.NonceSizeX || len(k.Wrapped) != dataKeySize+chacha20poly1305.Overhead {
		return false
	}
	switch k.Kind {
	case kindPassphrase:
		p := k.Argon2id
		return p != nil && k.Keyring == nil && len(p.Salt) == saltSize &&
			p.Time >= 1 && p.Time <= maxArgon2Time && p.Lanes >= 1 && p.Lanes <= maxArgon2Lanes &&
			p.Memory >= 8*uint32(p.Lanes) && p.Memory <= maxArgon2Memory
	case kindKeyring:
		i := k.Keyring
		return i != nil && k.Argon2id == nil && i.wellFormed()
	case kindRaw:
		return k.Keyring == nil && k.Argon2id == nil
	}
	return false
}

func (i *keyringItem) wellFormed() bool {
	return i.Service != "" && i.User != "" && len(i.Service) <= maxKeyringName && len(i.User) <= maxKeyringName &&
		utf8.ValidString(i.Service) && utf8.ValidString(i.User)
}

// encode is the file's content.
func (k keyFile) encode() []byte {
	k.Check = k.check()
	return append(k.marshal(), '\n')
}

func (k keyFile) marshal() []byte {
	raw, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		panic("a key file is always JSON: " + err.Error())
	}
	return raw
}

func (k keyFile) check() []byte {
	k.Check = nil
	sum := sha256.Sum256(k.marshal())
	return sum[:checkSize]
}

// additional is what is authenticated with the wrapped key.
func (k keyFile) additional() []byte {
	k.Nonce, k.Wrapped, k.Check = nil, nil, nil
	return k.marshal()
}

// wrap encrypts the data key under the secret that k describes.
func (k keyFile) wrap(secret, dataKey []byte) (keyFile, error) {
	k.Format, k.Version = keyFileFormat, keyFileVersion
	k.Nonce = make([]byte, chacha20poly1305.NonceSizeX)
	_, _ = rand.Read(k.Nonce) // never fails
	aead, err := wrapping(secret)
	if err != nil {
		return keyFile{}, err
	}
	k.Wrapped = aead.Seal(nil, k.Nonce, dataKey, k.additional())
	return k, nil
}

// unwrap returns the data key.
func (k keyFile) unwrap(secret []byte) ([]byte, error) {
	aead, err := wrapping(secret)
	if err != nil {
		return nil, err
	}
	dataKey, err := aead.Open(nil, k.Nonce, k.Wrapped, k.additional())
	if err != nil {
		return nil, ErrWrongKey
	}
	return dataKey, nil
}

func wrapping(secret []byte) (cipher.AEAD, error) {
	kek, err := hkdf.Key(sha256.New, secret, nil, wrapInfo, chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive key of the vault's key: %w", err)
	}
	defer clear(kek)
	return chacha20poly1305.NewX(kek)
}
