package groupstate

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Known is what a client keeps of the past of a group beside the group's state: the
// last roster and data that it could read, and a key of some of the epochs that it
// held. It decides what may continue the group (Allows), and proves to others, and
// lets others prove, that an epoch was held (ties). It is kept after the group's keys
// are gone, since a member who was removed may be added again. A value is never
// changed; Zero erases its keys.
//
// A key is exported from the epoch's exporter secret (RFC 9420 §8.5), so it tells
// nothing of the epoch's messages. Kept are those of the last keptEpochs epochs, of
// the epochs in which the leaves of present members got their keys (which every such
// member held, however long it was away), and of those in which accounts were members
// last.
type Known struct {
	Epoch    uint64
	Suite    suite.ID
	Data     *Data                    // the last that could be read
	Accounts [][identity.KeySize]byte // sorted, each once

	keys   []epochKey  // ascending
	leaves []leafEpoch // ascending by leaf
	gone   []goneEpoch // oldest first
	// left are devices that were members and are none any more, the oldest first: they
	// hold keys of epochs that are kept here, and may not vouch for anything.
	left []Member
	// proofs are what ends the last epochs at the cluster (Proof), ascending.
	proofs []epochKey
}

type epochKey struct {
	epoch uint64
	key   suite.Secret // lineageKeySize
}

// leafEpoch says in which epoch a leaf got the encryption key that it has.
type leafEpoch struct {
	leaf  tree.LeafIndex
	epoch uint64
}

// goneEpoch says that an account that is no member held an epoch.
type goneEpoch struct {
	account [identity.KeySize]byte
	epoch   uint64
}

const (
	knownVersion   = 1
	lineageLabel   = "qpq/1 lineage"
	lineageKeySize = 32
	// keptEpochs is how many of the last epochs' keys are kept.
	keptEpochs = 32
	// keptProofs is how many of the last epochs' proofs are kept, 40 bytes each: how many
	// epochs a cluster may have forgotten that was restored from a backup.
	keptProofs = 128
	// maxGone is how many epochs of former members are kept, the oldest dropped.
	maxGone = 256
	// maxKeys bounds the keys that are kept.
	maxKeys = 4096
)

// Next returns what is known once a group has entered an epoch, after the state in
// which it was before: nil where this client held no epoch.
func (k *Known) Next(before, after *mls.Group) *Known {
	next := &Known{Epoch: after.Epoch(), Suite: after.Public().Context().Suite, Accounts: accountsIn(after.Public())}
	if k != nil {
		next.Data, next.keys, next.gone = k.Data, slices.Clone(k.keys), slices.Clone(k.gone)
		next.proofs, next.left = slices.Clone(k.proofs), slices.Clone(k.left)
	}
	if data, err := DataOf(after.Public().Context().Extensions); err == nil {
		next.Data = data
	}
	for i, l := range after.Public().Tree().Members {
		next.leaves = append(next.leaves, leafEpoch{i, k.keyed(before, i, l, after.Epoch())})
	}
	if k != nil {
		next.part(k, before)
	}
	next.leave(before, after)
	if key, err := after.Export(lineageLabel, after.ID(), lineageKeySize); err == nil {
		next.keys = append(earlier(next.keys, after.Epoch()), epochKey{after.Epoch(), key})
	}
	if proof, err := Proof(after); err == nil {
		next.proofs = append(earlier(next.proofs, after.Epoch()), epochKey{after.Epoch(), proof})
		next.proofs = next.proofs[max(0, len(next.proofs)-keptProofs):]
	}
	next.trim(after.Self())
	return next
}

// earlier returns the keys of the epochs before one.
func earlier(keys []epochKey, epoch uint64) []epochKey {
	return slices.DeleteFunc(keys, func(e epochKey) bool { return e.epoch >= epoch })
}

// keyed returns the epoch in which a leaf got its key.
func (k *Known) keyed(before *mls.Group, i tree.LeafIndex, l *tree.LeafNode, now uint64) uint64 {
	if k == nil || before == nil {
		return now
	}
	old := before.Public().Tree().Leaf(i)
	if old == nil || string(old.EncryptionKey) != string(l.EncryptionKey) {
		return now
	}
	at, found := slices.BinarySearchFunc(k.leaves, i, func(e leafEpoch, i tree.LeafIndex) int { return int(e.leaf) - int(i) })
	if !found {
		return before.Epoch()
	}
	return k.leaves[at].epoch
}

// part notes which epochs those held who are no members any more.
func (k *Known) part(last *Known, before *mls.Group) {
	k.gone = slices.DeleteFunc(k.gone, func(g goneEpoch) bool { return k.member(g.account) })
	if before == nil {
		return
	}
	for i, l := range before.Public().Tree().Members {
		c, err := ParseCredential(l.Credential)
		if err != nil || k.member(c.Account) {
			continue
		}
		for _, epoch := range []uint64{last.keyed(before, i, l, before.Epoch()), before.Epoch()} {
			if one := (goneEpoch{c.Account, epoch}); !slices.Contains(k.gone, one) {
				k.gone = append(k.gone, one)
			}
		}
	}
	if n := len(k.gone); n > maxGone {
		k.gone = k.gone[n-maxGone:]
	}
}

