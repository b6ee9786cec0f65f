package account

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// The handshake of a registration says which response of the cluster's an upload answers:
// the server can't see that in the upload. It is sealed as that of a login, as format 2,
// with the state
//
//	id (16) ‖ expires, Unix ms (8) ‖ credential identifier (43)
//
// so it is for one name, for HandshakeLifetime, and the log takes its id once.
const (
	registrationFormat = 2
	registrationState  = 16 + 8 + len(credentialID{})
	// RegistrationHandshakeSize is the length of a registration's handshake in bytes.
	RegistrationHandshakeSize = handshakeHeader + chacha20poly1305.NonceSizeX + registrationState + chacha20poly1305.Overhead
)

// RegistrationHandshake is a response to a registration that was given.
type RegistrationHandshake struct {
	// ID is accepted by the log once.
	ID HandshakeID
	// Expires is when the log may forget the ID.
	Expires time.Time
}

// SealRegistration makes the handshake of a response that the server gives now: the client
// brings it back with its upload, to any node. Error: [ErrUsername].
func (s *Server) SealRegistration(name Username, now time.Time) ([]byte, error) {
	if err := name.require(); err != nil {
		return nil, err
	}
	state := make([]byte, 16, registrationState)
	fill(state)
	state = binary.BigEndian.AppendUint64(state, uint64(now.Add(HandshakeLifetime).UnixMilli()))
	id := s.setup.credentialID(name)
	state = append(state, id[:]...)
	header := append(make([]byte, 0, RegistrationHandshakeSize), registrationFormat)
	return sealRandom(s.sealer.current.aead, binary.BigEndian.AppendUint32(header, s.sealer.version), state), nil
}

// OpenRegistration checks the handshake that comes with an upload of name. Errors:
// [ErrUsername], [ErrNoPendingLogin].
func (s *Server) OpenRegistration(name Username, sealed []byte, now time.Time) (RegistrationHandshake, error) {
	if err := name.require(); err != nil {
		return RegistrationHandshake{}, err
	}
	if len(sealed) != RegistrationHandshakeSize {
		return RegistrationHandshake{}, fmt.Errorf("%w: it has %d bytes, want %d", ErrNoPendingLogin, len(sealed), RegistrationHandshakeSize)
	}
	key := s.sealer.keyed(sealed, registrationFormat)
	if key == nil {
		return RegistrationHandshake{}, ErrNoPendingLogin
	}
	state, ok := openRandom(key.aead, sealed, handshakeHeader)
	if !ok {
		return RegistrationHandshake{}, ErrNoPendingLogin
	}
	r := RegistrationHandshake{ID: HandshakeID(state[:16]), Expires: time.UnixMilli(int64(binary.BigEndian.Uint64(state[16:])))}
	if left := r.Expires.Sub(now); left <= 0 || left > 2*HandshakeLifetime {
		return RegistrationHandshake{}, fmt.Errorf("%w: it has expired", ErrNoPendingLogin)
	}
	if id := s.setup.credentialID(name); subtle.ConstantTimeCompare(id[:], state[24:]) != 1 {
		return RegistrationHandshake{}, fmt.Errorf("%w: it is another name's", ErrNoPendingLogin)
	}
	return r, nil
}

// InviteSize is the length of an invite token in bytes.
const InviteSize = 16

// Invite is an invite token: who has it may register. The log holds its [Invite.Hash]
// only. It prints as [redacted]; [Invite.Text] is how people pass it on.
type Invite [InviteSize]byte

// ErrInvite tells that a text is no invite token.
var ErrInvite = errors.New("this is no invite token")

const (
	inviteTextSize = 26 // base32 of 16 bytes
	inviteAlphabet = "abcdefghijklmnopqrstuvwxyz234567"
)

// inviteEncoding is strict: a token has one text.
func inviteEncoding() *base32.Encoding {
	return base32.NewEncoding(inviteAlphabet).WithPadding(base32.NoPadding)
}

// NewInvite draws a token.
func NewInvite() (i Invite) {
	fill(i[:])
	return i
}

// ParseInvite reads a token as [Invite.Text] writes it: 26 letters and digits, whatever
// their case, with or without space around. Error: [ErrInvite].
func ParseInvite(text string) (i Invite, err error) {
	text = strings.ToLower(strings.TrimSpace(text))
	if len(text) != inviteTextSize {
		return i, fmt.Errorf("%w: it has %d characters, want %d", ErrInvite, len(text), inviteTextSize)
	}
	raw, err := inviteEncoding().DecodeString(text)
	if err != nil || len(raw) != InviteSize || inviteEncoding().EncodeToString(raw) != text {
		return i, fmt.Errorf("%w: it was not copied whole", ErrInvite)
	}
	return Invite(raw), nil
}

// Text is the token for people.
func (i Invite) Text() string { return inviteEncoding().EncodeToString(i[:]) }

// Hash is what the log knows an invite by: 16 random bytes have no structure, so a bare
// SHA-256 tells nothing of them.
func (i Invite) Hash() [32]byte { return sha256.Sum256(i[:]) }

// Format keeps the token out of every verb.
func (Invite) Format(f fmt.State, _ rune) { writeRedacted(f) }

// LogValue keeps the token out of slog.
func (Invite) LogValue() slog.Value { return slog.StringValue(redacted) }
