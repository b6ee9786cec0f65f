package mesh

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// Keys are a node's QUIC secrets, random and never the same on two nodes. They
// must survive a restart: with the StatelessReset a restarted node can tell
// its peers at once that their connections are gone (RFC 9000 §10.3); without,
// they wait for the idle timeout (quic-go answers only packets of more than 42
// bytes so: a keep-alive does not find out, the next message does). The Token keeps address tokens valid.
type Keys struct {
	StatelessReset [32]byte
	Token          [32]byte
}

// ticketSecret is what session tickets are sealed with: it survives a restart as the keys
// do, and is another one than theirs.
func (k Keys) ticketSecret() (secret [32]byte) {
	derived, err := hkdf.Key(sha256.New, k.Token[:], nil, "qpq session ticket secret", len(secret))
	if err != nil {
		panic("mesh: HKDF refuses 32 bytes: " + err.Error())
	}
	copy(secret[:], derived)
	clear(derived)
	return secret
}

// LogValue keeps the keys out of logs.
func (Keys) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String keeps the keys out of errors and logs.
func (Keys) String() string { return "[redacted]" }

// GoString keeps the keys out of %#v.
func (Keys) GoString() string { return "[redacted]" }

const (
	keysFile  = "quic.key" // magic (4) ‖ version (1) ‖ reset key (32) ‖ token key (32); mode 0600
	keysMagic = "qpqQ\x01"
	keysLen   = len(keysMagic) + 32 + 32
)

// NewKeys draws random keys.
func NewKeys() (Keys, error) {
	var k Keys
	if _, err := rand.Read(k.StatelessReset[:]); err != nil {
		return Keys{}, fmt.Errorf("draw network keys: %w", err)
	}
	if _, err := rand.Read(k.Token[:]); err != nil {
		return Keys{}, fmt.Errorf("draw network keys: %w", err)
	}
	return k, nil
}

// LoadOrCreateKeys reads the keys from a directory, and draws and stores them
// there the first time.
func LoadOrCreateKeys(dir string) (Keys, error) {
	path := filepath.Join(dir, keysFile)
	k, err := loadKeys(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if k, err = NewKeys(); err != nil {
		return Keys{}, err
	}
	if err := k.store(dir, path); err != nil {
		return Keys{}, fmt.Errorf("store %s: %w", path, err)
	}
	return k, nil
}

func loadKeys(path string) (Keys, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Keys{}, fmt.Errorf("read keys: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Keys{}, fmt.Errorf("%s holds keys but has mode %#o: run chmod 600 %s", path, mode, path)
	}
	if info.Size() != int64(keysLen) {
		return Keys{}, damagedKeys(path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Keys{}, fmt.Errorf("read keys: %w", err)
	}
	defer clear(data)
	if len(data) != keysLen || string(data[:len(keysMagic)]) != keysMagic {
		return Keys{}, damagedKeys(path)
	}
	return Keys{
		StatelessReset: [32]byte(data[len(keysMagic):]),
		Token:          [32]byte(data[len(keysMagic)+32:]),
	}, nil
}

func damagedKeys(path string) error {
	return fmt.Errorf("%s is damaged: delete it, new keys are made at the next start (peers then need their idle timeout, %v, to reconnect)", path, peerIdleTimeout)
}

// store writes a temporary file, flushes it and renames it, so that a crash
// leaves no half file behind that name.
func (k Keys) store(dir, path string) error {
	f, err := os.CreateTemp(dir, "."+keysFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	data := append([]byte(keysMagic), k.StatelessReset[:]...)
	data = append(data, k.Token[:]...)
	defer clear(data)
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
