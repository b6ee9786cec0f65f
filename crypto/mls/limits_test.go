package mls

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Every list is read up to its limit and not one value further.
func TestListLimits(t *testing.T) {
	w := newWorld(t, worldOptions{})
	path := w.path()
	for _, c := range []struct {
		name  string
		limit int
		parse func(n int) error
	}{
		{"extensions", tree.MaxExtensions, func(n int) error {
			_, err := codec.Unmarshal(codec.Marshal(manyExtensions(n)), tree.ReadExtensions)
			return err
		}},
		{"certificates", tree.MaxCertificates, func(n int) error {
			c := tree.Credential{Type: tree.CredentialX509, Certificates: slices.Repeat([][]byte{{1}}, n)}
			_, err := codec.Unmarshal(codec.Marshal(c), tree.ReadCredential)
			return err
		}},
		{"external senders", tree.MaxExternalSenders, func(n int) error {
			list := slices.Repeat([]tree.ExternalSender{{Credential: tree.BasicCredential(nil)}}, n)
			_, err := codec.Unmarshal(codec.AppendList(nil, list), tree.ReadExternalSenders)
			return err
		}},
		{"path nodes", tree.MaxPathNodes, func(n int) error {
			p := &tree.UpdatePath{Leaf: path.Leaf, Nodes: slices.Repeat(path.Nodes[:1], n)}
			_, err := codec.Unmarshal(codec.Marshal(p), tree.ReadUpdatePath)
			return err
		}},
		{"proposals", message.MaxProposals, func(n int) error {
			p := &message.Commit{Proposals: slices.Repeat([]message.ProposalOrRef{{Proposal: remove(1)}}, n)}
			_, err := codec.Unmarshal(codec.Marshal(p), message.ReadCommit)
			return err
		}},
		{"joiners", message.MaxProposals, func(n int) error {
			secrets := message.EncryptedGroupSecrets{Secrets: suite.Ciphertext{Ciphertext: make([]byte, suite.Overhead)}}
			welcome := &message.Welcome{Secrets: slices.Repeat([]message.EncryptedGroupSecrets{secrets}, n)}
			_, err := codec.Unmarshal(codec.Marshal(welcome), message.ReadWelcome)
			return err
		}},
		{"PSKs of a welcome", message.MaxPSKs, func(n int) error {
			g := &message.GroupSecrets{PSKs: manyPSKs(n)}
			_, err := codec.Unmarshal(codec.Marshal(g), message.ReadGroupSecrets)
			return err
		}},
	} {
		if err := c.parse(c.limit); err != nil {
			t.Errorf("%d %s: %v", c.limit, c.name, err)
		}
		if err := c.parse(c.limit + 1); !errors.Is(err, codec.ErrTooMany) {
			t.Errorf("%d %s: got %v, want ErrTooMany", c.limit+1, c.name, err)
		}
	}
}

// Each of a leaf's five lists of capabilities has the limit.
func TestCapabilityLimits(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for name, fill := range map[string]func(c *tree.Capabilities, n int){
		"versions":    func(c *tree.Capabilities, n int) { c.Versions = numbersUpTo[tree.Version](n) },
		"suites":      func(c *tree.Capabilities, n int) { c.Suites = numbersUpTo[uint16](n) },
		"extensions":  func(c *tree.Capabilities, n int) { c.Extensions = numbersUpTo[tree.ExtensionType](n) },
		"proposals":   func(c *tree.Capabilities, n int) { c.Proposals = numbersUpTo[tree.ProposalType](n) },
		"credentials": func(c *tree.Capabilities, n int) { c.Credentials = numbersFrom[tree.CredentialType](1, n) },
	} {
		for n, want := range map[int]error{tree.MaxCapabilities: nil, tree.MaxCapabilities + 1: errLimit} {
			kp := w.keyPackage(identity(t, "x"), func(kp *message.KeyPackage) { fill(&kp.Leaf.Capabilities, n) })
			if err := limited(kp.Verify(w.members[0].pub.s)); !errors.Is(err, want) {
				t.Errorf("%d %s: got %v, want %v", n, name, err, want)
			}
		}
	}
}

var errLimit = errors.New("the limit")

// limited is errLimit for an error of rule.Limit.
func limited(err error) error {
	if r, ok := rule.Of(err); ok && r == rule.Limit {
		return errLimit
	}
	return err
}

