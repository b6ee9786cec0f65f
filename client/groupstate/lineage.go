package groupstate

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Lineage: a group is continued only by what its own past proves (decision 0112). A
// way back, or a welcome into a group that this client has held, must be tied to an
// epoch that it held (Known), and vouched for by who might do so there (Allows).

var (
	// ErrLineage means that what claims to continue a group does not prove that it
	// does. A person who has compared safety numbers may accept it all the same.
	ErrLineage = errors.New("it does not prove that it continues the conversation")
	// ErrAnother means that it is certainly not the same conversation. Nobody can
	// accept that.
	ErrAnother = errors.New("it is another conversation")
)

// Offer is what claims to continue a group: an epoch, and who vouches for it.
type Offer struct {
	Epoch    uint64
	Suite    suite.ID
	Data     *Data
	Accounts [][identity.KeySize]byte // sorted, each once
	Signer   Member
	groupID  []byte
}

// OfferOf reads an offer from a group that is verified, and the leaf that has signed
// its group info.
func OfferOf(p *mls.PublicGroup, signer mls.Member) (*Offer, error) {
	c, err := ParseCredential(signer.Leaf.Credential)
	if err != nil {
		return nil, err
	}
	data, err := DataOf(p.Context().Extensions)
	if err != nil {
		return nil, err
	}
	return &Offer{
		Epoch: p.Epoch(), Suite: p.Context().Suite, Data: data, Accounts: accountsIn(p), Signer: c.Member, groupID: p.ID(),
	}, nil
}

// Digest names what a person is asked about: who vouches, for whom, and what they
// agree on. Another epoch of the same has the same digest.
func (o *Offer) Digest() (sum [sha256.Size]byte) {
	b := codec.Bytes(codec.Uint16(nil, uint16(o.Suite)), o.groupID)
	b = append(b, o.Signer.Account[:]...)
	roster, data := rosterDigest(o.Accounts), o.Data.digest()
	return sha256.Sum256(append(append(b, roster[:]...), data[:]...))
}

// Allows reports whether the last epoch that is known allows what is offered: id,
// kind and suite agree, a conversation of two has the same two, and who signed it was
// a member with a device that was not removed, and an admin unless nothing is different that only admins change, or an
// admin's grant covers it.
func (k *Known) Allows(o *Offer) error {
	if k.Suite != o.Suite || k.Data != nil && k.Data.Kind != o.Data.Kind {
		return fmt.Errorf("its suite or kind is another: %w", ErrAnother)
	}
	if !k.member(o.Signer.Account) {
		return fmt.Errorf("who vouches for it was no member: %w", ErrAnother)
	}
	if slices.Contains(k.left, o.Signer) {
		return fmt.Errorf("the device that vouches for it was removed: %w", ErrAnother)
	}
	same := slices.Equal(k.Accounts, o.Accounts)
	if o.Data.Kind == KindDM {
		if !same {
			return fmt.Errorf("its people are others: %w", ErrAnother)
		}
		return nil
	}
	if same && k.Data != nil && k.Data.digest() == o.Data.digest() {
		return nil
	}
	return k.granted(o)
}

// granted reports whether an admin of the last epoch that is known vouches for what is
// offered: who signed it, or whoever has granted it.
func (k *Known) granted(o *Offer) error {
	if o.Data.Kind == KindDM || k.Admin(o.Signer.Account) {
		return nil
	}
	grant, err := o.Data.grant(o.groupID)
	if err != nil || grant.epoch <= k.Epoch || grant.epoch > o.Epoch || !grant.covers(o.Data, o.Accounts) || !k.Admin(grant.by.Account) {
		return fmt.Errorf("no admin vouches for what has changed: %w", ErrLineage)
	}
	return nil
}

// InfoExtensionType is the number of ties among the extensions of a group info, from
// MLS's range for private use (RFC 9420 §17.3).
const InfoExtensionType tree.ExtensionType = 0xF052

// what a tie is made over. Each has a label, so that none serves for another.
func tiedReturn(groupID []byte, back *Return) [sha256.Size]byte {
	b := codec.Bytes([]byte("qpq/1 tie return"), groupID)
	b = codec.Bytes(codec.Uint64(b, back.Epoch), back.Proof)
	info := sha256.Sum256(back.GroupInfo)
	return sha256.Sum256(append(b, info[:]...))
}

func tiedWelcome(groupID []byte, epoch uint64, signer Member) [sha256.Size]byte {
	return tiedMember("qpq/1 tie welcome", groupID, epoch, signer)
}

func tiedReturning(groupID []byte, epoch uint64, who Member) [sha256.Size]byte {
	return tiedMember("qpq/1 tie returning", groupID, epoch, who)
}

func tiedMember(label string, groupID []byte, epoch uint64, m Member) [sha256.Size]byte {
	b := codec.Uint64(codec.Bytes([]byte(label), groupID), epoch)
	return sha256.Sum256(append(append(b, m.Account[:]...), m.Device[:]...))
}

// TieWelcome returns the ties for a welcome into an epoch for accounts that were
// members before; nil where none of them was. signer is who makes the welcome.
func (k *Known) TieWelcome(groupID []byte, epoch uint64, signer Member, added func([identity.KeySize]byte) bool) []byte {
	if k == nil {
		return nil
	}
	list := k.ties(tiedWelcome(groupID, epoch, signer), func(e uint64) bool {
		return slices.ContainsFunc(k.gone, func(g goneEpoch) bool { return g.epoch == e && added(g.account) })
	})
	if len(list) == 0 {
		return nil
	}
	return codec.AppendList(nil, list)
}

// CheckWelcome checks that a welcome continues what is known. It takes an admin's word
// though nothing else has changed: only admins add members, and a member who is none
// could otherwise lead others into a group of its own.
func (k *Known) CheckWelcome(group *mls.Group, o *Offer) error {
	if err := k.Allows(o); err != nil {
		return err
	}
	if err := k.granted(o); err != nil {
		return err
	}
	if o.Epoch <= k.Epoch {
		return fmt.Errorf("its epoch %d is not after %d: %w", o.Epoch, k.Epoch, ErrLineage)
	}
	data, _ := group.InfoExtension(InfoExtensionType)
	list, err := codec.Unmarshal(data, readTies)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTie, err)
	}
	return k.tied(list, tiedWelcome(group.ID(), o.Epoch, o.Signer))
}

func readTies(r *codec.Reader) []tie { return codec.List(r, readTie) }

// TieReturning returns what a member that comes back by external commit says in its
// authenticated data: that it held an epoch. epoch is the one that it ends.
func (k *Known) TieReturning(groupID []byte, epoch uint64, who Member) []byte {
	t, ok := k.newest(tiedReturning(groupID, epoch, who))
	if !ok {
		return nil
	}
	return t.AppendTo(nil)
}

// CheckReturning checks what TieReturning said.
func (k *Known) CheckReturning(groupID []byte, epoch uint64, who Member, said []byte) error {
	t, err := codec.Unmarshal(said, readTie)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTie, err)
	}
	return k.tied([]tie{t}, tiedReturning(groupID, epoch, who))
}
