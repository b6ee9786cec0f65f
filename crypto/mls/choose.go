package mls

import (
	"bytes"
	"errors"
	"time"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
	"quicproquo/internal/planted"
)

// LeftOut is a waiting proposal that a commit does not contain. It is void in the new
// epoch; its sender may propose it again.
type LeftOut struct {
	*ProposalStored
	Reason error // carries the rule that it would have broken, or what CommitOptions.Keep said
}

// choice is how a committer chooses among the waiting proposals (RFC 9420 §12.2): what
// is invalid, by itself or beside what was chosen before, is left out, so that nothing a
// peer proposes can stop a commit. It depends on nothing but the proposals in their
// order of arrival, the group, and what the committer knows (PSKs, the time). In turn:
//
//  1. what the committer wants by itself (CommitOptions) comes before all others;
//  2. of several changes of a leaf a SelfRemove comes before a Remove, a Remove before
//     an Update, a later Update before an earlier one;
//  3. then the latest GroupContextExtensions that all who stay support;
//  4. Updates and Adds that go with these extensions and with the keys and credential
//     types of all others: a later one before an earlier one, an Update before an Add;
//  5. one proposal for each PSK that the committer knows, the latest; of the group's own
//     only that of the present epoch, and none beside an Add;
//  6. the latest ReInit, if nothing else is committed.
//
// An Update never makes room for another's keys, so that leaving it out later harms
// nobody: the outcome is valid whatever was taken out on the way.
type choice struct {
	p       *PublicGroup
	cfg     *Config
	opt     *CommitOptions
	self    tree.LeafIndex
	own     []resolved
	waiting []resolved // in order of arrival
	reason  []error    // of each waiting proposal; nil as long as it is chosen

	ext     tree.Extensions
	leaving map[tree.LeafIndex]int // rank of what removes a leaf, by a Remove or SelfRemove
	update  map[tree.LeafIndex]int // the waiting Update of a leaf
	taken   *taken
}

// choose returns the waiting proposals to commit, in order of arrival, and the others.
func (g *Group) choose(own []resolved, opt *CommitOptions, lookup lookupKey, now time.Time) (chosen []resolved, left []LeftOut) {
	c := &choice{
		p: g.pub, cfg: g.cfg, opt: opt, self: g.priv.Self, own: own, ext: g.pub.context.Extensions,
		leaving: map[tree.LeafIndex]int{}, update: map[tree.LeafIndex]int{},
	}
	for _, st := range g.pub.proposals {
		c.waiting = append(c.waiting, resolved{st.msg.Content().Proposal, st.msg.Content().Sender, st.ref})
	}
	c.reason = make([]error, len(c.waiting))
	if len(c.waiting) == 0 {
		return nil, nil
	}
	c.alone(lookup, now)
	c.leaves()
	c.selfRemoves()
	c.take()
	c.updates()
	c.contexts()
	c.adds()
	c.psks()
	c.reinits()
	for i, r := range c.waiting {
		if c.reason[i] == nil || planted.On(planted.ProposalFilterOff) {
			chosen = append(chosen, r)
		} else {
			left = append(left, LeftOut{g.pub.storedEvent(g.pub.proposals[i]), c.reason[i]})
		}
	}
	return chosen, left
}

// latest calls f for every proposal of a type that is still chosen, the latest first.
// What f returns leaves it out.
func (c *choice) latest(t tree.ProposalType, f func(i int, r resolved) error) {
	for i := len(c.waiting) - 1; i >= 0; i-- {
		if c.waiting[i].Type == t && c.reason[i] == nil {
			c.reason[i] = f(i, c.waiting[i])
		}
	}
}

// alone leaves out what this committer may not commit whatever else it commits.
func (c *choice) alone(lookup lookupKey, now time.Time) {
	for i, r := range c.waiting {
		if c.opt.Keep != nil {
			if c.reason[i] = c.opt.Keep(c.p.storedEvent(c.p.proposals[i])); c.reason[i] != nil {
				continue
			}
		}
		if c.reason[i] = c.checkExpelled(r); c.reason[i] != nil {
			continue
		}
		if leaf, rank := r.change(); rank > 0 && leaf == c.self {
			c.reason[i] = rule.Break(rule.ListOwnRemove, "leaf %d", leaf)
			if r.Type == tree.ProposalUpdate {
				c.reason[i] = rule.Break(rule.ListOwnUpdate, "leaf %d", leaf)
			}
			continue
		}
		// Saved states of older versions hold proposals that were checked less.
		if c.reason[i] = c.p.checkAgain(c.cfg, r, now); c.reason[i] != nil {
			continue
		}
		switch r.Type {
		case tree.ProposalAdd:
			c.reason[i] = c.cfg.checkLifetime(r.Add.Leaf.Lifetime, now)
		case tree.ProposalPSK:
			secret, known := lookup(r.PSK)
			if !known || secret == nil {
				c.reason[i] = rule.Break(rule.PSKAvailable, "we do not know it")
			}
		case tree.ProposalReInit:
			c.reason[i] = checkSuccession(r.ReInit)
		default:
		}
	}
}

