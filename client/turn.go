package client

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
)

// maxTalks bounds how many conversations' keys are kept in memory.
const maxTalks = 64

// talk is a conversation with its keys. A value belongs to one turn; the cached one
// is never changed.
type talk struct {
	vault.Conversation
	group   *mls.Group // nil: we have no keys (yet, or any more)
	founded bool
	started time.Time
	sent    uint64
	renewed time.Time // our leaf's key; zero: not known

	// known is what is known of the group's past, nil if no epoch was ever held here.
	known, savedKnown *groupstate.Known

	// earlier are the keys that our leaf had before, nil if none is needed any more.
	earlier, savedEarlier *groupstate.EarlierLeaves

	asked []byte       // digest of a continuation that was refused for want of proof
	saved *mls.Group   // what the vault has
	over  []*mls.Group // states that end with the turn
	anew  bool         // the group is in another epoch than saved
	fresh bool         // the conversation's row must be written
	noted bool         // the group's row must be written though group is saved
}

// data is what the members agree on: the last that could be read, whatever a commit
// has put in its place.
func (row *talk) data() *groupstate.Data {
	if row.group != nil {
		if data, err := groupstate.DataOf(row.group.Public().Context().Extensions); err == nil {
			return data
		}
	}
	if row.known != nil && row.known.Data != nil {
		return row.known.Data
	}
	return &groupstate.Data{Kind: groupstate.Kind(row.Kind), Title: row.Title, Expire: row.Expire}
}

// begun reports whether the group has been in use: the cluster had its record, whatever
// a node says of it now.
func (row *talk) begun() bool { return row.group != nil && row.group.Epoch() > 0 }

// shared reports whether the others have the group: messages need no more than that, so
// a node that denies its record holds up commits only.
func (row *talk) shared() bool { return row.founded || row.begun() }

// turn is one transaction of the vault, with the keys that it uses. Whatever it
// decides holds, in the vault and in memory, or nothing does.
type turn struct {
	*vault.Tx
	c       *Client
	now     time.Time
	talks   map[vault.ConversationID]*talk
	after   []func() // run once it holds
	signals []Signal
	notable bool // somebody may wait for what it did
	scrub   bool // it leaves in the vault's files what must not stay there
	// delivered are the messages of DMs that have come in this turn.
	delivered map[vault.ConversationID][][16]byte
}

// turn runs f as one transaction.
func (c *Client) turn(f func(*turn) error) error {
	c.mu.Lock()
	t := &turn{c: c, now: c.now(), talks: map[vault.ConversationID]*talk{}}
	err := c.vault.Update(func(tx *vault.Tx) error {
		t.Tx = tx
		tx.At(t.now)
		if err := f(t); err != nil {
			return err
		}
		return t.save()
	})
	if err != nil {
		// What the cache has is what the vault has: a turn works on copies.
		c.mu.Unlock()
		return err
	}
	t.keep()
	c.namesakes = nil
	c.mu.Unlock()
	if t.scrub {
		c.scrubDue.Store(true)
	}
	for _, f := range t.after {
		f()
	}
	c.tell(t.signals)
	if t.notable {
		c.ring()
	}
	return nil
}

// look runs f on what is there.
func (c *Client) look(f func(*turn) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &turn{c: c, now: c.now(), talks: map[vault.ConversationID]*talk{}}
	return c.vault.View(func(tx *vault.Tx) error {
		t.Tx = tx
		tx.At(t.now)
		return f(t)
	})
}

// talk returns a conversation, to be changed in place.
func (t *turn) talk(id vault.ConversationID) (*talk, error) {
	if v := t.talks[id]; v != nil {
		return v, nil
	}
	if cached := t.c.talks[id]; cached != nil {
		v := *cached
		t.talks[id] = &v
		return &v, nil
	}
	row, err := t.Conversation(id)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, ErrNoConversation
	}
	v := &talk{Conversation: *row}
	if err := t.loadGroup(v); err != nil {
		return nil, fmt.Errorf("load the keys of conversation %x: %w", id, err)
	}
	t.talks[id] = v
	return v, nil
}

// loadGroup reads a conversation's keys and past. Keys that can't be read leave that
// conversation broken, and no other.
func (t *turn) loadGroup(v *talk) error {
	row, err := t.Group(v.ID)
	if err != nil {
		return err
	}
	past, err := t.Past(v.ID)
	if err != nil {
		return err
	}
	if len(past) > 0 {
		if v.known, err = groupstate.ParseKnown(past); err != nil {
			t.c.log.Error("the past of a conversation can't be read", "conversation", idText(v.ID), "error", err)
		}
		v.savedKnown = v.known
	}
	if err := t.loadEarlier(v); err != nil || row == nil {
		return err
	}
	group, err := mls.UnmarshalParts(t.c.config(), row.Fixed, row.Moving)
	if err != nil {
		v.State, v.Reason = stateBroken, "its keys on this device can't be read: "+err.Error()
		return nil
	}
	v.group, v.saved = group, group
	v.founded, v.started, v.sent, v.renewed = row.Founded, row.Started, row.Sent, row.Renewed
	if v.known == nil { // of a version that kept no past
		v.known = v.known.Next(nil, group)
	}
	return nil
}

// loadEarlier reads the keys that our leaf had before. Without them there is one way back
// less.
func (t *turn) loadEarlier(v *talk) error {
	keys, err := t.EarlierLeaves(v.ID)
	if err != nil || len(keys) == 0 {
		return err
	}
	if v.earlier, err = groupstate.ParseEarlierLeaves(keys); err != nil {
		t.c.log.Error("earlier keys of a conversation can't be read", "conversation", idText(v.ID), "error", err)
	}
	clear(keys)
	v.savedEarlier = v.earlier
	return nil
}

