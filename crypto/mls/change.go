package mls

import (
	"bytes"
	"slices"
	"time"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// change is the outcome of a valid proposal list before the path (RFC 9420 §12.2, §12.3).
type change struct {
	list         []resolved
	committer    message.Sender
	edit         *tree.Editor
	extensions   tree.Extensions
	added        []Member
	packages     []*message.KeyPackage // of added, in the same order
	removed      []Member
	updated      []Member
	psks         []schedule.PSKID
	kemOutput    []byte // ExternalInit
	reinit       *message.ReInit
	pathRequired bool
}

// external reports whether the commit comes from a joiner.
func (c *change) external() bool { return c.committer.Type == message.SenderNewMemberCommit }

// addedLeaves returns the indices of new leaves, sorted.
func (c *change) addedLeaves() []tree.LeafIndex {
	out := make([]tree.LeafIndex, len(c.added))
	for i, m := range c.added {
		out[i] = m.Index // Add fills leaves from left to right
	}
	return out
}

// change validates a proposal list and applies it. founding allows the reinit and branch
// PSKs of a group's first commit.
func (p *PublicGroup) change(cfg *Config, list []resolved, committer message.Sender, founding bool, now time.Time) (*change, error) {
	c := &change{list: list, committer: committer, extensions: p.context.Extensions, pathRequired: len(list) == 0}
	if err := checkProposalCount(len(list)); err != nil {
		return nil, err
	}
	if err := c.collect(founding); err != nil {
		return nil, err
	}
	for _, r := range list {
		if err := p.recheck(cfg, r, c.extensions, now); err != nil {
			return nil, err
		}
		c.pathRequired = c.pathRequired || r.PathRequired()
	}
	if err := c.checkTypesSupported(p); err != nil {
		return nil, err
	}
	if err := c.apply(p); err != nil {
		return nil, err
	}
	return c, c.checkResult(p)
}

// recheck checks a proposal of a commit. What was checked when a referenced proposal
// was stored, signatures above all, is not checked again.
func (p *PublicGroup) recheck(cfg *Config, r resolved, ext tree.Extensions, now time.Time) error {
	switch {
	case r.ref == nil:
		return p.checkProposal(cfg, r, ext, now)
	case r.Type == tree.ProposalAdd:
		return p.checkParameters(r.Add.Leaf, ext)
	default:
		return nil
	}
}

// collect checks the list as a list (RFC 9420 §12.2) and takes what needs no tree.
func (c *change) collect(founding bool) error {
	if c.external() {
		if err := c.checkExternalList(); err != nil {
			return err
		}
	}
	touched := map[tree.LeafIndex]bool{}
	adds := map[string]bool{}
	contexts := 0
	for _, r := range c.list {
		var err error
		switch r.Type {
		case tree.ProposalAdd:
			key := string(r.Add.Leaf.SignatureKey)
			if adds[key] {
				return rule.Break(rule.ListDuplicateAdd, "a signature key is added twice")
			}
			adds[key] = true
		case tree.ProposalUpdate, tree.ProposalRemove, tree.ProposalSelfRemove:
			err = c.collectLeaf(r, touched)
		case tree.ProposalPSK:
			err = c.collectPSK(r, founding)
		case tree.ProposalReInit:
			if len(c.list) > 1 {
				return rule.Break(rule.ListReInitAlone, "%d proposals", len(c.list))
			}
			c.reinit = r.ReInit
		case tree.ProposalExternalInit:
			if !c.external() {
				return rule.Break(rule.ListExternalInit, "from a member")
			}
			c.kemOutput = r.KEMOutput
		case tree.ProposalGroupContextExtensions:
			if contexts++; contexts > 1 {
				return rule.Break(rule.ListContextTwice, "%d of them", contexts)
			}
			c.extensions = r.Extensions
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// collectLeaf checks proposals that change an existing leaf.
func (c *change) collectLeaf(r resolved, touched map[tree.LeafIndex]bool) error {
	leaf := r.Remove
	if r.Type != tree.ProposalRemove {
		leaf = tree.LeafIndex(r.sender.Index)
	}
	if r.Type == tree.ProposalSelfRemove && r.ref == nil {
		return rule.Break(rule.SelfRemoveReference, "committed by value")
	}
	if self, member := c.committer.Leaf(); member && leaf == self {
		if r.Type == tree.ProposalUpdate {
			return rule.Break(rule.ListOwnUpdate, "leaf %d", leaf)
		}
		return rule.Break(rule.ListOwnRemove, "leaf %d", leaf)
	}
	if touched[leaf] {
		return rule.Break(rule.ListSameLeaf, "leaf %d", leaf)
	}
	touched[leaf] = true
	return nil
}

func (c *change) collectPSK(r resolved, founding bool) error {
	if err := checkPSKUsage(r.PSK, founding); err != nil {
		return err
	}
	for _, id := range c.psks {
		if id.SameKey(r.PSK) {
			return rule.Break(rule.ListDuplicatePSK, "psk %d", len(c.psks))
		}
	}
	c.psks = append(c.psks, r.PSK)
	if len(c.psks) > message.MaxPSKs {
		return rule.Break(rule.Limit, "%d PSKs in a commit, at most %d", len(c.psks), message.MaxPSKs)
	}
	return nil
}

// checkExternalList checks the list of an external commit (RFC 9420 §12.2, §12.4.3.2).
func (c *change) checkExternalList() error {
	inits, removes := 0, 0
	for _, r := range c.list {
		switch {
		case r.Type == tree.ProposalSelfRemove && r.ref != nil:
		case r.ref != nil:
			return rule.Break(rule.ExternalReference, "proposal type %d", r.Type)
		case r.Type == tree.ProposalExternalInit:
			inits++
		case r.Type == tree.ProposalRemove:
			removes++
		case r.Type == tree.ProposalPSK:
		default:
			return rule.Break(rule.ExternalOther, "proposal type %d", r.Type)
		}
	}
	if inits != 1 {
		return rule.Break(rule.ExternalOneInit, "got %d", inits)
	}
	if removes > 1 {
		return rule.Break(rule.ExternalOneRemove, "got %d", removes)
	}
	return nil
}

// checkTypesSupported checks that every member who will process the commit knows its
// proposal types; those being added or removed do not count (RFC 9420 §12.2).
func (c *change) checkTypesSupported(p *PublicGroup) error {
	leaving := map[tree.LeafIndex]bool{}
	var types []tree.ProposalType
	for _, r := range c.list {
		switch r.Type {
		case tree.ProposalRemove:
			leaving[r.Remove] = true
		case tree.ProposalSelfRemove:
			leaving[tree.LeafIndex(r.sender.Index)] = true
		default:
		}
		if !r.Type.Default() && !slices.Contains(types, r.Type) { // few are known here
			types = append(types, r.Type)
		}
	}
	if len(types) == 0 {
		return nil
	}
	for i, l := range p.tree.Members {
		for _, t := range types {
			if !leaving[i] && !l.Capabilities.SupportsProposal(t) {
				return rule.Break(rule.ListUnsupported, "proposal type 0x%04x, leaf %d", uint16(t), i)
			}
		}
	}
	return nil
}

// apply changes the tree in the order of RFC 9420 §12.3.
func (c *change) apply(p *PublicGroup) error {
	c.edit = p.tree.Edit()
	for _, r := range c.list {
		if r.Type == tree.ProposalUpdate {
			at := tree.LeafIndex(r.sender.Index)
			c.edit.Update(at, r.Update)
			c.updated = append(c.updated, Member{at, r.Update})
		}
	}
	for _, t := range [2]tree.ProposalType{tree.ProposalSelfRemove, tree.ProposalRemove} {
		for _, r := range c.list {
			if r.Type != t {
				continue
			}
			at := r.Remove
			if t == tree.ProposalSelfRemove {
				at = tree.LeafIndex(r.sender.Index)
			}
			c.removed = append(c.removed, Member{at, p.tree.Leaf(at)})
			c.edit.Remove(at)
		}
	}
	return c.applyAdds()
}

func (c *change) applyAdds() error {
	if !slices.ContainsFunc(c.list, func(r resolved) bool { return r.Type == tree.ProposalAdd }) {
		return nil
	}
	members := map[string]tree.LeafIndex{}
	for i, l := range c.edit.Tree().Members {
		members[string(l.SignatureKey)] = i
	}
	for _, r := range c.list {
		if r.Type != tree.ProposalAdd {
			continue
		}
		if at, member := members[string(r.Add.Leaf.SignatureKey)]; member {
			return rule.Break(rule.ListAddMember, "leaf %d has the signature key", at)
		}
		at, err := c.edit.Add(r.Add.Leaf)
		if err != nil {
			return err
		}
		c.added = append(c.added, Member{at, r.Add.Leaf})
		c.packages = append(c.packages, r.Add)
	}
	return nil
}

// checkResult checks the new leaves against the new tree, and all leaves where the
// extensions changed (RFC 9420 §12.2, last point, and §12.1.7).
func (c *change) checkResult(p *PublicGroup) error {
	t := c.edit.Tree()
	if err := c.checkKeys(t); err != nil {
		return err
	}
	if err := checkAmong(t, slices.Concat(c.added, c.updated)); err != nil {
		return err
	}
	for _, m := range c.updated {
		if err := p.checkParameters(m.Leaf, c.extensions); err != nil {
			return err
		}
	}
	if c.extensions.Equal(p.context.Extensions) {
		return nil
	}
	required, ok, err := requiredCapabilities(c.extensions)
	if err != nil {
		return err
	}
	for i, l := range t.Members {
		if ok && !required.SatisfiedBy(&l.Capabilities) {
			return rule.Break(rule.ContextRequired, "leaf %d", i)
		}
		supported := l.Capabilities.Supported()
		for _, e := range c.extensions {
			if !supported.Extension(e.Type) {
				return rule.Break(rule.ContextExtensions, "leaf %d, extension type 0x%04x", i, uint16(e.Type))
			}
		}
	}
	return nil
}

// checkKeys checks that the encryption keys of new leaves and the init keys of key packages
// are nobody else's.
func (c *change) checkKeys(t *tree.Tree) error {
	leaves := c.addedLeaves()
	for _, m := range c.updated {
		leaves = append(leaves, m.Index)
	}
	inits := make([]suite.PublicKey, len(c.packages))
	for i, kp := range c.packages {
		inits[i] = kp.InitKey
	}
	return t.CheckLeafKeys(leaves, inits)
}

// checkPathKeys checks that no key of a path is the init key of a key package.
func (c *change) checkPathKeys(path *tree.UpdatePath) error {
	if len(c.packages) == 0 {
		return nil
	}
	keys := map[string]bool{string(path.Leaf.EncryptionKey): true}
	for _, n := range path.Nodes {
		keys[string(n.EncryptionKey)] = true
	}
	for i, kp := range c.packages {
		if keys[string(kp.InitKey)] {
			return rule.Break(rule.KeyPackageInitUnique, "key package %d has a key of the path", i)
		}
	}
	return nil
}

// checkPathLeaf checks the leaf that a path puts at a place (RFC 9420 §12.4.2).
func (p *PublicGroup) checkPathLeaf(cfg *Config, c *change, at tree.LeafIndex, path *tree.UpdatePath, now time.Time) error {
	l := path.Leaf
	if l.Source != tree.SourceCommit {
		return rule.Break(rule.LeafSourceCommit, "got %d", l.Source)
	}
	var old *tree.LeafNode
	if !c.external() {
		old = p.tree.Leaf(at)
	}
	if err := p.checkReplacement(cfg, old, l, at, now); err != nil {
		return err
	}
	if err := p.checkParameters(l, c.extensions); err != nil {
		return err
	}
	if c.external() {
		if err := c.checkSuccessor(cfg, l); err != nil {
			return err
		}
	}
	for _, n := range path.Nodes {
		if err := p.s.CheckPublicKey(n.EncryptionKey); err != nil {
			return rule.Because(rule.LeafKeys, err)
		}
	}
	return checkAmong(c.edit.Tree(), []Member{{at, l}})
}

// checkSuccessor checks that the joiner of a resync may take the removed member's place.
// The leaf must meet the criteria of an Update (RFC 9420 §12.2).
func (c *change) checkSuccessor(cfg *Config, l *tree.LeafNode) error {
	for _, r := range c.list {
		if r.Type != tree.ProposalRemove {
			continue
		}
		for _, m := range c.removed {
			if m.Index != r.Remove {
				continue
			}
			if bytes.Equal(m.Leaf.EncryptionKey, l.EncryptionKey) {
				return rule.Break(rule.LeafFreshKey, "leaf %d", m.Index)
			}
			if err := cfg.auth().Successor(m.Leaf.Credential, l.Credential); err != nil {
				return rule.Because(rule.ExternalSuccessor, err)
			}
		}
	}
	return nil
}

// provisional is the group context for encrypting path secrets (RFC 9420 §12.4.1).
func (p *PublicGroup) provisional(t *tree.Tree, ext tree.Extensions) *schedule.GroupContext {
	c := *p.context
	c.Epoch++
	c.TreeHash = t.Hash()
	c.Extensions = ext
	return &c
}

// lookupKey names the suite package's key types where a signature would be too long.
type lookupKey = func(schedule.PSKID) (suite.Secret, bool)

// pskSecret finds the PSKs of a commit or welcome and chains them (RFC 9420 §8.4).
func pskSecret(s *suite.Suite, ids []schedule.PSKID, lookup lookupKey, missing rule.Rule) (suite.Secret, error) {
	psks := make([]schedule.PSK, len(ids))
	for i, id := range ids {
		secret, ok := lookup(id)
		if !ok {
			return nil, rule.Break(missing, "psk %d of %d", i, len(ids))
		}
		psks[i] = schedule.PSK{ID: id, Secret: secret}
	}
	return schedule.PSKSecret(s, psks), nil
}