// leave notes which devices are no members any more.
func (k *Known) leave(before, after *mls.Group) {
	here := devicesIn(after.Public())
	k.left = slices.DeleteFunc(k.left, func(m Member) bool { return here[m] })
	if before == nil {
		return
	}
	var gone []Member
	for m := range devicesIn(before.Public()) {
		if !here[m] {
			gone = append(gone, m)
		}
	}
	slices.SortFunc(gone, Compare)
	k.left = append(k.left, gone...)
	k.left = k.left[max(0, len(k.left)-maxGone):]
}

// devicesIn returns the devices of a group's members.
func devicesIn(p *mls.PublicGroup) map[Member]bool {
	devices := map[Member]bool{}
	for _, l := range p.Tree().Members {
		if c, err := ParseCredential(l.Credential); err == nil {
			devices[c.Member] = true
		}
	}
	return devices
}

// trim drops the keys that nothing needs. self's own leaf is among the leaves.
func (k *Known) trim(self tree.LeafIndex) {
	needed := map[uint64]bool{}
	for _, l := range k.leaves {
		needed[l.epoch] = true
	}
	for _, g := range k.gone {
		needed[g.epoch] = true
	}
	old := k.keys
	k.keys = nil
	for i, e := range old {
		if needed[e.epoch] || len(old)-i <= keptEpochs {
			k.keys = append(k.keys, e)
		}
	}
	if over := len(k.keys) - maxKeys; over > 0 {
		own := k.leafEpoch(self)
		k.keys = slices.DeleteFunc(k.keys, func(e epochKey) bool {
			if over > 0 && e.epoch != own {
				over--
				return true
			}
			return false
		})
	}
}

func (k *Known) leafEpoch(of tree.LeafIndex) uint64 {
	for _, l := range k.leaves {
		if l.leaf == of {
			return l.epoch
		}
	}
	return k.Epoch
}

func (k *Known) member(account [identity.KeySize]byte) bool {
	_, found := slices.BinarySearchFunc(k.Accounts, account, compareKeys)
	return found
}

// Admin reports whether an account decided about the group in the last epoch that is
// known. In a DM both do, and in a group that has lost all its admins, everybody.
func (k *Known) Admin(account [identity.KeySize]byte) bool {
	if !k.member(account) {
		return false
	}
	if k.Data == nil || k.Data.Kind == KindDM || k.Data.Listed(account) {
		return true
	}
	return !slices.ContainsFunc(k.Accounts, k.Data.Listed)
}

// accountsIn returns the accounts of a group's members, sorted, each once.
func accountsIn(p *mls.PublicGroup) (list [][identity.KeySize]byte) {
	for _, l := range p.Tree().Members {
		if c, err := ParseCredential(l.Credential); err == nil {
			list = append(list, c.Account)
		}
	}
	slices.SortFunc(list, compareKeys)
	return slices.Compact(list)
}

// Proof returns what ends an earlier epoch at the cluster, if it is kept: for a cluster
// that was restored from a backup, whose record of the group is of that epoch.
func (k *Known) Proof(epoch uint64) ([]byte, bool) {
	if k == nil {
		return nil, false
	}
	return find(k.proofs, epoch)
}

// key returns the key of an epoch that is kept.
func (k *Known) key(epoch uint64) (suite.Secret, bool) {
	if k == nil {
		return nil, false
	}
	return find(k.keys, epoch)
}

func find(keys []epochKey, epoch uint64) (suite.Secret, bool) {
	at, found := slices.BinarySearchFunc(keys, epoch, func(e epochKey, epoch uint64) int {
		switch {
		case e.epoch < epoch:
			return -1
		case e.epoch > epoch:
			return 1
		}
		return 0
	})
	if !found {
		return nil, false
	}
	return keys[at].key, true
}

// Zero erases the keys that next does not have.
func (k *Known) Zero(next *Known) {
	if k == nil {
		return
	}
	for _, e := range k.keys {
		if _, kept := next.key(e.epoch); !kept {
			e.key.Zero()
		}
	}
	for _, e := range k.proofs {
		if _, kept := next.Proof(e.epoch); !kept {
			e.key.Zero()
		}
	}
}

// tieSize is the size of a tie's code.
const tieSize = sha256.Size

// tie is the proof that who made it held an epoch: a code under that epoch's key
// (HMAC-SHA-256) over what is tied to it.
type tie struct {
	epoch uint64
	code  []byte
}

func (t tie) AppendTo(b []byte) []byte { return append(codec.Uint64(b, t.epoch), t.code...) }

func readTie(r *codec.Reader) tie { return tie{r.Uint64(), r.Fixed(tieSize)} }