// talkOf returns the conversation of a group, nil if there is none.
func (t *turn) talkOf(groupID []byte) (*talk, error) {
	for _, v := range t.talks {
		if string(v.GroupID) == string(groupID) {
			return v, nil
		}
	}
	row, err := t.ConversationOf(groupID)
	if err != nil || row == nil {
		return nil, err
	}
	return t.talk(row.ID)
}

// add makes a conversation part of the turn and the vault.
func (t *turn) add(v *talk) error {
	if err := t.AddConversation(&v.Conversation); err != nil {
		return err
	}
	t.talks[v.ID] = v
	t.changed(v)
	return nil
}

// changed has a conversation's row written, and screens told.
func (t *turn) changed(v *talk) {
	v.fresh = true
	t.signal(Signal{Kind: SignalConversation, Conversation: idText(v.ID)})
}

// enter continues a conversation in an epoch that has just begun.
func (row *talk) enter(group *mls.Group, now time.Time) {
	row.earlier = row.earlier.Next(row.known, row.group, group, now)
	row.known = row.known.Next(row.group, group)
	if leaf := group.OwnLeaf(); row.group == nil || !bytes.Equal(row.group.OwnLeaf().EncryptionKey, leaf.EncryptionKey) {
		row.renewed = keyMade(leaf, now)
	}
	row.group, row.started, row.sent, row.anew = group, now, 0, true
}

// keyMade returns when a leaf of ours that is new in a group got its key: that of a key
// package is as old as the package.
func keyMade(leaf *tree.LeafNode, now time.Time) time.Time {
	if leaf.Source != tree.SourceKeyPackage {
		return now
	}
	made := time.Unix(int64(min(leaf.Lifetime.NotBefore, uint64(now.Unix()))), 0).Add(keyPackageSlack)
	if made.After(now) {
		return now
	}
	return made
}

// supersede has the keys of the state that the vault has erased in memory, once the turn
// holds: what follows is another group, or nothing.
func (row *talk) supersede() {
	for _, g := range []*mls.Group{row.saved, row.group} {
		if g != nil && !slices.Contains(row.over, g) {
			row.over = append(row.over, g)
		}
	}
	row.group, row.saved, row.earlier = nil, nil, nil
}

// forget drops the keys of a conversation.
func (t *turn) forget(v *talk) error {
	v.supersede()
	t.deadSecrets()
	return t.DeleteGroup(v.ID)
}

// save writes what the turn has changed of its conversations.
func (t *turn) save() error {
	for _, v := range t.talks {
		if v.fresh {
			if err := t.SetConversation(&v.Conversation); err != nil {
				return err
			}
		}
		if v.known != v.savedKnown {
			past := v.known.AppendTo(nil)
			err := t.SetPast(v.ID, past)
			clear(past)
			if err != nil {
				return err
			}
		}
		if err := t.saveEarlier(v); err != nil {
			return err
		}
		if v.group == nil || v.group == v.saved && !v.noted {
			continue
		}
		row := &vault.Group{Epoch: v.group.Epoch(), Founded: v.founded, Started: v.started, Sent: v.sent, Renewed: v.renewed}
		if v.anew {
			t.deadSecrets()
			row.Fixed, row.Moving = v.group.MarshalParts()
		} else {
			row.Moving = v.group.MarshalMoving()
		}
		err := t.SetGroup(v.ID, row)
		clear(row.Fixed)
		clear(row.Moving)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *turn) saveEarlier(v *talk) error {
	if v.earlier == v.savedEarlier {
		return nil
	}
	if v.savedEarlier != nil {
		t.deadSecrets()
	}
	keys := v.earlier.AppendTo(nil)
	defer clear(keys)
	return t.SetEarlierLeaves(v.ID, keys)
}

// keep makes what the vault has committed the state in memory.
func (t *turn) keep() {
	c := t.c
	for id, v := range t.talks {
		if v.saved != nil && v.anew {
			v.over = append(v.over, v.saved)
		}
		for _, old := range v.over {
			old.Retire(v.group)
		}
		if v.savedKnown != v.known {
			v.savedKnown.Zero(v.known)
		}
		if v.savedEarlier != v.earlier {
			v.savedEarlier.Zero(v.earlier)
		}
		v.saved, v.savedKnown, v.over, v.anew, v.fresh, v.noted = v.group, v.known, nil, false, false, false
		v.savedEarlier = v.earlier
		c.talks[id] = v
	}
	for id := range c.talks {
		if len(c.talks) <= maxTalks {
			break
		}
		if t.talks[id] == nil {
			delete(c.talks, id)
		}
	}
}

// apart runs f so that its failure is undone, in the vault and here: what one
// conversation brings never stops another. err is the vault's own.
func (t *turn) apart(f func() error) (failure, err error) {
	rows := make(map[*talk]talk, len(t.talks))
	for _, v := range t.talks {
		rows[v] = *v
	}
	after, signals, notable, delivered := len(t.after), len(t.signals), t.notable, maps.Clone(t.delivered)
	failure = t.Nested(f)
	if failure == nil || t.Lost() != nil {
		return nil, t.Lost()
	}
	for id, v := range t.talks {
		if was, there := rows[v]; there {
			*v = was
		} else {
			delete(t.talks, id)
		}
	}
	t.after, t.signals, t.notable, t.delivered = t.after[:after], t.signals[:signals], notable, delivered
	return failure, nil
}

// then has f run once the turn holds.
func (t *turn) then(f func()) { t.after = append(t.after, f) }

// signal has screens told once the turn holds.
func (t *turn) signal(s Signal) {
	t.notable = true
	if !slices.Contains(t.signals, s) {
		t.signals = append(t.signals, s)
	}
}
