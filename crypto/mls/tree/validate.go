package tree

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/suite"
)

// Validate checks a tree from outside: unmerged leaves, unique keys and parent hashes
// (RFC 9420 §12.4.3.1). Leaves are checked by VerifyLeaves and by the group's rules.
func (t *Tree) Validate() error {
	for i := 1; i < len(t.nodes); i += 2 {
		if err := t.checkUnmerged(NodeIndex(i)); err != nil {
			return err
		}
	}
	if err := t.checkKeysUnique(); err != nil {
		return err
	}
	if root := t.nodes[t.size.Root()].parent; root != nil && len(root.ParentHash) > 0 {
		return rule.Break(rule.TreeParentHash, "the root has a parent hash")
	}
	for i := 1; i < len(t.nodes); i += 2 {
		if err := t.checkParentHash(NodeIndex(i)); err != nil {
			return err
		}
	}
	return t.checkParentKeys()
}

// checkParentKeys checks that something can be sealed to every parent node, on all
// processors: who founds a group could else keep all who join from ever committing.
func (t *Tree) checkParentKeys() error {
	parents := len(t.nodes) / 2
	errs := make([]error, parents)
	Parallel(parents, func(i int) {
		if p := t.nodes[2*i+1].parent; p != nil {
			errs[i] = t.s.CheckPublicKey(p.EncryptionKey)
		}
	})
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("node %d: %w", 2*i+1, rule.Because(rule.TreeParentKeys, err))
		}
	}
	return nil
}

func (t *Tree) checkUnmerged(x NodeIndex) error {
	p := t.nodes[x].parent
	if p == nil {
		return nil
	}
	for i, l := range p.UnmergedLeaves {
		if i > 0 && l <= p.UnmergedLeaves[i-1] {
			return rule.Break(rule.TreeUnmergedSorted, "node %d", x)
		}
		if t.Leaf(l) == nil || !x.Contains(l.Node()) {
			return rule.Break(rule.TreeUnmergedLeaf, "node %d, leaf %d", x, l)
		}
		// What the next node below lists, its own check compares with those further down.
		if y := t.nextBelow(x, l.Node()); !y.IsLeaf() && !containsLeaf(t.nodes[y].parent.UnmergedLeaves, l) {
			return rule.Break(rule.TreeUnmergedBetween, "node %d, leaf %d, above node %d", x, l, y)
		}
	}
	return nil
}

// nextBelow returns the first node on the way from x down to a leaf that is not blank; the
// leaf is not.
func (t *Tree) nextBelow(x, leaf NodeIndex) NodeIndex {
	for {
		if leaf < x {
			x = x.Left()
		} else {
			x = x.Right()
		}
		if !t.nodes[x].blank() {
			return x
		}
	}
}

func (t *Tree) checkKeysUnique() error {
	keys := make(map[string]struct{}, len(t.nodes))
	signers := make(map[string]struct{}, t.size)
	for i, n := range t.nodes {
		if n.blank() {
			continue
		}
		if _, dup := keys[string(n.key())]; dup && n.leaf != nil {
			// The other holder may be a parent node to the left of this leaf.
			return t.duplicateLeafKey(NodeIndex(i))
		} else if dup {
			return rule.Break(rule.TreeKeyUnique, "node %d", i)
		}
		keys[string(n.key())] = struct{}{}
		if n.leaf == nil {
			continue
		}
		if _, dup := signers[string(n.leaf.SignatureKey)]; dup {
			return rule.Break(rule.LeafSignatureKeyUnique, "leaf %d", i/2)
		}
		signers[string(n.leaf.SignatureKey)] = struct{}{}
	}
	return nil
}

func (t *Tree) duplicateLeafKey(x NodeIndex) error {
	for i := NodeIndex(0); i < x; i += 2 {
		if l := t.nodes[i].leaf; l != nil && bytes.Equal(l.EncryptionKey, t.nodes[x].leaf.EncryptionKey) {
			return rule.Break(rule.LeafEncryptionKeyUnique, "leaf %d", x/2)
		}
	}
	return rule.Break(rule.TreeKeyUnique, "node %d", x)
}

