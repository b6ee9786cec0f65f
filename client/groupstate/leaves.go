package groupstate

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// EarlierLeaves are the private keys that a member's leaf may have in the true group, the
// present one apart: those that it had before commits of its own renewed it, and those of
// its commits that are said to have lost. A node can say that a commit has won and never
// pass it on, or that it has lost and pass it on; so they are kept for as long as nothing
// shows that the others have gone on to the same epochs. The way back into the true group
// is sealed to the leaf that the group has, so it is opened with one of these keys, and
// judged by what was known when it was in use. A value is never changed; Zero erases its
// keys.
//
// So is what was known before a commit of another's, while nobody but its maker has shown
// that he has it: a member can send one of the others a commit that the cluster never had,
// and lead him aside.
type EarlierLeaves struct {
	list []earlierLeaf // ascending by until
	led  *led          // before the first such commit; nil: there is none
}

// led is the place from which a member may have been led aside.
type led struct {
	until   uint64 // the epoch that the commit began
	at      int64  // when, in seconds since 1970
	by      [identity.KeySize]byte
	lawless bool         // since then something was done that only admins may do
	past    suite.Secret // Known, encoded, of the epoch before until
}

type earlierLeaf struct {
	leaf  tree.LeafIndex
	suite suite.ID
	until uint64 // the epoch that our commit began, or would have
	at    int64  // when, in seconds since 1970
	key   suite.Secret
	past  suite.Secret // Known, encoded, of the epoch before until
}

const (
	earlierVersion = 1
	// maxEarlier is how many earlier keys of a leaf are kept. Beyond it, the oldest, which
	// others are known to have seen, and the newest stay.
	maxEarlier = 4
	// MaxEarlierAge is how long an earlier key is kept though nobody has said anything:
	// who holds it can open the paths of the epochs in which it was in use.
	MaxEarlierAge = 30 * 24 * time.Hour
)

// Next returns the earlier keys once a commit of our own has begun an epoch. past is
// what was known before it. Where nobody else was in the group, nobody can have kept
// anything for the key.
func (l *EarlierLeaves) Next(past *Known, before, after *mls.Group, now time.Time) *EarlierLeaves {
	if before == nil || past == nil || len(before.Members()) < 2 || string(before.OwnLeaf().EncryptionKey) == string(after.OwnLeaf().EncryptionKey) {
		return l
	}
	return l.with(before, past, after.Epoch(), now)
}

// Refused returns the keys with that of a commit of our own that is said to have lost,
// next being the epoch that it would have begun: it may have won all the same, and then
// that is the leaf that the group has.
func (l *EarlierLeaves) Refused(past *Known, next *mls.Group, now time.Time) *EarlierLeaves {
	if past == nil || len(next.Members()) < 2 {
		return l
	}
	return l.with(next, past, next.Epoch(), now)
}

// with adds the key of a group's own leaf.
func (l *EarlierLeaves) with(of *mls.Group, past *Known, until uint64, now time.Time) *EarlierLeaves {
	one := earlierLeaf{
		leaf: of.Self(), suite: of.Public().Context().Suite, until: until, at: now.Unix(),
		key: of.LeafKey(), past: past.AppendTo(nil),
	}
	next := &EarlierLeaves{}
	if l != nil {
		next.list, next.led = slices.Clone(l.list), l.led
	}
	next.list = append(next.list, one)
	if len(next.list) > maxEarlier {
		next.list = slices.Delete(next.list, 1, 2)
	}
	return next
}

