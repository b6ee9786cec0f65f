package groupstate

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// The cluster keeps a group's way back: its group info and the proof that ends its
// epoch, encrypted with a random key. The key is sealed to each member's leaf and,
// where there is a link, to the link's secret. A member who lost the thread still
// has the private key of its leaf, which only its own commits change, so it opens
// the way back however many epochs it missed; a removed one has no leaf there.

const (
	returnVersion = 2 // 1 had no ties
	returnLabel   = "qpq/1 return"
	// component is ours among those of draft-ietf-mls-extensions, from the range for
	// private use.
	component     = 0xF051
	returnKeySize = chacha20poly1305.KeySize
	proofLabel    = "qpq/1 commit"
	proofSize     = 32
)

// ErrReturn means that the way back into a group can't be opened with the keys
// that we have.
var ErrReturn = errors.New("the way back into the group can't be opened")

// Proof returns what ends a group's epoch at the cluster, and Verifier what the
// cluster keeps to check it.
func Proof(g *mls.Group) ([]byte, error) {
	secret, err := g.Export(proofLabel, g.ID(), proofSize)
	if err != nil {
		return nil, fmt.Errorf("export the epoch's proof: %w", err)
	}
	return []byte(secret), nil
}

// Verifier is what the cluster keeps of an epoch's proof.
func Verifier(g *mls.Group) ([sha256.Size]byte, error) {
	proof, err := Proof(g)
	return sha256.Sum256(proof), err
}

// Return is the way back into a group's epoch.
type Return struct {
	Epoch     uint64
	Proof     []byte // ends the epoch
	GroupInfo []byte // with the ratchet tree and external_pub
	// ties prove that who made it held epochs that a member may have held (Known).
	ties []tie
	// Past is what was known before a commit of ours whose outcome was another than we
	// were told, where only that explains to which leaf the way back is sealed; else nil.
	Past *Known
	// LedBy is whose commit has led us aside, where that is why there is a Past; Lawless
	// that something was done since that only admins may do.
	LedBy   *[identity.KeySize]byte
	Lawless bool
	until   uint64 // of the key that has opened it
}

func (r *Return) appendTo(b []byte) []byte {
	b = codec.Uint64(b, r.Epoch)
	b = codec.Bytes(b, r.Proof)
	b = codec.Bytes(b, r.GroupInfo)
	return codec.AppendList(b, r.ties)
}

// Continues checks that the way back is tied to an epoch that this client held.
func (r *Return) Continues(groupID []byte, k *Known) error {
	return k.tied(r.ties, tiedReturn(groupID, r))
}