// A commit names at most MaxPSKs, whoever makes it.
func TestPSKLimit(t *testing.T) {
	w := newWorld(t, worldOptions{cfg: Config{PSK: knownPSK}})
	p, err := w.members[0].Commit(CommitOptions{PSKs: manyPSKs(message.MaxPSKs)}, worldTime)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.members[1].Process(p.Commit, worldTime); err != nil {
		t.Errorf("%d PSKs: %v", message.MaxPSKs, err)
	}
	if _, err := w.members[0].Commit(CommitOptions{PSKs: manyPSKs(message.MaxPSKs + 1)}, worldTime); !errors.Is(limited(err), errLimit) {
		t.Errorf("a commit of ours with %d PSKs: got %v, want the limit", message.MaxPSKs+1, err)
	}
	var list []*message.Proposal
	for i := range message.MaxPSKs + 1 {
		list = append(list, psk(fmt.Sprint(i), 32))
	}
	if err := w.commit(list...); !errors.Is(limited(err), errLimit) {
		t.Errorf("a commit of another with %d PSKs: got %v, want the limit", message.MaxPSKs+1, err)
	}
}

// The group context's extensions have at most MaxContext bytes, for a founder, a
// committer and a joiner.
func TestContextLimit(t *testing.T) {
	w := newWorld(t, worldOptions{})
	f := newFounder(t)
	nodes := f.sparseTree(t, 2, 2)
	for n, want := range map[int]error{MaxContext: nil, MaxContext + 1: errLimit} {
		ext := tree.Extensions{{Type: extKnown, Data: make([]byte, n)}}
		if _, err := Create(w.cfg, identity(t, "x"), nil, ext, worldTime); !errors.Is(limited(err), want) {
			t.Errorf("create with %d bytes: got %v, want %v", n, err, want)
		}
		if _, err := w.members[0].Commit(CommitOptions{Extensions: &ext}, worldTime); !errors.Is(limited(err), want) {
			t.Errorf("commit with %d bytes: got %v, want %v", n, err, want)
		}
		info := f.info(t, nodes)
		info.Context.Extensions = ext
		wire := must(info.Sign(f.id.Signer, nil))(t).Wire()
		if _, err := NewPublicGroup(f.cfg, wire, nil, worldTime); !errors.Is(limited(err), want) {
			t.Errorf("follow with %d bytes: got %v, want %v", n, err, want)
		}
	}
}

// A tree may be sparse, but not without end; a saved one is loaded as it is.
func TestSparseTreeLimit(t *testing.T) {
	f := newFounder(t)
	for _, c := range []struct {
		members, leaves int
		want            error
	}{
		{2, tree.SparseLeaves, nil},
		{2, tree.SparseLeaves + 1, errLimit},
		{2 * tree.SparseLeaves / tree.MaxLeavesPerMember, 2 * tree.SparseLeaves, nil},
		{2*tree.SparseLeaves/tree.MaxLeavesPerMember - 1, 2 * tree.SparseLeaves, errLimit},
	} {
		nodes := f.sparseTree(t, c.members, c.leaves)
		if _, err := tree.Decode(f.s, codec.NewReader(nodes)); !errors.Is(limited(err), c.want) {
			t.Errorf("%d members in %d leaves: got %v, want %v", c.members, c.leaves, err, c.want)
		}
		if _, err := tree.Read(f.s, codec.NewReader(nodes)); err != nil {
			t.Errorf("a saved tree of %d members in %d leaves: %v", c.members, c.leaves, err)
		}
	}
}

// One sender's proposals have a share of the room, in number and in bytes, and the
// others' theirs whatever the first does.
func TestStoredShare(t *testing.T) {
	w := newWorld(t, worldOptions{})
	send := func(by int, id string) error {
		p := psk(id, 32)
		next, _, err := w.members[1].Process(w.forge(by, proposalContent(p), nil), worldTime)
		w.members[1] = next
		return err
	}
	for i := range MaxStoredProposals / storedShare {
		if err := send(0, fmt.Sprint(i)); err != nil {
			t.Fatalf("proposal %d: %v", i, err)
		}
	}
	wantRule(t, send(0, "one more"), rule.SendPending)
	large := func(i int) string { return string(slices.Repeat([]byte{byte(i)}, MaxStoredBytes/storedShare/4)) }
	for i := range 3 {
		if err := send(2, large(i)); err != nil {
			t.Fatalf("another's proposal %d: %v", i, err)
		}
	}
	wantRule(t, send(2, large(3)), rule.SendPending)
	if err := send(3, "small"); err != nil {
		t.Errorf("a third's proposal: %v", err)
	}
}