// errExpelled is why a proposal is left out beside a Remove of ours.
var errExpelled = errors.New("it is of, or for, a member whom the same commit removes")

// checkExpelled keeps a removal from being undone by the commit that makes it: what a
// member whom we remove has proposed is void, and so is an Add of it by anybody, which
// RFC 9420 §12.2 would allow.
func (c *choice) checkExpelled(r resolved) error {
	for _, own := range c.own {
		if own.Type != tree.ProposalRemove {
			continue
		}
		if from, member := r.sender.Leaf(); member && from == own.Remove {
			return errExpelled
		}
		old := c.p.tree.Leaf(own.Remove)
		if r.Type == tree.ProposalAdd && old != nil &&
			(bytes.Equal(old.SignatureKey, r.Add.Leaf.SignatureKey) || c.cfg.auth().Successor(old.Credential, r.Add.Leaf.Credential) == nil) {
			return errExpelled
		}
	}
	return nil
}

// checkSuccession checks that we could found or join what a ReInit calls for: to commit
// another would close the group for good.
func checkSuccession(r *message.ReInit) error {
	if r.Version != tree.MLS10 {
		return rule.Break(rule.ReInitVersion, "we do not know version %d", r.Version)
	}
	_, err := suite.Lookup(r.Suite)
	return rule.Because(rule.JoinReInit, err)
}

// Ranks of what can happen to a leaf: the higher one wins. Our own Remove beats all.
const (
	rankUpdate = iota + 1
	rankRemove
	rankSelfRemove
	rankOwn
)

// leaves chooses one change for each leaf.
func (c *choice) leaves() {
	at := map[tree.LeafIndex]int{}
	for _, r := range c.own {
		if r.Type == tree.ProposalRemove {
			c.leaving[r.Remove] = rankOwn
		}
	}
	for i := len(c.waiting) - 1; i >= 0; i-- {
		leaf, rank := c.waiting[i].change()
		if rank == 0 || c.reason[i] != nil {
			continue
		}
		before, changed := at[leaf]
		_, had := rankOf(c.waiting, before, changed)
		if had = max(had, c.leaving[leaf]); had >= rank {
			c.reason[i] = rule.Break(rule.ListSameLeaf, "leaf %d", leaf)
			continue
		}
		if changed {
			c.reason[before] = rule.Break(rule.ListSameLeaf, "leaf %d", leaf)
		}
		at[leaf] = i
		if rank > rankUpdate {
			c.leaving[leaf] = rank
		}
	}
	for leaf, i := range at {
		if c.waiting[i].Type == tree.ProposalUpdate {
			c.update[leaf] = i
		}
	}
}

func rankOf(list []resolved, i int, ok bool) (leaf tree.LeafIndex, rank int) {
	if !ok {
		return 0, 0
	}
	return list[i].change()
}

// selfRemoves leaves all SelfRemoves out if somebody who stays does not know them.
func (c *choice) selfRemoves() {
	known := true
	for i, l := range c.p.tree.Members {
		known = known && (c.leaving[i] > 0 || l.Capabilities.SupportsProposal(tree.ProposalSelfRemove))
	}
	if known {
		return
	}
	c.latest(tree.ProposalSelfRemove, func(_ int, r resolved) error {
		leaf, _ := r.change()
		delete(c.leaving, leaf)
		return rule.Break(rule.ListUnsupported, "proposal type 0x%04x", uint16(tree.ProposalSelfRemove))
	})
	c.reviveRemoves()
}

// reviveRemoves takes the Removes that had given way to a SelfRemove.
func (c *choice) reviveRemoves() {
	for i := len(c.waiting) - 1; i >= 0; i-- {
		r := c.waiting[i]
		if broken, _ := rule.Of(c.reason[i]); r.Type != tree.ProposalRemove || broken != rule.ListSameLeaf || c.leaving[r.Remove] > 0 {
			continue
		}
		c.reason[i], c.leaving[r.Remove] = nil, rankRemove
	}
}

// take notes what those who stay, and those we add, have: keys, credential types, support.
func (c *choice) take() {
	c.taken = newTaken(c.p)
	for i, l := range c.p.tree.Members {
		if c.leaving[i] == 0 {
			c.taken.leaf(l)
		}
	}
	if c.opt.Identity != nil {
		c.taken.leaf(c.opt.Identity.leaf(nil, tree.SourceCommit))
	}
	for _, r := range c.own {
		if r.Type == tree.ProposalAdd {
			c.taken.leaf(r.Add.Leaf)
			c.taken.add(r.Add)
		}
	}
}