// checkParentHash checks that exactly one descendant of x links to it (RFC 9420
// §7.9.2, top down).
func (t *Tree) checkParentHash(x NodeIndex) error {
	p := t.nodes[x].parent
	if p == nil {
		return nil
	}
	links := 0
	for _, c := range [2]NodeIndex{x.Left(), x.Right()} {
		if t.linked(p, c) {
			links++
		}
	}
	if links != 1 {
		return rule.Break(rule.TreeParentHash, "node %d has %d links", x, links)
	}
	return nil
}

// linked reports whether a descendant D of p through its child c is valid with respect
// to p. D must be the one element of the resolution of c that is not an unmerged leaf
// of p, and all unmerged leaves of p below c must be in that resolution.
func (t *Tree) linked(p *ParentNode, c NodeIndex) bool {
	unmerged := below(c, p.UnmergedLeaves)
	resolution := t.Resolution(c, nil)
	if len(resolution) != len(unmerged)+1 {
		return false
	}
	d, found := NodeIndex(0), 0
	for _, y := range resolution {
		if !y.IsLeaf() || !containsLeaf(unmerged, y.Leaf()) {
			d, found = y, found+1
		}
	}
	if found != 1 {
		return false
	}
	if l := t.nodes[d].leaf; l != nil && l.Source != SourceCommit {
		return false // only a commit's leaf has a parent hash
	}
	want := t.parentHash(p, t.hasher().without(c.Sibling(), p.UnmergedLeaves))
	return bytes.Equal(t.nodes[d].parentHash(), want)
}

// VerifyLeaves checks the signature of every leaf and what it says about itself, on all
// processors. It returns the error of the leftmost bad leaf, and stops soon after it has
// met one. It needs no hashes.
func (t *Tree) VerifyLeaves(groupID []byte) error {
	var members []LeafIndex
	for i := range t.Members {
		members = append(members, i)
	}
	errs := make([]error, len(members))
	parallelUntil(len(members), func(i int) bool {
		errs[i] = t.Leaf(members[i]).Check(t.s, groupID, members[i])
		return errs[i] != nil
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Parallel calls f(0) … f(n-1) on at most GOMAXPROCS goroutines and waits for them.
func Parallel(n int, f func(int)) {
	parallelUntil(n, func(i int) bool { f(i); return false })
}

// parallelUntil is Parallel that begins no further call once one has returned true. What
// comes before that one in order is called all the same.
func parallelUntil(n int, f func(int) (stop bool)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var next atomic.Int64
	var stopped atomic.Bool
	work := func() {
		for !stopped.Load() {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			if f(i) {
				stopped.Store(true)
			}
		}
	}
	if workers <= 1 {
		work()
		return
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(work)
	}
	wg.Wait()
}

// CheckNewKeys checks that none of the given encryption keys is in the tree, the leaf
// at skip aside.
func (t *Tree) CheckNewKeys(keys []suite.PublicKey, skip LeafIndex) error {
	fresh, heads := make(map[string]struct{}, len(keys)), make(map[[8]byte]struct{}, len(keys))
	head := func(k suite.PublicKey) (h [8]byte) { copy(h[:], k); return h }
	for _, k := range keys {
		if _, dup := fresh[string(k)]; dup {
			return rule.Break(rule.PathKeysFresh, "the path has a key twice")
		}
		fresh[string(k)], heads[head(k)] = struct{}{}, struct{}{}
	}
	for i, n := range t.nodes {
		if n.blank() || NodeIndex(i) == skip.Node() {
			continue
		}
		key := n.key()
		if _, like := heads[head(key)]; !like { // most: a hash of a whole post-quantum key costs much
			continue
		}
		if _, dup := fresh[string(key)]; dup {
			return rule.Break(rule.PathKeysFresh, "node %d", i)
		}
	}
	return nil
}