// Followed returns what is kept once a commit of another has begun an epoch, past being
// what was known before it. Where there is nobody else from whom it could lead aside, as in
// a conversation of two, nothing is kept.
func (l *EarlierLeaves) Followed(past *Known, after *mls.Group, by [identity.KeySize]byte, lawless bool, now time.Time) *EarlierLeaves {
	me, err := ParseCredential(after.OwnLeaf().Credential)
	if past == nil || err != nil || !slices.ContainsFunc(past.Accounts, func(a [identity.KeySize]byte) bool { return a != by && a != me.Account }) {
		return l
	}
	next := &EarlierLeaves{}
	if l != nil {
		*next = *l
	}
	switch {
	case next.led == nil:
		next.led = &led{until: after.Epoch(), at: now.Unix(), by: by, lawless: lawless, past: past.AppendTo(nil)}
	case lawless && !next.led.lawless:
		one := *next.led
		one.lawless, next.led = true, &one
	default:
		return l
	}
	return next
}

// Accepted returns what is kept once the cluster has accepted a commit of ours: it has the
// epoch that this has ended, so nobody has led us aside.
func (l *EarlierLeaves) Accepted() *EarlierLeaves {
	if l == nil || l.led == nil {
		return l
	}
	if len(l.list) == 0 {
		return nil
	}
	return &EarlierLeaves{list: l.list}
}

// Proven returns what is still needed once another member has said something with the
// keys of an epoch: the keys that went out later. That somebody else than its maker has
// followed a commit shows that it leads nobody aside.
func (l *EarlierLeaves) Proven(epoch uint64, by [identity.KeySize]byte) *EarlierLeaves {
	if l != nil && l.led != nil && l.led.until <= epoch && l.led.by != by {
		if past, err := ParseKnown(l.led.past); err != nil || past.member(by) {
			l = l.Accepted()
		}
	}
	return l.without(func(e *earlierLeaf) bool { return e.until <= epoch })
}

// Before returns the keys that are needed once one of them has opened a way back: those
// that the leaf had later were in no tree but ours.
func (l *EarlierLeaves) Before(back *Return) *EarlierLeaves {
	return l.Accepted().without(func(e *earlierLeaf) bool { return e.until > back.until })
}

// Since returns the keys that went out after a time.
func (l *EarlierLeaves) Since(from time.Time) *EarlierLeaves {
	if l != nil && l.led != nil && l.led.at < from.Unix() {
		l = l.Accepted()
	}
	return l.without(func(e *earlierLeaf) bool { return e.at < from.Unix() })
}

func (l *EarlierLeaves) without(gone func(*earlierLeaf) bool) *EarlierLeaves {
	if l == nil || !slices.ContainsFunc(l.list, func(e earlierLeaf) bool { return gone(&e) }) {
		return l
	}
	next := &EarlierLeaves{led: l.led}
	for i := range l.list {
		if !gone(&l.list[i]) {
			next.list = append(next.list, l.list[i])
		}
	}
	if len(next.list) == 0 && next.led == nil {
		return nil
	}
	return next
}

// Unproven reports whether an epoch was begun by a commit of ours, or follows one of
// another's, that nobody has confirmed.
func (l *EarlierLeaves) Unproven(epoch uint64) bool {
	return l != nil && (l.led != nil && l.led.until <= epoch ||
		slices.ContainsFunc(l.list, func(e earlierLeaf) bool { return e.until == epoch }))
}

// Judge finds out whether a way back that our present leaf opens leads to where the others
// are, from whom a commit has led us aside, held being what is known at our epoch. If so it
// is judged by what was known before that commit, Past.
func (l *EarlierLeaves) Judge(groupID []byte, back *Return, held *Known) error {
	if l == nil || l.led == nil || back.Past != nil || back.Epoch < l.led.until || held == nil {
		return nil
	}
	if back.Epoch <= held.Epoch {
		if proof, kept := held.Proof(back.Epoch); !kept || subtle.ConstantTimeCompare(proof, back.Proof) == 1 {
			return nil // it is the epoch that we have had
		}
	} else if back.Continues(groupID, held) == nil {
		return nil
	}
	past, err := ParseKnown(l.led.past)
	if err != nil || back.Continues(groupID, past) != nil {
		return err
	}
	by := l.led.by
	back.Past, back.until, back.Lawless, back.LedBy = past, l.led.until, l.led.lawless, &by
	return nil
}

