package mls_test

import (
	"fmt"
	"slices"
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

func readTree(tb testing.TB, s *suite.Suite, raw []byte) *tree.Tree {
	tb.Helper()
	r := codec.NewReader(raw)
	tr, err := tree.Read(s, r)
	noError(tb, "decode tree", err)
	noError(tb, "decode tree", r.Finish())
	equal(tb, "re-encoded tree", codec.Marshal(tr), raw)
	return tr
}

type treeValidationCase struct {
	withSuite
	Tree        hexBytes
	GroupID     hexBytes   `json:"group_id"`
	Resolutions [][]uint32 `json:"resolutions"`
	TreeHashes  []hexBytes `json:"tree_hashes"`
}

func treeValidationVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c treeValidationCase) uint16 { return c.CipherSuite }
	cases(t, total, "tree-validation", of, func(t *testing.T, c treeValidationCase) {
		t.Helper()
		tr := readTree(t, c.lookup(t), c.Tree)
		for i, want := range c.Resolutions {
			var got []uint32
			for _, x := range tr.Resolution(tree.NodeIndex(i), nil) {
				got = append(got, uint32(x))
			}
			if !slices.Equal(got, want) {
				t.Errorf("resolution of %d: got %v, want %v", i, got, want)
			}
		}
		for i, want := range c.TreeHashes {
			equal(t, fmt.Sprintf("tree hash of %d", i), tr.NodeHash(tree.NodeIndex(i)), want)
		}
		noError(t, "validate", tr.Validate())
		noError(t, "verify leaves", tr.VerifyLeaves(c.GroupID))
	})
}

type treeOperationsCase struct {
	withSuite
	Before     hexBytes `json:"tree_before"`
	Proposal   hexBytes
	Sender     uint32   `json:"proposal_sender"`
	HashBefore hexBytes `json:"tree_hash_before"`
	After      hexBytes `json:"tree_after"`
	HashAfter  hexBytes `json:"tree_hash_after"`
}

func treeOperationsVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c treeOperationsCase) uint16 { return c.CipherSuite }
	cases(t, total, "tree-operations", of, func(t *testing.T, c treeOperationsCase) {
		t.Helper()
		before := readTree(t, c.lookup(t), c.Before)
		equal(t, "tree hash before", before.Hash(), c.HashBefore)
		p, err := codec.Unmarshal(c.Proposal, message.ReadProposal)
		noError(t, "decode proposal", err)
		e := before.Edit()
		switch p.Type {
		case tree.ProposalAdd:
			_, err := e.Add(p.Add.Leaf)
			noError(t, "add", err)
		case tree.ProposalUpdate:
			e.Update(tree.LeafIndex(c.Sender), p.Update)
		default:
			e.Remove(p.Remove)
		}
		after := e.Freeze()
		equal(t, "tree after", codec.Marshal(after), c.After)
		equal(t, "tree hash after", after.Hash(), c.HashAfter)
		equal(t, "tree hash of the old value", before.Hash(), c.HashBefore)
		equal(t, "old value", codec.Marshal(before), c.Before)
	})
}

type treeKEMCase struct {
	withSuite
	GroupID    hexBytes `json:"group_id"`
	Epoch      uint64
	Transcript hexBytes `json:"confirmed_transcript_hash"`
	Tree       hexBytes `json:"ratchet_tree"`
	Leaves     []struct {
		Index      uint32
		Encryption hexBytes `json:"encryption_priv"`
		Signature  hexBytes `json:"signature_priv"`
		Secrets    []struct {
			Node   uint32
			Secret hexBytes `json:"path_secret"`
		} `json:"path_secrets"`
	} `json:"leaves_private"`
	Paths []struct {
		Sender       uint32
		Path         hexBytes    `json:"update_path"`
		Secrets      []*hexBytes `json:"path_secrets"`
		CommitSecret hexBytes    `json:"commit_secret"`
		HashAfter    hexBytes    `json:"tree_hash_after"`
	} `json:"update_paths"`
}

