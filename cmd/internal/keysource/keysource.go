// Package keysource finds the cluster key, which opens the secrets that the cluster's nodes
// share and, on a node that has it, the key of the cluster's certificate authority. Where
// the key lies beside what it opens, whoever has the directory has everything. So it may
// come from elsewhere:
//
//	file                     cluster.key in the node's directory (the default)
//	fd:N                     an open file descriptor: an init system, a secret store
//	command:PROGRAM ARGS     what a program prints, such as a KMS's client
//	passphrase-file:PATH     cluster.key.sealed in the directory, under the passphrase in a file
//	passphrase-fd:N          the same, with the passphrase from a file descriptor
//
// A key is 32 bytes, or their 64 hexadecimal digits with or without an end of line.
package keysource

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"quicproquo/cluster/keyring"
	"quicproquo/crypto/tlsid"
)

// ErrSource tells that a source can't be read as one, or gives no key.
var ErrSource = errors.New("no cluster key")

// Names in a node's directory, and what is read at most, in bytes.
const (
	keyFile    = "cluster.key"
	sealedFile = "cluster.key.sealed"
	maxRead    = 4096
)

// Source is where a cluster key comes from. The zero Source is the file.
type Source struct{ kind, value string }

const (
	kindFile           = "file"
	kindFD             = "fd"
	kindCommand        = "command"
	kindPassphraseFile = "passphrase-file"
	kindPassphraseFD   = "passphrase-fd"
)

// Parse reads a source; empty is the file. Error: [ErrSource].
func Parse(text string) (Source, error) {
	if text == "" || text == kindFile {
		return Source{}, nil
	}
	kind, value, ok := strings.Cut(text, ":")
	s := Source{kind, value}
	switch {
	case !ok || strings.TrimSpace(value) == "":
	case kind == kindCommand, kind == kindPassphraseFile:
		return s, nil
	case kind == kindFD, kind == kindPassphraseFD:
		if _, err := strconv.ParseUint(value, 10, 16); err == nil {
			return s, nil
		}
	}
	return Source{}, fmt.Errorf("%w: %q is no source: write file, fd:N, command:PROGRAM ARGS, passphrase-file:PATH or passphrase-fd:N", ErrSource, text)
}

// Sealed reports whether the key lies in the directory under a passphrase.
func (s Source) Sealed() bool { return s.kind == kindPassphraseFile || s.kind == kindPassphraseFD }

// Local reports whether the key itself lies in the directory.
func (s Source) Local() bool { return s.kind == "" }

// Read returns the key of the node with this directory. Error: [ErrSource].
func (s Source) Read(dir string) (key tlsid.ClusterKey, err error) {
	if s.Sealed() {
		return s.open(dir)
	}
	raw, err := s.raw(dir)
	defer clear(raw)
	if err != nil {
		return key, fmt.Errorf("%w: %w", ErrSource, err)
	}
	return parseKey(raw)
}

// Open is Read, and also returns what leaves another key where Read finds it at the node's
// next start. That is the operator's to do where the key is not in the directory: there
// keep asks the source again, if it can be asked, and returns [keyring.ErrElsewhere] until
// it gives that key. The passphrase is read once.
func (s Source) Open(dir string) (key tlsid.ClusterKey, keep keyring.Keep, err error) {
	if s.Sealed() {
		return s.openKept(dir)
	}
	if key, err = s.Read(dir); err != nil {
		return key, nil, err
	}
	if s.Local() {
		return key, func(next tlsid.ClusterKey) error { return tlsid.ReplaceFile(dir, keyFile, next[:]) }, nil
	}
	return key, func(next tlsid.ClusterKey) error {
		given, err := key, error(nil)
		if s.kind == kindCommand {
			given, err = s.Read(dir)
		}
		if err != nil || subtle.ConstantTimeCompare(given[:], next[:]) == 0 {
			return errors.Join(fmt.Errorf("%w: put the new one where %s finds it, then start the node again", keyring.ErrElsewhere, s), err)
		}
		return nil
	}, nil
}

// openKept opens a sealed key, and seals others under the same passphrase: it keeps what is
// derived from it, not the passphrase.
func (s Source) openKept(dir string) (key tlsid.ClusterKey, keep keyring.Keep, err error) {
	pass, err := s.passphrase()
	if err != nil {
		return key, nil, err
	}
	defer clear(pass)
	sealed, err := readFile(filepath.Join(dir, sealedFile))
	if err != nil {
		return key, nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	box, err := boxOf(sealed, pass)
	if err != nil {
		return key, nil, err
	}
	key, err = box.open(sealed)
	return key, func(next tlsid.ClusterKey) error { return tlsid.ReplaceFile(dir, sealedFile, box.seal(&next)) }, err
}

// raw reads what the source gives.
func (s Source) raw(dir string) ([]byte, error) {
	switch s.kind {
	case kindFD, kindPassphraseFD:
		n, err := strconv.ParseUint(s.value, 10, 16)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(n), "fd "+s.value)
		if f == nil {
			return nil, fmt.Errorf("file descriptor %d is not open", n)
		}
		defer f.Close()
		return readAll(f)
	case kindCommand:
		return runCommand(strings.Fields(s.value))
	case kindPassphraseFile:
		return readFile(s.value)
	}
	return readFile(filepath.Join(dir, keyFile))
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

func readAll(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxRead+1))
	if err == nil && len(raw) > maxRead {
		err = fmt.Errorf("there are more than %d bytes", maxRead)
	}
	return raw, err
}

