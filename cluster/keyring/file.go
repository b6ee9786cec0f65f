package keyring

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"quicproquo/crypto/tlsid"
)

// The file is, for n keys (2 to MaxKeys),
//
//	"qpqR" ‖ format 1 (1) ‖ n (1) ‖ n × (nonce (24) ‖ XChaCha20-Poly1305(n × key (32)) ‖ tag (16))
//
// the i-th box under a key that is derived from the i-th key with HKDF-SHA256, with what
// stands before the boxes as associated data.
const (
	fileName   = "cluster.keys"
	fileMagic  = "qpqR\x01"
	fileHeader = len(fileMagic) + 1
	fileInfo   = "quicproquo cluster keys v1"
	keySize    = len(tlsid.ClusterKey{})
)

// ErrFile tells that the file does not open with the key that the node was given.
var ErrFile = errors.New("cluster.keys does not open with this cluster key: the key is another cluster's, or older than the last rotation but one, or the file is damaged. " +
	"If the key is the cluster's, delete the file: the node gets what it lacks from the others")

func boxSize(n int) int {
	return chacha20poly1305.NonceSizeX + n*keySize + chacha20poly1305.Overhead
}

// read returns the keys of a directory, first the one given; that alone if there is no file.
func read(dir string, key tlsid.ClusterKey) ([]tlsid.ClusterKey, error) {
	f, err := os.Open(filepath.Join(dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return []tlsid.ClusterKey{key}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster keys: %w", err)
	}
	defer f.Close()
	sealed, err := io.ReadAll(io.LimitReader(f, int64(fileHeader+MaxKeys*boxSize(MaxKeys)+1)))
	if err != nil {
		return nil, fmt.Errorf("read cluster keys: %w", err)
	}
	return open(sealed, key)
}

// open reads a file with one of its keys.
func open(sealed []byte, key tlsid.ClusterKey) ([]tlsid.ClusterKey, error) {
	if len(sealed) < fileHeader || !bytes.HasPrefix(sealed, []byte(fileMagic)) {
		return nil, ErrFile
	}
	n := int(sealed[len(fileMagic)])
	if n < 2 || n > MaxKeys || len(sealed) != fileHeader+n*boxSize(n) {
		return nil, ErrFile
	}
	aead := boxAEAD(key)
	for box := range slices.Chunk(sealed[fileHeader:], boxSize(n)) {
		plain, err := aead.Open(nil, box[:chacha20poly1305.NonceSizeX], box[chacha20poly1305.NonceSizeX:], sealed[:fileHeader])
		if err != nil {
			continue
		}
		defer clear(plain)
		keys := []tlsid.ClusterKey{key}
		for other := range slices.Chunk(plain, keySize) {
			if k := tlsid.ClusterKey(other); k != key {
				keys = append(keys, k)
			}
		}
		return keys, nil
	}
	return nil, ErrFile
}

// seal writes what open reads.
func seal(keys []tlsid.ClusterKey) []byte {
	n := len(keys)
	plain := make([]byte, 0, n*keySize)
	for i := range keys {
		plain = append(plain, keys[i][:]...)
	}
	defer clear(plain)
	out := append(make([]byte, 0, fileHeader+n*boxSize(n)), fileMagic...)
	out = append(out, byte(n))
	for _, key := range keys {
		var nonce [chacha20poly1305.NonceSizeX]byte
		_, _ = rand.Read(nonce[:]) // never fails
		out = append(out, nonce[:]...)
		out = boxAEAD(key).Seal(out, nonce[:], plain, out[:fileHeader])
	}
	return out
}

func boxAEAD(key tlsid.ClusterKey) cipher.AEAD {
	derived, err := hkdf.Key(sha256.New, key[:], nil, fileInfo, chacha20poly1305.KeySize)
	if err != nil {
		panic("derive 32 bytes: " + err.Error())
	}
	defer clear(derived)
	aead, err := chacha20poly1305.NewX(derived)
	if err != nil {
		panic("a key of 32 bytes: " + err.Error())
	}
	return aead
}

// write keeps keys, for good when it returns; the file of one key is none.
func write(dir string, keys []tlsid.ClusterKey) error {
	if len(keys) > 1 {
		return tlsid.ReplaceFile(dir, fileName, seal(keys))
	}
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return tlsid.SyncDirectory(dir)
}