func (c *treeKEMCase) context(s *suite.Suite, after *tree.Tree) []byte {
	return codec.Marshal(&schedule.GroupContext{
		Version: tree.MLS10, Suite: s.ID(), GroupID: c.GroupID, Epoch: c.Epoch,
		TreeHash: after.Hash(), ConfirmedTranscriptHash: c.Transcript,
	})
}

func treeKEMVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c treeKEMCase) uint16 { return c.CipherSuite }
	cases(t, total, "treekem", of, func(t *testing.T, c treeKEMCase) {
		t.Helper()
		s := c.lookup(t)
		before := readTree(t, s, c.Tree)
		private := map[uint32]*tree.Private{}
		signers := map[uint32]*suite.Signer{}
		for _, l := range c.Leaves {
			p := tree.NewPrivate(tree.LeafIndex(l.Index), s.NewPrivateKey(suite.Secret(l.Encryption)))
			for _, x := range l.Secrets {
				key, pub, err := s.DeriveKeyPair(s.DeriveSecret(suite.Secret(x.Secret), "node"))
				noError(t, "derive node key", err)
				equal(t, "node public key", pub, before.PublicKey(tree.NodeIndex(x.Node)))
				p = p.With(tree.NodeIndex(x.Node), key)
			}
			private[l.Index] = p
			signer, err := s.NewSigner(suite.Secret(l.Signature))
			noError(t, "read signer", err)
			signers[l.Index] = signer
		}
		for _, u := range c.Paths {
			c.receive(t, s, before, private, u.Sender, u.Path, u.CommitSecret, u.HashAfter, u.Secrets)
			c.send(t, s, before, private, u.Sender, signers[u.Sender])
		}
	})
}

// receive applies a path and decrypts it for every other member.
func (c *treeKEMCase) receive(t *testing.T, s *suite.Suite, before *tree.Tree, private map[uint32]*tree.Private, sender uint32, raw, commit, hashAfter []byte, secrets []*hexBytes) {
	t.Helper()
	path, err := codec.Unmarshal(raw, tree.ReadUpdatePath)
	noError(t, "decode update path", err)
	equal(t, "re-encoded path", codec.Marshal(path), raw)
	e := before.Edit()
	noError(t, "apply path", e.Apply(tree.LeafIndex(sender), path))
	after := e.Freeze()
	if hashAfter != nil {
		equal(t, "tree hash after", after.Hash(), hashAfter)
	}
	noError(t, "verify leaf", path.Leaf.VerifySignature(s, c.GroupID, tree.LeafIndex(sender)))
	noError(t, "validate tree after", after.Validate())
	for l, p := range private {
		if l == sender {
			continue
		}
		_, got, err := after.Decrypt(p, tree.LeafIndex(sender), path, c.context(s, after), nil)
		noError(t, "decrypt path", err)
		equal(t, "commit secret", got, commit)
		if secrets != nil {
			_, err := after.Implant(p, tree.LeafIndex(sender), suite.Secret(*secrets[l]).Clone())
			noError(t, "implant path secret", err)
		}
	}
}

// send makes a path of our own that all others can use.
func (c *treeKEMCase) send(t *testing.T, s *suite.Suite, before *tree.Tree, private map[uint32]*tree.Private, sender uint32, signer *suite.Signer) {
	t.Helper()
	e := before.Edit()
	at := tree.LeafIndex(sender)
	created, _, err := e.Create(at, private[sender], func(key suite.PublicKey, parentHash []byte) (*tree.LeafNode, error) {
		leaf := *before.Leaf(at)
		leaf.EncryptionKey, leaf.Source, leaf.ParentHash = key, tree.SourceCommit, parentHash
		return &leaf, leaf.Sign(signer, c.GroupID, at)
	})
	noError(t, "create path", err)
	after := e.Freeze()
	path, err := after.Encrypt(created, c.context(s, after), nil)
	noError(t, "encrypt path", err)
	c.receive(t, s, before, private, sender, codec.Marshal(path), created.Commit, after.Hash(), nil)
}