// runCommand runs a program, without a shell. What it prints to standard error is the
// node's to show.
func runCommand(words []string) ([]byte, error) {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", words[0], err)
	}
	raw, err := readAll(out)
	if err != nil {
		_ = cmd.Process.Kill()
	}
	if ended := cmd.Wait(); ended != nil {
		err = errors.Join(err, fmt.Errorf("run %s: %w", words[0], ended))
	}
	return raw, err
}

// parseKey reads 32 bytes, or their hexadecimal digits.
func parseKey(raw []byte) (key tlsid.ClusterKey, err error) {
	if len(raw) == len(key) {
		return tlsid.ClusterKey(raw), nil
	}
	text := bytes.TrimSpace(raw)
	if len(text) != hex.EncodedLen(len(key)) {
		return key, fmt.Errorf("%w: there are %d bytes, want 32, or 64 hexadecimal digits", ErrSource, len(raw))
	}
	if _, err := hex.Decode(key[:], text); err != nil {
		clear(key[:])
		return key, fmt.Errorf("%w: there are 64 bytes that are not all hexadecimal digits", ErrSource)
	}
	return key, nil
}

// A sealed key is
//
//	"qpqk" (4) ‖ format 1 (1) ‖ salt (16) ‖ nonce (24) ‖ XChaCha20-Poly1305(key) ‖ tag (16)
//
// with what stands before the nonce as associated data, under Argon2id of the passphrase:
// 3 passes over 64 MiB.
const (
	sealedMagic  = "qpqk\x01"
	saltSize     = 16
	sealedHeader = len(sealedMagic) + saltSize
	sealedSize   = sealedHeader + chacha20poly1305.NonceSizeX + 32 + chacha20poly1305.Overhead
	passes       = 3
	memory       = 64 << 10 // KiB
)

// passphrase is the first line of what the source gives.
func (s Source) passphrase() ([]byte, error) {
	raw, err := s.raw("")
	if err != nil {
		return nil, fmt.Errorf("%w: read the passphrase: %w", ErrSource, err)
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
		return nil, fmt.Errorf("%w: the passphrase is empty", ErrSource)
	}
	return line, nil
}

// open reads the sealed key of a directory.
func (s Source) open(dir string) (key tlsid.ClusterKey, err error) {
	key, _, err = s.openKept(dir)
	return key, err
}

// box seals keys under one passphrase and salt. Nonces of 24 bytes may be drawn at random.
type box struct {
	header []byte // up to the nonce
	cipher.AEAD
}

func newBox(pass, salt []byte) (*box, error) {
	derived := argon2.IDKey(pass, salt, passes, memory, 1, chacha20poly1305.KeySize)
	defer clear(derived)
	aead, err := chacha20poly1305.NewX(derived)
	return &box{append([]byte(sealedMagic), salt...), aead}, err
}

// boxOf is the box in which a key was sealed.
func boxOf(sealed, pass []byte) (*box, error) {
	if len(sealed) != sealedSize || !bytes.HasPrefix(sealed, []byte(sealedMagic)) {
		return nil, fmt.Errorf("%w: %s is no sealed key of a format that this program knows", ErrSource, sealedFile)
	}
	return newBox(pass, sealed[len(sealedMagic):sealedHeader])
}

func (b *box) open(sealed []byte) (key tlsid.ClusterKey, err error) {
	nonce := sealed[sealedHeader : sealedHeader+chacha20poly1305.NonceSizeX]
	plain, err := b.Open(nil, nonce, sealed[sealedHeader+len(nonce):], sealed[:sealedHeader])
	if err != nil {
		return key, fmt.Errorf("%w: the passphrase is not the one, or %s is damaged", ErrSource, sealedFile)
	}
	defer clear(plain)
	return tlsid.ClusterKey(plain), nil
}

func (b *box) seal(key *tlsid.ClusterKey) []byte {
	var nonce [chacha20poly1305.NonceSizeX]byte
	_, _ = rand.Read(nonce[:]) // never fails
	out := append(append(make([]byte, 0, sealedSize), b.header...), nonce[:]...)
	return b.Seal(out, nonce[:], key[:], b.header)
}

func unseal(sealed, pass []byte) (key tlsid.ClusterKey, err error) {
	b, err := boxOf(sealed, pass)
	if err != nil {
		return key, err
	}
	return b.open(sealed)
}

func seal(key *tlsid.ClusterKey, pass []byte) ([]byte, error) {
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails
	b, err := newBox(pass, salt[:])
	if err != nil {
		return nil, err
	}
	return b.seal(key), nil
}

// New returns a new key: drawn, unless the source is one that has it.
func (s Source) New() (key tlsid.ClusterKey, err error) {
	if s.Local() || s.Sealed() {
		_, _ = rand.Read(key[:]) // never fails
		return key, nil
	}
	return s.Read("")
}

// Writer returns what leaves a new cluster's key in a node's directory, as far as the
// source wants it there. The passphrase is read once.
func (s Source) Writer(key tlsid.ClusterKey) (func(dir string) error, error) {
	switch {
	case s.Local():
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, keyFile), key[:], 0o600) }, nil
	case !s.Sealed():
		return func(string) error { return nil }, nil
	}
	pass, err := s.passphrase()
	if err != nil {
		return nil, err
	}
	return func(dir string) error {
		sealed, err := seal(&key, pass)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, sealedFile), sealed, 0o600)
	}, nil
}

// String is the source as it is written.
func (s Source) String() string {
	if s.Local() {
		return kindFile
	}
	return s.kind + ":" + s.value
}
