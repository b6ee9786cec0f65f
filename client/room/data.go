package room

import (
	"errors"
	"fmt"
	"slices"
	"time"

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
	KindDM    Kind = 1 // of two accounts, for ever
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
	// Expire is how long messages are kept by the members, 0: for ever.
	Expire time.Duration
	// Link opens the way into the group for everybody who has it, if it is set.
	Link []byte
	// Grant is an admin's signature under all of this and the roster (grant.go); empty
	// in groups that only older clients have changed.
	Grant []byte
	// Rest is what a newer version has added; it is kept.
	Rest []byte
}

// AppendTo appends the encoding.
func (d *Data) AppendTo(b []byte) []byte {
	b = append(b, dataVersion, byte(d.Kind))
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
	if v := r.Uint8(); r.Err() == nil && v < dataVersion {
		return nil, fmt.Errorf("%w: version %d", ErrData, v)
	}
	d := &Data{Kind: Kind(r.Uint8())}
	title := r.Bytes()
	admins := r.Vector()
	if len(title) > MaxTitle || admins.Len() > MaxAdmins*identity.KeySize {
		return nil, fmt.Errorf("%w: it is too large", ErrData)
	}
	d.Title = string(title)
	for admins.More() {
		var admin [identity.KeySize]byte
		copy(admin[:], admins.Fixed(len(admin)))
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
		}
	}
	if rest := r.Rest(); len(rest) != 0 {
		d.Rest = slices.Clone(rest)
	}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrData, err)
	}
	if d.Kind != KindDM && d.Kind != KindGroup || len(d.Link) != 0 && len(d.Link) != LinkSecretSize {
		return nil, fmt.Errorf("%w: kind %d, link of %d bytes", ErrData, d.Kind, len(d.Link))
	}
	return d, nil
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

// Listed tells whether an account is among the admins.
func (d *Data) Listed(account [identity.KeySize]byte) bool {
	return slices.Contains(d.Admins, account)
}
