package account

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"log/slog"
)

// TokenSize is the length of a session token in bytes.
const TokenSize = 32

// Token is a session token: whoever has it may be the session where the cluster
// takes bearer tokens. It prints as [redacted]. The log holds its [Token.Hash]
// only.
type Token [TokenSize]byte

// Hash is what the log knows a session by. A token is as long as the hash and
// has no structure, so a bare SHA-256 tells nothing of it.
func (t Token) Hash() [32]byte { return sha256.Sum256(t[:]) }

// RequestID names one logical call of a client, however often it is sent.
type RequestID [16]byte

// The labels of what is derived here, each used for one thing.
const (
	tokenKeyInfo = "qpq session token key v1" // of a handshake key
	tokenInfo    = "qpq session token v1"
	nameHashInfo = "qpq login name hash v1\x00"
)

// SessionToken makes the token of the session that a login opens. Every node
// makes the same one for the same handshake and request: a client whose answer
// was lost sends its call again, to any node, and gets the token that the log
// has taken. Nobody else can make it: it is derived (HKDF-SHA-512) from the MAC
// that proved the password, under a key that only the nodes have. Neither is in
// the log.
//
// It panics for a login that LoginFinish has not returned without an error.
func (l Login) SessionToken(request RequestID) Token {
	if allZero(l.secret[:]) {
		panic("a session token for a login that did not succeed")
	}
	info := make([]byte, 0, len(tokenInfo)+len(l.ID)+len(request))
	info = append(info, tokenInfo...)
	info = append(info, l.ID[:]...)
	info = append(info, request[:]...)
	derived := expand(l.secret[:], string(info), TokenSize)
	defer clear(derived)
	return Token(derived)
}

// loginSecret is HKDF-Extract of a login's client MAC, salted with the token
// key: without the key it is as good as random even to the client, who knows
// the MAC.
func (k *handshakeKey) loginSecret(clientMAC *[nm]byte) [nm]byte {
	prk, err := hkdf.Extract(sha512.New, clientMAC[:], k.token[:])
	if err != nil {
		panic("extract from 64 bytes: " + err.Error())
	}
	defer clear(prk)
	return [nm]byte(prk)
}

// NameHash is what the log knows a name by for which somebody tries to log in:
// the same on every node and forever, and without the cluster's secret no way
// back to the name, which may be nobody's, or a password typed into the wrong
// field. Error: [ErrUsername].
func (s *Server) NameHash(name Username) ([32]byte, error) {
	if err := name.require(); err != nil {
		return [32]byte{}, err
	}
	return [32]byte(expand(s.setup.nameSecret[:], nameHashInfo+name.canonical, 32)), nil
}

// Version is the version of the setup that the server was made of.
func (s *Server) Version() uint32 { return s.setup.version }

// Format keeps the token out of every verb.
func (Token) Format(f fmt.State, _ rune) { writeRedacted(f) }

// LogValue keeps the token out of slog.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the token out of JSON and every other text encoding.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format keeps what tokens are derived from out of every verb.
func (Login) Format(f fmt.State, _ rune) { writeRedacted(f) }

// LogValue keeps what tokens are derived from out of slog.
func (Login) LogValue() slog.Value { return slog.StringValue(redacted) }
