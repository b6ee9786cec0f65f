package account

import (
	"crypto/cipher"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// HandshakeLifetime is how long a login may take from start to finish: Argon2id
// on a slow phone and a slow network, and no more.
const HandshakeLifetime = 60 * time.Second

// HandshakeID names one run of a login. The log accepts each at most once and
// may forget it at [Login].Expires.
type HandshakeID [16]byte

// A handshake is the server's state between the two steps of a login, sealed
// and given to the client to bring back to any node:
//
//	format (1) ‖ key version (4) ‖ nonce (24) ‖ XChaCha20-Poly1305(state) ‖ tag (16)
//
// with everything before the nonce as associated data, and the state
//
//	id (16) ‖ expires, Unix ms (8) ‖ known (1) ‖ credential identifier (43) ‖ record digest (32) ‖ client MAC (64)
//
// The session key of RFC 9807 is not in it: no use on the server, no copy.
const (
	handshakeFormat = 1
	handshakeHeader = 1 + 4
	handshakeState  = 16 + 8 + 1 + len(credentialID{}) + 32 + nm
	// HandshakeSize is the length of a sealed handshake in bytes.
	HandshakeSize = handshakeHeader + chacha20poly1305.NonceSizeX + handshakeState + chacha20poly1305.Overhead
)

// handshake is an opened state.
type handshake struct {
	id           HandshakeID
	expires      time.Time // whole milliseconds
	known        byte      // 1: a stored record, 0: the fake one
	credential   credentialID
	recordDigest [32]byte
	clientMAC    [nm]byte
}

// sealer seals with the current handshake key and opens with it or the one
// before.
type sealer struct {
	version           uint32
	current, previous *handshakeKey // previous is nil in version 1
}

// handshakeKey is one version's key, ready for its two uses.
type handshakeKey struct {
	aead cipher.AEAD
	// token keys the session tokens of logins that were sealed with this key.
	token [sha512.Size]byte
}

func newHandshakeKey(key []byte) *handshakeKey {
	k := &handshakeKey{aead: newAEAD(key)}
	copy(k.token[:], expand(key, tokenKeyInfo, len(k.token)))
	return k
}

func newSealer(s *Setup) *sealer {
	k := &sealer{version: s.version, current: newHandshakeKey(s.handshake[:])}
	if s.version > 1 {
		k.previous = newHandshakeKey(s.previous[:])
	}
	return k
}

func (k *sealer) seal(h *handshake) []byte {
	state := make([]byte, 0, handshakeState)
	state = append(state, h.id[:]...)
	state = binary.BigEndian.AppendUint64(state, uint64(h.expires.UnixMilli()))
	state = append(state, h.known)
	state = append(state, h.credential[:]...)
	state = append(state, h.recordDigest[:]...)
	state = append(state, h.clientMAC[:]...)
	defer clear(state)
	out := make([]byte, 0, HandshakeSize)
	out = append(out, handshakeFormat)
	return sealRandom(k.current.aead, binary.BigEndian.AppendUint32(out, k.version), state)
}

// open returns the state of a handshake that one of the cluster's nodes sealed
// and that has not expired, and the key that sealed it. All its errors are
// [ErrNoPendingLogin].
func (k *sealer) open(sealed []byte, now time.Time) (*handshake, *handshakeKey, error) {
	if len(sealed) != HandshakeSize {
		return nil, nil, fmt.Errorf("%w: it has %d bytes, want %d", ErrNoPendingLogin, len(sealed), HandshakeSize)
	}
	key := k.keyed(sealed, handshakeFormat)
	if key == nil {
		return nil, nil, ErrNoPendingLogin
	}
	state, ok := openRandom(key.aead, sealed, handshakeHeader)
	if !ok {
		return nil, nil, ErrNoPendingLogin
	}
	defer clear(state)
	h := decodeHandshake(state)
	// Twice the lifetime ahead is beyond any clock a working node has.
	if left := h.expires.Sub(now); left <= 0 || left > 2*HandshakeLifetime {
		return nil, nil, fmt.Errorf("%w: it has expired", ErrNoPendingLogin)
	}
	return h, key, nil
}

// keyed picks the key that a header of the wanted format names, nil if there is none.
func (k *sealer) keyed(sealed []byte, format byte) *handshakeKey {
	version := binary.BigEndian.Uint32(sealed[1:])
	switch {
	case sealed[0] != format:
		return nil
	case version == k.version:
		return k.current
	case version == k.version-1:
		return k.previous
	default:
		return nil
	}
}

// decodeHandshake reads a state that the AEAD vouches for.
func decodeHandshake(state []byte) *handshake {
	var h handshake
	at := copy(h.id[:], state)
	h.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(state[at:])))
	at += 8
	h.known = state[at]
	at++
	at += copy(h.credential[:], state[at:])
	at += copy(h.recordDigest[:], state[at:])
	copy(h.clientMAC[:], state[at:])
	return &h
}
