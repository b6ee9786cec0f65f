package groupstate

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/suite"
)

// LinkSecretSize is the size of the secret in a link, in bytes.
const LinkSecretSize = 32

// linkPrefix begins every link.
const linkPrefix = "qpq:group/"

const linkVersion = 1

// ErrLink means that a text is no link to a group, or no longer one.
var ErrLink = errors.New("not a link into this group")

// Link is the way into a group for everybody who has it.
type Link struct {
	GroupID []byte
	Secret  []byte // LinkSecretSize
}

// NewLinkSecret makes the secret of a new link.
func NewLinkSecret() ([]byte, error) {
	secret := make([]byte, LinkSecretSize)
	_, err := rand.Read(secret)
	return secret, err
}

// String returns the link as people pass it on. Whoever has it can join.
func (l Link) String() string {
	b := codec.Bytes([]byte{linkVersion}, l.GroupID)
	return linkPrefix + base64.RawURLEncoding.EncodeToString(append(b, l.Secret...))
}

// ParseLink reads what String wrote.
func ParseLink(text string) (l Link, err error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), linkPrefix)
	if !ok || len(rest) > 256 {
		return l, fmt.Errorf("%w: links begin with %s", ErrLink, linkPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil {
		return l, fmt.Errorf("%w: it is cut short or damaged", ErrLink)
	}
	r := codec.NewReader(b)
	version := r.Uint8()
	l.GroupID, l.Secret = r.Bytes(), r.Fixed(LinkSecretSize)
	if err := r.Finish(); err != nil || version != linkVersion || len(l.GroupID) < 16 || len(l.GroupID) > 64 {
		return Link{}, fmt.Errorf("%w: it is cut short or damaged", ErrLink)
	}
	return l, nil
}

// appendLinkKey appends the key of a way back, encrypted under the link's secret;
// empty without a link.
func appendLinkKey(b, groupID, secret, key []byte) ([]byte, error) {
	if len(secret) == 0 {
		return codec.Bytes(b, nil), nil
	}
	wrap, err := linkKey(Link{groupID, secret})
	if err != nil {
		return nil, err
	}
	defer clear(wrap)
	sealed, err := sealWith(nil, wrap, groupID, key)
	if err != nil {
		return nil, err
	}
	return codec.Bytes(b, sealed), nil
}

func openLinkKey(sealed []byte, l Link) (suite.Secret, error) {
	if len(sealed) == 0 {
		return nil, fmt.Errorf("%w: the group has none now", ErrLink)
	}
	wrap, err := linkKey(l)
	if err != nil {
		return nil, err
	}
	defer clear(wrap)
	aead, err := chacha20poly1305.NewX(wrap)
	if err != nil || len(sealed) < aead.NonceSize() {
		return nil, fmt.Errorf("%w: it was replaced", ErrLink)
	}
	key, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], codec.Bytes(nil, l.GroupID))
	if err != nil {
		return nil, fmt.Errorf("%w: it was replaced", ErrLink)
	}
	return key, nil
}

func linkKey(l Link) ([]byte, error) {
	return hkdf.Key(sha256.New, l.Secret, l.GroupID, "qpq/1 link", chacha20poly1305.KeySize)
}