// SealReturn encrypts the way back into a group's present epoch, for its members
// and its link, to at most limit bytes: nil if it has no room there. past is what is
// known at this epoch.
func SealReturn(g *mls.Group, past *Known, link []byte, limit int) ([]byte, error) {
	info, err := g.GroupInfo(mls.GroupInfoOptions{})
	if err != nil {
		return nil, fmt.Errorf("make the group info: %w", err)
	}
	proof, err := Proof(g)
	if err != nil {
		return nil, err
	}
	back := &Return{Epoch: g.Epoch(), Proof: proof, GroupInfo: info}
	back.ties = past.ties(tiedReturn(g.ID(), back), func(uint64) bool { return true })
	plain := back.appendTo(nil)
	key := make([]byte, returnKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	defer clear(key)
	return sealReturn(g, link, key, plain, limit)
}

func sealReturn(g *mls.Group, link, key, plain []byte, limit int) ([]byte, error) {
	sealed := codec.Uint64([]byte{returnVersion}, g.Epoch())
	var err error
	sealed, err = appendLinkKey(sealed, g.ID(), link, key)
	if err != nil {
		return nil, err
	}
	var failed error
	sealed = codec.Vector(sealed, func(b []byte) []byte {
		for _, m := range g.Members() {
			share, err := g.SealToLeaf(m.Index, component, returnLabel, g.ID(), key)
			if err != nil {
				failed = fmt.Errorf("seal the way back to leaf %d: %w", m.Index, err)
				return b
			}
			b = codec.Uint32(b, uint32(m.Index))
			b = codec.Bytes(b, share)
		}
		return b
	})
	if failed != nil {
		return nil, failed
	}
	if sealed, err = sealWith(sealed, key, g.ID(), plain); err != nil {
		return nil, err
	}
	if len(sealed) > limit {
		return nil, nil
	}
	return sealed, nil
}

// sealWith appends plain, encrypted, and bound to what stands before it and to
// the group.
func sealWith(before, key, groupID, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	aad := append(codec.Bytes(nil, groupID), before...)
	return aead.Seal(append(before, nonce...), nonce, plain, aad), nil
}

// shares is a sealed way back, taken apart.
type shares struct {
	version uint8
	before  []byte // all but the encrypted part
	link    []byte
	leaves  map[tree.LeafIndex][]byte
	sealed  []byte
}

func parseReturn(b []byte) (*shares, error) {
	r := codec.NewReader(b)
	v := r.Uint8()
	if r.Err() == nil && (v == 0 || v > returnVersion) {
		return nil, fmt.Errorf("%w: version %d is unknown here", ErrReturn, v)
	}
	r.Uint64()
	s := &shares{version: v, link: r.Bytes(), leaves: map[tree.LeafIndex][]byte{}}
	list := r.Vector()
	for list.More() {
		leaf := tree.LeafIndex(list.Uint32())
		s.leaves[leaf] = list.Bytes()
	}
	r.Done(list)
	s.sealed = r.Rest()
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReturn, err)
	}
	s.before = b[:len(b)-len(s.sealed)]
	return s, nil
}

// OpenReturn opens the way back with the leaf key of a group that fell behind, or with
// one that the leaf had earlier.
func OpenReturn(g *mls.Group, earlier *EarlierLeaves, b []byte) (*Return, error) {
	s, err := parseReturn(b)
	if err != nil {
		return nil, err
	}
	share, ok := s.leaves[g.Self()]
	if ok {
		if key, err := g.OpenAtLeaf(component, returnLabel, g.ID(), share); err == nil {
			return s.open(g.ID(), key)
		}
	}
	back, err := earlier.openReturn(g.ID(), s)
	switch {
	case err == nil || err != ErrReturn: //nolint:errorlint // a reason of its own wraps it
		return back, err
	case !ok:
		return nil, fmt.Errorf("%w: we are no longer a member", ErrReturn)
	}
	return nil, fmt.Errorf("%w: it is not sealed to our leaf", ErrReturn)
}

// OpenReturnByLink opens the way into a group with its link.
func OpenReturnByLink(l Link, b []byte) (*Return, error) {
	s, err := parseReturn(b)
	if err != nil {
		return nil, err
	}
	key, err := openLinkKey(s.link, l)
	if err != nil {
		return nil, err
	}
	return s.open(l.GroupID, key)
}

func (s *shares) open(groupID []byte, key suite.Secret) (*Return, error) {
	defer key.Zero()
	aead, err := chacha20poly1305.NewX(key)
	if err != nil || len(s.sealed) < aead.NonceSize() {
		return nil, fmt.Errorf("%w: it is damaged", ErrReturn)
	}
	nonce, sealed := s.sealed[:aead.NonceSize()], s.sealed[aead.NonceSize():]
	aad := append(codec.Bytes(nil, groupID), s.before...)
	plain, err := aead.Open(nil, nonce, sealed, aad)
	if err != nil {
		return nil, fmt.Errorf("%w: it is damaged", ErrReturn)
	}
	r := codec.NewReader(plain)
	back := &Return{Epoch: r.Uint64(), Proof: r.Bytes(), GroupInfo: r.Bytes()}
	if s.version > 1 {
		back.ties = codec.List(r, readTie)
	}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReturn, err)
	}
	return back, nil
}
