package tlsid

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
)

// ClusterKey is the 32-byte key that encrypts the cluster's keys (the KEK). It
// prints as [redacted].
type ClusterKey [32]byte

// String keeps the key out of logs and errors.
func (ClusterKey) String() string { return "[redacted]" }

// GoString keeps the key out of %#v.
func (ClusterKey) GoString() string { return "[redacted]" }

// LogValue keeps the key out of slog.
func (ClusterKey) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// A sealed authority key is
//
//	magic (4) ‖ version (1) ‖ cluster (16) ‖ nonce (12) ‖ AES-256-GCM(PKCS #8 key) ‖ tag (16)
//
// under a key derived from the cluster key with HKDF-SHA256 (RFC 5869), so that
// the cluster key never keys a cipher itself. Everything before the nonce is
// associated data: a blob moved to another cluster does not open.
const (
	sealMagic   = "qpqA"
	sealVersion = 1
	sealInfo    = "quicproquo authority key v1"
	sealHeader  = len(sealMagic) + 1 + len(ClusterID{})
	// maxSealedLen limits a sealed key in bytes; a P-256 key takes 187.
	maxSealedLen = 1 << 10
)

// ErrSealedKey is returned for a sealed authority key that does not open: the
// cluster key is another cluster's or an older one, or the file is damaged.
var ErrSealedKey = errors.New("authority key does not open with this cluster key: wrong cluster key or damaged file")

// SealKey encrypts the authority's private key under the cluster key.
func (a *Authority) SealKey(kek ClusterKey) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("encode authority key: %w", err)
	}
	defer clear(plain)
	aead, err := sealAEAD(kek)
	if err != nil {
		return nil, err
	}
	header := make([]byte, 0, sealHeader)
	header = append(header, sealMagic...)
	header = append(header, sealVersion)
	header = append(header, a.cluster[:]...)
	return append(header, aead.Seal(nil, nil, plain, header)...), nil
}

// OpenAuthority reads an authority from its certificate (PEM) and its sealed
// key. A key that does not open is ErrSealedKey.
func OpenAuthority(certificate, sealed []byte, kek ClusterKey) (*Authority, error) {
	cluster, certs, err := parseAuthorities(certificate)
	if err != nil {
		return nil, fmt.Errorf("read authority certificate: %w", err)
	}
	if len(sealed) < sealHeader || len(sealed) > maxSealedLen || string(sealed[:len(sealMagic)]) != sealMagic {
		return nil, fmt.Errorf("%w: not a sealed authority key", ErrSealedKey)
	}
	if v := sealed[len(sealMagic)]; v != sealVersion {
		return nil, fmt.Errorf("sealed authority key has version %d, this program knows %d: upgrade it", v, sealVersion)
	}
	aead, err := sealAEAD(kek)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed[sealHeader:], sealed[:sealHeader])
	if err != nil {
		return nil, ErrSealedKey
	}
	defer clear(plain)
	key, err := parseKey(plain)
	if err != nil {
		return nil, err
	}
	if ClusterID(sealed[len(sealMagic)+1:sealHeader]) != cluster {
		return nil, errors.New("authority key and certificate are of different clusters")
	}
	// While the CA is being replaced the bundle holds several certificates.
	for _, cert := range certs {
		if key.PublicKey.Equal(cert.PublicKey) {
			return &Authority{cluster: cluster, cert: cert, key: key}, nil
		}
	}
	return nil, errors.New("authority key belongs to none of the CA certificates")
}

// sealAEAD is AES-256-GCM that puts a random nonce in front of the ciphertext:
// a cluster seals its authority key a few times in its life, so random 96-bit
// nonces do not collide (NIST SP 800-38D §8.2.2).
func sealAEAD(kek ClusterKey) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, kek[:], nil, sealInfo, len(kek))
	if err != nil {
		return nil, fmt.Errorf("derive sealing key: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
