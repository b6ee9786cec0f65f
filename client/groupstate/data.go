package groupstate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls/tree"
)

// ExtensionType is the number of Data among the extensions of a group context,
// from MLS's range for private use (RFC 9420 §17.3).
const ExtensionType tree.ExtensionType = 0xF051

// Kind says what sort of conversation a group is.
type Kind uint8

// Kinds of conversations.
const (
	KindDM    Kind = 1 // of two accounts, forever
	KindGroup Kind = 2
)

// Limits of Data. Each bounds memory that a peer could make us use.
const (
	MaxTitle  = 256 // bytes
	MaxAdmins = 1024
)

const dataVersion = 1

// ErrData means that a group's data can't be read.
var ErrData = errors.New("the group's data can't be read")

// Data is what the members of a group agree on beside their keys. It is an
// extension of the group context, so it is signed and confirmed with every epoch,
// and known to members only.
type Data struct {
	Kind   Kind
	Title  string
	Admins [][identity.KeySize]byte // sorted
	// Expire is how long messages are kept by the members, 0: forever.
	Expire time.Duration
	// Link opens the way into the group for everybody who has it, if it is set.
	Link []byte
	// Grant is an admin's signature under all of this and the roster (grant.go); empty
	// in groups that only older clients have changed.
	Grant []byte
	// Rest is what a newer version has added; it is kept, and the version with it.
	Rest    []byte
	version uint8 // that was read, if it is newer than ours
}

// AppendTo appends the encoding.
func (d *Data) AppendTo(b []byte) []byte {
	b = append(b, max(d.version, dataVersion), byte(d.Kind))
	b = codec.Bytes(b, []byte(d.Title))
	b = codec.Vector(b, func(b []byte) []byte {
		for _, admin := range d.Admins {
			b = append(b, admin[:]...)
		}
		return b
	})
	b = codec.Uint32(b, uint32(d.Expire/time.Second))
	b = codec.Bytes(b, d.Link)
	if len(d.Grant) == 0 && len(d.Rest) == 0 {
		return b // as clients write it that know no grants
	}
	return append(codec.Bytes(b, d.Grant), d.Rest...)
}

// Extensions returns the group context's extensions with these data in place of
// the former ones.
func (d *Data) Extensions(others tree.Extensions) tree.Extensions {
	var list tree.Extensions
	for _, e := range others {
		if e.Type != ExtensionType {
			list = append(list, e)
		}
	}
	return append(list, tree.Extension{Type: ExtensionType, Data: codec.Marshal(d)})
}

// DataOf reads the data of a group context's extensions.
func DataOf(list tree.Extensions) (*Data, error) {
	for _, e := range list {
		if e.Type == ExtensionType {
			return parseData(e.Data)
		}
	}
	return nil, fmt.Errorf("%w: it has none", ErrData)
}

func parseData(b []byte) (*Data, error) {
	r := codec.NewReader(b)
	version := r.Uint8()
	if r.Err() == nil && version < dataVersion {
		return nil, fmt.Errorf("%w: version %d", ErrData, version)
	}
	d := &Data{Kind: Kind(r.Uint8()), version: version}
	title := r.Bytes()
	admins := r.Vector()
	if len(title) > MaxTitle || admins.Len() > MaxAdmins*identity.KeySize {
		return nil, fmt.Errorf("%w: it is too large", ErrData)
	}
	d.Title = string(title)
	for admins.More() {
		var admin [identity.KeySize]byte
		copy(admin[:], admins.Fixed(len(admin)))
		// SetAdmin relies on the order: an admin who stands in the wrong place, or twice,
		// could not be removed.
		if n := len(d.Admins); n > 0 && compareKeys(d.Admins[n-1], admin) >= 0 && admins.Err() == nil {
			return nil, fmt.Errorf("%w: its admins are not in order, each once", ErrData)
		}
		d.Admins = append(d.Admins, admin)
	}
	r.Done(admins)
	d.Expire = time.Duration(r.Uint32()) * time.Second
	if link := r.Bytes(); len(link) != 0 {
		d.Link = slices.Clone(link)
	}
	if r.More() {
		if grant := r.Bytes(); len(grant) > maxGrant {
			return nil, fmt.Errorf("%w: it is too large", ErrData)
		} else if len(grant) != 0 {
			d.Grant = slices.Clone(grant)
		} else if !r.More() && r.Err() == nil {
			return nil, fmt.Errorf("%w: its grant is empty", ErrData) // there is one encoding of none
		}
	}
	if rest := r.Rest(); len(rest) != 0 {
		d.Rest = slices.Clone(rest)
	}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrData, err)
	}
	if err := CheckTitle(d.Title); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrData, err)
	}
	if d.Kind != KindDM && d.Kind != KindGroup || len(d.Link) != 0 && len(d.Link) != LinkSecretSize {
		return nil, fmt.Errorf("%w: kind %d, link of %d bytes", ErrData, d.Kind, len(d.Link))
	}
	return d, nil
}

// ErrTitle means that a title is not one line of text.
var ErrTitle = errors.New("a title is one line of text, without control characters")

// CheckTitle checks that a title is UTF-8 without control characters, which could make a
// screen show what nobody wrote. An empty one is fine: conversations of two have none.
func CheckTitle(title string) error {
	if !utf8.ValidString(title) || strings.ContainsFunc(title, unicode.IsControl) {
		return ErrTitle
	}
	return nil
}

// Clone returns a copy to change.
func (d *Data) Clone() *Data {
	c := *d
	c.Admins, c.Link, c.Grant, c.Rest = slices.Clone(d.Admins), slices.Clone(d.Link), slices.Clone(d.Grant), slices.Clone(d.Rest)
	return &c
}

// SetAdmin makes an account an admin, or no longer.
func (d *Data) SetAdmin(account [identity.KeySize]byte, admin bool) {
	at, found := slices.BinarySearchFunc(d.Admins, account, compareKeys)
	switch {
	case admin && !found:
		d.Admins = slices.Insert(d.Admins, at, account)
	case !admin && found:
		d.Admins = slices.Delete(d.Admins, at, at+1)
	}
}

func compareKeys(a, b [identity.KeySize]byte) int { return slices.Compare(a[:], b[:]) }

// Listed reports whether an account is among the admins.
func (d *Data) Listed(account [identity.KeySize]byte) bool {
	_, found := slices.BinarySearchFunc(d.Admins, account, compareKeys)
	return found
}