// updates leaves out Updates that do not go with the others' keys and credential types.
func (c *choice) updates() {
	c.latest(tree.ProposalUpdate, func(_ int, r resolved) error {
		old := c.p.tree.Leaf(tree.LeafIndex(r.sender.Index))
		return c.taken.replace(old, r.Update)
	})
}

// contexts chooses the extensions, and leaves out the Updates that do not go with them.
func (c *choice) contexts() {
	chosen := false
	for _, r := range c.own {
		if r.Type == tree.ProposalGroupContextExtensions {
			c.ext, chosen = r.Extensions, true
		}
	}
	var common *common
	c.latest(tree.ProposalGroupContextExtensions, func(_ int, r resolved) error {
		if chosen {
			return rule.Break(rule.ListContextTwice, "another was chosen")
		}
		if common == nil {
			common = c.support()
		}
		if err := common.check(r.Extensions); err != nil {
			return err
		}
		c.ext, chosen = r.Extensions, true
		return nil
	})
	c.latest(tree.ProposalUpdate, func(_ int, r resolved) error { return c.p.checkParameters(r.Update, c.ext) })
}

// support returns what all who stay, and those we add, support with or without their
// Update.
func (c *choice) support() *common {
	all := newCommon()
	for i, l := range c.p.tree.Members {
		if c.leaving[i] > 0 {
			continue
		}
		if u, has := c.update[i]; has && c.reason[u] == nil {
			all.leaf(&l.Capabilities, &c.waiting[u].Update.Capabilities)
		} else {
			all.leaf(&l.Capabilities)
		}
	}
	if c.opt.Identity != nil {
		capabilities := c.opt.Identity.capabilities()
		all.leaf(&capabilities)
	}
	for _, r := range c.own {
		if r.Type == tree.ProposalAdd {
			all.leaf(&r.Add.Leaf.Capabilities)
		}
	}
	return all
}

// adds chooses the clients to add, as far as there is room.
func (c *choice) adds() {
	room := treemath.MaxLeaves - c.taken.leaves
	c.latest(tree.ProposalAdd, func(_ int, r resolved) error {
		if err := c.p.checkParameters(r.Add.Leaf, c.ext); err != nil {
			return err
		}
		if room--; room < 0 {
			return rule.Break(rule.TreeShape, "the tree is full")
		}
		return c.taken.join(r.Add)
	})
}

// psks chooses one proposal for each PSK. Of this group's own, all members have that of
// the present epoch only, and who is added has none: with another, some could not follow
// the commit, and nobody could join by its welcome (RFC 9420 §12.4.3.1). Who has which
// external PSK, and which of another group, the application knows (CommitOptions.Keep).
func (c *choice) psks() {
	adds := false
	for _, r := range c.own {
		adds = adds || r.Type == tree.ProposalAdd
	}
	for i, r := range c.waiting {
		adds = adds || r.Type == tree.ProposalAdd && c.reason[i] == nil
	}
	used := map[string]bool{}
	for _, r := range c.own {
		if r.Type == tree.ProposalPSK {
			used[r.PSK.Key()] = true
		}
	}
	c.latest(tree.ProposalPSK, func(_ int, r resolved) error {
		key := r.PSK.Key()
		switch {
		case used[key]:
			return rule.Break(rule.ListDuplicatePSK, "another was chosen")
		case r.PSK.Type == schedule.PSKResumption && bytes.Equal(r.PSK.GroupID, c.p.context.GroupID) && (adds || r.PSK.Epoch != c.p.context.Epoch):
			return rule.Break(rule.PSKAvailable, "not all who are in the next epoch were in epoch %d", r.PSK.Epoch)
		}
		used[key] = true
		return nil
	})
}

func (c *choice) reinits() {
	others := len(c.own)
	for i, r := range c.waiting {
		if c.reason[i] == nil && r.Type != tree.ProposalReInit {
			others++
		}
	}
	c.latest(tree.ProposalReInit, func(int, resolved) error {
		if others++; others > 1 {
			return rule.Break(rule.ListReInitAlone, "others are committed")
		}
		return nil
	})
}

// change returns the leaf that a proposal changes and how it ranks against others for
// the same leaf; rank 0 means that it changes none.
func (r resolved) change() (leaf tree.LeafIndex, rank int) {
	switch r.Type {
	case tree.ProposalUpdate:
		return tree.LeafIndex(r.sender.Index), rankUpdate
	case tree.ProposalRemove:
		return r.Remove, rankRemove
	case tree.ProposalSelfRemove:
		return tree.LeafIndex(r.sender.Index), rankSelfRemove
	default:
		return 0, 0
	}
}