// All senders together have MaxStoredProposals and MaxStoredBytes.
func TestStoredLimit(t *testing.T) {
	w := newWorld(t, worldOptions{})
	from := func(leaf int, size int) stored {
		p := psk(string(make([]byte, size)), 32)
		c := proposalContent(p)
		c.GroupID, c.Sender = []byte("world"), message.Member(tree.LeafIndex(leaf))
		return newStored(w.members[0].pub.s, must(message.Sign(w.external, message.WirePublic, c, w.members[0].pub.context))(t))
	}
	for _, c := range []struct{ count, size int }{{MaxStoredProposals, 0}, {storedShare * 4, MaxStoredBytes / storedShare / 4}} {
		p := *w.members[0].pub
		var kinds []stored
		for leaf := range 4 * storedShare {
			kinds = append(kinds, from(leaf, c.size))
		}
		full := 0
		for i := 0; ; i++ {
			st := kinds[i%len(kinds)]
			if err := p.checkStored(st); err != nil {
				wantRule(t, err, rule.SendPending)
				full = i
				break
			}
			p.proposals = append(p.proposals, st)
		}
		if most := c.count; full > most || full < most-most/8 {
			t.Errorf("proposals of %d bytes: full after %d, want about %d", c.size, full, most)
		}
	}
}

// A signature is looked at before what costs more the longer it is: what is wrong in two
// ways is refused for its signature.
func TestSignaturesComeFirst(t *testing.T) {
	w := newWorld(t, worldOptions{})
	twice := tree.Extensions{{Type: extKnown}, {Type: extKnown}}
	kp := w.keyPackage(identity(t, "x"), func(kp *message.KeyPackage) { kp.Extensions = twice })
	wantRule(t, kp.Verify(w.members[0].pub.s), rule.ExtensionsUnique)
	kp.Signature[0] ^= 1
	wantRule(t, kp.Verify(w.members[0].pub.s), rule.KeyPackageSignature)

	leaf := func(l *tree.LeafNode) { l.Extensions = twice }
	wantRule(t, w.update(leaf), rule.ExtensionsUnique)
	p := w.updateProposal(0, leaf)
	p.Update.Signature[0] ^= 1
	wantRule(t, w.refused(1, w.forge(0, proposalContent(p), nil)), rule.LeafSignature)

	f := newFounder(t)
	follow := func(forge bool) error {
		info := f.info(t, f.sparseTree(t, 2, 2))
		info.Context.TreeHash, info.Extensions = make([]byte, 32), append(info.Extensions, twice...)
		wire := slices.Clone(must(info.Sign(f.id.Signer, nil))(t).Wire())
		if forge {
			wire[len(wire)-1] ^= 1
		}
		_, err := NewPublicGroup(f.cfg, wire, nil, worldTime)
		return err
	}
	wantRule(t, follow(false), rule.ExtensionsUnique)
	wantRule(t, follow(true), rule.GroupInfoSignature)
	f.forged = true
	wantRule(t, follow(false), rule.LeafSignature)
}

// The room that is made for an encoded tree is about what it takes, also where one leaf
// is far larger than the others.
func TestEncodedSize(t *testing.T) {
	f := newFounder(t)
	nodes := []mirrorNode{f.leaf(t, func(l *tree.LeafNode) {
		l.Extensions = tree.Extensions{{Type: extKnown, Data: make([]byte, 100_000)}}
		l.Capabilities.Suites = numbersUpTo[uint16](200)
	})}
	for range 63 {
		nodes = append(nodes, mirrorNode{}, f.leaf(t, nil))
	}
	encoded := codec.AppendList(nil, nodes)
	got := must(tree.Read(f.s, codec.NewReader(encoded)))(t).EncodedSize()
	if got < len(encoded)-4 || got > len(encoded)*5/4 {
		t.Errorf("got %d for %d bytes", got, len(encoded))
	}
}