// Zero erases the keys that next does not have.
func (l *EarlierLeaves) Zero(next *EarlierLeaves) {
	if l == nil {
		return
	}
	kept := map[*byte]bool{}
	if next != nil {
		for _, e := range next.list {
			kept[&e.key[0]] = true
		}
	}
	for _, e := range l.list {
		if !kept[&e.key[0]] {
			e.key.Zero()
			e.past.Zero()
		}
	}
	if l.led != nil && (next == nil || next.led == nil || &next.led.past[0] != &l.led.past[0]) {
		l.led.past.Zero()
	}
}

// openReturn opens the way back with the newest earlier key that it is sealed to.
func (l *EarlierLeaves) openReturn(groupID []byte, s *shares) (*Return, error) {
	if l == nil {
		return nil, ErrReturn
	}
	for _, e := range slices.Backward(l.list) {
		share, ok := s.leaves[e.leaf]
		known, err := suite.Lookup(e.suite)
		if !ok || err != nil {
			continue
		}
		key, err := mls.OpenWithLeafKey(known, e.key, component, returnLabel, groupID, share)
		if err != nil {
			continue
		}
		back, err := s.open(groupID, key)
		if err != nil {
			return nil, err
		}
		// It continues what was before our commit, or nothing that we held.
		if back.Epoch < e.until {
			return nil, fmt.Errorf("%w: it is of epoch %d, which is over", ErrReturn, back.Epoch)
		}
		back.until = e.until
		back.Past, err = ParseKnown(e.past)
		return back, err
	}
	return nil, ErrReturn
}

// AppendTo appends the encoding. It is secret.
func (l *EarlierLeaves) AppendTo(b []byte) []byte {
	if l == nil {
		return b
	}
	b = codec.AppendList(append(b, earlierVersion), l.list)
	if l.led == nil {
		return b
	}
	b = append(codec.Uint64(codec.Uint64(b, l.led.until), uint64(l.led.at)), l.led.by[:]...)
	lawless := uint8(0)
	if l.led.lawless {
		lawless = 1
	}
	return codec.Bytes(append(b, lawless), l.led.past)
}

func (e earlierLeaf) AppendTo(b []byte) []byte {
	b = codec.Uint16(codec.Uint32(b, uint32(e.leaf)), uint16(e.suite))
	b = codec.Uint64(codec.Uint64(b, e.until), uint64(e.at))
	return codec.Bytes(codec.Bytes(b, e.key), e.past)
}

func readLed(r *codec.Reader) *led {
	one := &led{until: r.Uint64(), at: int64(r.Uint64())}
	copy(one.by[:], r.Fixed(len(one.by)))
	lawless := r.Uint8()
	one.lawless = lawless == 1
	if one.past = r.Bytes(); lawless > 1 {
		one.past = nil
	}
	return one
}

// ParseEarlierLeaves reads what AppendTo wrote.
func ParseEarlierLeaves(b []byte) (*EarlierLeaves, error) {
	r := codec.NewReader(slices.Clone(b))
	if v := r.Uint8(); r.Err() == nil && v != earlierVersion {
		return nil, fmt.Errorf("read the earlier keys of a leaf: version %d", v)
	}
	l := &EarlierLeaves{list: codec.List(r, func(r *codec.Reader) earlierLeaf {
		return earlierLeaf{
			tree.LeafIndex(r.Uint32()), suite.ID(r.Uint16()), r.Uint64(), int64(r.Uint64()), r.Bytes(), r.Bytes(),
		}
	})}
	if r.More() { // programs before this one kept nothing of others' commits
		l.led = readLed(r)
	}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("read the earlier keys of a leaf: %w", err)
	}
	if l.led != nil && len(l.led.past) == 0 {
		return nil, errors.New("read the earlier keys of a leaf: nothing was known before another's commit")
	}
	for _, e := range l.list {
		if len(e.key) == 0 {
			return nil, fmt.Errorf("read the earlier keys of a leaf: one is empty")
		}
	}
	return l, nil
}
