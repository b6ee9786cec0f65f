package rogue

import (
	"fmt"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Member is all that a member knows in one epoch. Its ratchets move with what it sends;
// it belongs to one goroutine.
type Member struct {
	Suite    *suite.Suite
	Context  *schedule.GroupContext
	Tree     *tree.Tree
	Interim  []byte // interim transcript hash
	Tag      []byte // confirmation tag of the epoch
	Private  *tree.Private
	Epoch    *schedule.Epoch
	Secrets  *schedule.SecretTree
	Signer   *suite.Signer
	Proposed []*message.Authenticated // waiting proposals that it knows of, its own too
}

// Of reads what a member knows from its group's saved state.
func Of(g *mls.Group) (*Member, error) {
	epoch, moving := g.MarshalParts()
	m := &Member{Suite: g.Public().Suite(), Signer: g.Identity().Signer}
	r := codec.NewReader(epoch)
	if err := m.readEpoch(r); err != nil {
		return nil, fmt.Errorf("read a member's epoch: %w", err)
	}
	r = codec.NewReader(moving)
	r.Uint64() // the epoch
	m.Secrets = schedule.ReadSecretTree(m.Suite, m.Tree.Size(), schedule.DefaultLimits(), r)
	schedule.ReadExporterTree(m.Suite, r)
	for _, p := range codec.List(r, message.ReadSigned) {
		m.Proposed = append(m.Proposed, p.Trust())
	}
	if r.Err() != nil {
		return nil, fmt.Errorf("read a member's ratchets: %w", r.Err())
	}
	return m, nil
}

// readEpoch reads the epoch part of a saved group (crypto/mls/state.go).
func (m *Member) readEpoch(r *codec.Reader) error {
	m.Context = schedule.ReadGroupContext(r)
	r.Uint8() // status
	if r.Optional() {
		message.ReadReInit(r)
	}
	r.Bytes() // the signer
	tree.ReadCredential(r)
	for range 4 { // extensions, proposals, credentials, suites
		r.Uint16s()
	}
	tree.ReadExtensions(r)
	r.Optional()
	if r.Err() != nil {
		return r.Err()
	}
	var err error
	if m.Tree, err = tree.Read(m.Suite, r); err != nil {
		return err
	}
	m.Interim, m.Tag = r.Bytes(), r.Bytes()
	m.Private = tree.NewPrivate(tree.LeafIndex(r.Uint32()), nil)
	for v := r.Vector(); v.More(); {
		x := tree.NodeIndex(v.Uint32())
		m.Private = m.Private.With(x, m.Suite.NewPrivateKey(v.Bytes()))
	}
	m.Epoch = schedule.ReadEpoch(r)
	return r.Err()
}

// Self is the member's leaf.
func (m *Member) Self() tree.LeafIndex { return m.Private.Self }

// Leaf is an unsigned copy of the member's leaf with another key and source.
func (m *Member) Leaf(key suite.PublicKey, source tree.Source) *tree.LeafNode {
	l := copyLeaf(m.Tree.Leaf(m.Self()))
	l.EncryptionKey, l.Source, l.ParentHash, l.Lifetime = key, source, nil, tree.Lifetime{}
	return l
}

// copyLeaf is a copy whose lists can be changed.
func copyLeaf(l *tree.LeafNode) *tree.LeafNode {
	c := *l
	c.Extensions = slices.Clone(l.Extensions)
	c.Capabilities = tree.Capabilities{
		Versions: slices.Clone(l.Capabilities.Versions), Suites: slices.Clone(l.Capabilities.Suites),
		Extensions: slices.Clone(l.Capabilities.Extensions), Proposals: slices.Clone(l.Capabilities.Proposals),
		Credentials: slices.Clone(l.Capabilities.Credentials),
	}
	return &c
}

// Others are the leaves of the other members, from left to right.
func (m *Member) Others() []tree.LeafIndex {
	var out []tree.LeafIndex
	for l := range m.Tree.Members {
		if l != m.Self() {
			out = append(out, l)
		}
	}
	return out
}

// fresh is a new public key.
func (m *Member) fresh() suite.PublicKey {
	_, pub, err := m.Suite.GenerateKeyPair()
	if err != nil {
		panic(err) // the operating system has no randomness
	}
	return pub
}

// Reads reports whether anything that the member knows opens a private message of its
// epoch, and what it says.
func (m *Member) Reads(msg []byte) (data []byte, ok bool) {
	parsed, err := message.Parse(slices.Clone(msg))
	if err != nil || parsed.Private == nil {
		return nil, false
	}
	from, err := parsed.Private.SenderData(m.Suite, m.Epoch.SenderData)
	if err != nil {
		return nil, false
	}
	key, _, err := m.Secrets.Take(from.Leaf, parsed.Private.Type.Kind(), from.Generation)
	if err != nil {
		return nil, false
	}
	signed, err := parsed.Private.Open(m.Suite, key, from)
	if err != nil {
		return nil, false
	}
	return signed.Content().Application, true
}

// OpensPath reports whether one of some private keys opens a path secret that a commit
// encrypts to members among whom no rogue is: tells says so of a node. Whoever opens one
// knows the next epoch. t and context are those of the next epoch, in which self is the
// committer.
func OpensPath(t *tree.Tree, self tree.LeafIndex, path *tree.UpdatePath, context []byte, keys []*suite.PrivateKey, honest func(tree.NodeIndex) bool, s *suite.Suite) bool {
	for i, step := range t.FilteredDirectPath(self) {
		for j, to := range t.Resolution(step.Copath, nil) {
			if !honest(to) {
				continue
			}
			for _, k := range keys {
				if _, err := s.DecryptWithLabel(k, pathLabel, context, path.Nodes[i].Secrets[j]); err == nil {
					return true
				}
			}
		}
	}
	return false
}