func code(key suite.Secret, what [sha256.Size]byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(what[:])
	return m.Sum(nil)
}

// ties returns a tie to each of these epochs whose key is kept.
func (k *Known) ties(what [sha256.Size]byte, epochs func(uint64) bool) (list []tie) {
	if k == nil {
		return nil
	}
	for _, e := range k.keys {
		if epochs(e.epoch) {
			list = append(list, tie{e.epoch, code(e.key, what)})
		}
	}
	return list
}

// newest returns a tie to the newest epoch of all that are kept.
func (k *Known) newest(what [sha256.Size]byte) (t tie, ok bool) {
	if k == nil || len(k.keys) == 0 {
		return t, false
	}
	e := k.keys[len(k.keys)-1]
	return tie{e.epoch, code(e.key, what)}, true
}

// ErrTie means that nothing ties a continuation of a group to an epoch that this
// client held.
var ErrTie = fmt.Errorf("nothing ties it to the keys that this client had: %w", ErrLineage)

// tied checks the tie to the newest epoch whose key both have.
func (k *Known) tied(list []tie, what [sha256.Size]byte) error {
	best, have := tie{}, suite.Secret(nil)
	for _, t := range list {
		if key, held := k.key(t.epoch); held && (have == nil || t.epoch > best.epoch) {
			best, have = t, key
		}
	}
	if have == nil || !hmac.Equal(best.code, code(have, what)) {
		return ErrTie
	}
	return nil
}

// AppendTo appends the encoding. It is secret.
func (k *Known) AppendTo(b []byte) []byte {
	b = codec.Uint64(append(b, knownVersion), k.Epoch)
	b = codec.Uint16(b, uint16(k.Suite))
	b = codec.Vector(b, func(b []byte) []byte {
		if k.Data == nil {
			return b
		}
		return k.Data.AppendTo(b)
	})
	b = codec.Vector(b, func(b []byte) []byte {
		for _, a := range k.Accounts {
			b = append(b, a[:]...)
		}
		return b
	})
	b = codec.Vector(b, func(b []byte) []byte {
		for _, e := range k.keys {
			b = append(codec.Uint64(b, e.epoch), e.key...)
		}
		return b
	})
	b = codec.Vector(b, func(b []byte) []byte {
		for _, l := range k.leaves {
			b = codec.Uint64(codec.Uint32(b, uint32(l.leaf)), l.epoch)
		}
		return b
	})
	b = codec.Vector(b, func(b []byte) []byte {
		for _, g := range k.gone {
			b = codec.Uint64(append(b, g.account[:]...), g.epoch)
		}
		return b
	})
	b = codec.Vector(b, func(b []byte) []byte {
		for _, e := range k.proofs {
			b = append(codec.Uint64(b, e.epoch), e.key...)
		}
		return b
	})
	return codec.Vector(b, func(b []byte) []byte {
		for _, m := range k.left {
			b = append(append(b, m.Account[:]...), m.Device[:]...)
		}
		return b
	})
}

// ParseKnown reads what AppendTo wrote. What follows is of a newer version.
func ParseKnown(b []byte) (*Known, error) {
	r := codec.NewReader(slices.Clone(b))
	if v := r.Uint8(); r.Err() == nil && v != knownVersion {
		return nil, fmt.Errorf("read the past of a group: version %d", v)
	}
	k := &Known{Epoch: r.Uint64(), Suite: suite.ID(r.Uint16())}
	if data := r.Bytes(); len(data) > 0 {
		d, err := parseData(data)
		if err != nil {
			return nil, fmt.Errorf("read the past of a group: %w", err)
		}
		k.Data = d
	}
	k.Accounts = codec.List(r, func(r *codec.Reader) (a [identity.KeySize]byte) {
		copy(a[:], r.Fixed(len(a)))
		return a
	})
	k.keys = codec.List(r, func(r *codec.Reader) epochKey { return epochKey{r.Uint64(), r.Fixed(lineageKeySize)} })
	k.leaves = codec.List(r, func(r *codec.Reader) leafEpoch { return leafEpoch{tree.LeafIndex(r.Uint32()), r.Uint64()} })
	k.gone = codec.List(r, func(r *codec.Reader) (g goneEpoch) {
		copy(g.account[:], r.Fixed(len(g.account)))
		g.epoch = r.Uint64()
		return g
	})
	if r.More() { // programs before this one kept no proofs
		k.proofs = codec.List(r, func(r *codec.Reader) epochKey { return epochKey{r.Uint64(), r.Fixed(proofSize)} })
	}
	if r.More() { // nor which devices have left
		k.left = codec.List(r, func(r *codec.Reader) (m Member) {
			copy(m.Account[:], r.Fixed(len(m.Account)))
			copy(m.Device[:], r.Fixed(len(m.Device)))
			return m
		})
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("read the past of a group: %w", err)
	}
	return k, nil
}
