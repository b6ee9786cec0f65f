package room

import (
	"fmt"
	"slices"
	"time"

	"quicproquo/crypto/codec"
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
type EarlierLeaves struct {
	list []earlierLeaf // ascending by until
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
		next.list = slices.Clone(l.list)
	}
	next.list = append(next.list, one)
	if len(next.list) > maxEarlier {
		next.list = slices.Delete(next.list, 1, 2)
	}
	return next
}

// Proven returns the keys that are still needed once another member has said something
// with the keys of an epoch: those that went out later.
func (l *EarlierLeaves) Proven(epoch uint64) *EarlierLeaves {
	return l.without(func(e *earlierLeaf) bool { return e.until <= epoch })
}

// Before returns the keys that are needed once one of them has opened a way back: those
// that the leaf had later were in no tree but ours.
func (l *EarlierLeaves) Before(back *Return) *EarlierLeaves {
	return l.without(func(e *earlierLeaf) bool { return e.until > back.until })
}

// Since returns the keys that went out after a time.
func (l *EarlierLeaves) Since(from time.Time) *EarlierLeaves {
	return l.without(func(e *earlierLeaf) bool { return e.at < from.Unix() })
}

func (l *EarlierLeaves) without(gone func(*earlierLeaf) bool) *EarlierLeaves {
	if l == nil || !slices.ContainsFunc(l.list, func(e earlierLeaf) bool { return gone(&e) }) {
		return l
	}
	next := &EarlierLeaves{}
	for i := range l.list {
		if !gone(&l.list[i]) {
			next.list = append(next.list, l.list[i])
		}
	}
	if len(next.list) == 0 {
		return nil
	}
	return next
}

// Unproven reports whether an epoch was begun by a commit of ours that nobody has
// confirmed.
func (l *EarlierLeaves) Unproven(epoch uint64) bool {
	return l != nil && slices.ContainsFunc(l.list, func(e earlierLeaf) bool { return e.until == epoch })
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
	return codec.AppendList(append(b, earlierVersion), l.list)
}

func (e earlierLeaf) AppendTo(b []byte) []byte {
	b = codec.Uint16(codec.Uint32(b, uint32(e.leaf)), uint16(e.suite))
	b = codec.Uint64(codec.Uint64(b, e.until), uint64(e.at))
	return codec.Bytes(codec.Bytes(b, e.key), e.past)
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
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("read the earlier keys of a leaf: %w", err)
	}
	for _, e := range l.list {
		if len(e.key) == 0 {
			return nil, fmt.Errorf("read the earlier keys of a leaf: one is empty")
		}
	}
	return l, nil
}
