package mls_test

import (
	"bytes"
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
)

// withSuite is embedded by cases that name a suite.
type withSuite struct {
	CipherSuite uint16 `json:"cipher_suite"`
}

func (w withSuite) lookup(tb testing.TB) *suite.Suite {
	tb.Helper()
	s, err := suite.Lookup(suite.ID(w.CipherSuite))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// equal fails the test if got is not want.
func equal(tb testing.TB, what string, got, want []byte) {
	tb.Helper()
	if !bytes.Equal(got, want) {
		tb.Errorf("%s: got %x, want %x", what, got, want)
	}
}

func noError(tb testing.TB, what string, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%s: %v", what, err)
	}
}

type treeMathCase struct {
	Leaves  int       `json:"n_leaves"`
	Nodes   int       `json:"n_nodes"`
	Root    uint32    `json:"root"`
	Left    []*uint32 `json:"left"`
	Right   []*uint32 `json:"right"`
	Parent  []*uint32 `json:"parent"`
	Sibling []*uint32 `json:"sibling"`
}

func treeMathVectors(t *testing.T, total *tally) {
	t.Helper()
	cases(t, total, "tree-math", func(treeMathCase) uint16 { return 0 }, func(t *testing.T, c treeMathCase) {
		t.Helper()
		size := treemath.SizeFor(c.Leaves)
		if size.Nodes() != c.Nodes || uint32(size.Root()) != c.Root {
			t.Fatalf("got %d nodes, root %d", size.Nodes(), size.Root())
		}
		check := func(what string, x int, want *uint32, defined bool, f func() treemath.NodeIndex) {
			if defined != (want != nil) {
				t.Errorf("%s of %d: defined %v, want %v", what, x, defined, want != nil)
			} else if defined && uint32(f()) != *want {
				t.Errorf("%s of %d: got %d, want %d", what, x, f(), *want)
			}
		}
		for i := range c.Nodes {
			x := treemath.NodeIndex(i)
			check("left", i, c.Left[i], !x.IsLeaf(), x.Left)
			check("right", i, c.Right[i], !x.IsLeaf(), x.Right)
			check("parent", i, c.Parent[i], x != size.Root(), x.Parent)
			check("sibling", i, c.Sibling[i], x != size.Root(), x.Sibling)
		}
	})
}

type cryptoBasicsCase struct {
	withSuite
	RefHash struct {
		Label      string
		Value, Out hexBytes
	} `json:"ref_hash"`
	Expand struct {
		Secret, Context, Out hexBytes
		Label                string
		Length               int
	} `json:"expand_with_label"`
	Derive struct {
		Secret, Out hexBytes
		Label       string
	} `json:"derive_secret"`
	DeriveTree struct {
		Secret, Out hexBytes
		Label       string
		Generation  uint32
		Length      int
	} `json:"derive_tree_secret"`
	Sign struct {
		Priv, Pub, Content, Signature hexBytes
		Label                         string
	} `json:"sign_with_label"`
	Encrypt struct {
		Priv, Pub, Context, Plaintext, Ciphertext hexBytes
		KEMOutput                                 hexBytes `json:"kem_output"`
		Label                                     string
	} `json:"encrypt_with_label"`
}

func cryptoBasicsVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c cryptoBasicsCase) uint16 { return c.CipherSuite }
	cases(t, total, "crypto-basics", of, func(t *testing.T, c cryptoBasicsCase) {
		t.Helper()
		s := c.lookup(t)
		equal(t, "RefHash", s.RefHash(c.RefHash.Label, c.RefHash.Value), c.RefHash.Out)
		equal(t, "ExpandWithLabel", s.ExpandWithLabel(suite.Secret(c.Expand.Secret), c.Expand.Label, c.Expand.Context, c.Expand.Length), c.Expand.Out)
		equal(t, "DeriveSecret", s.DeriveSecret(suite.Secret(c.Derive.Secret), c.Derive.Label), c.Derive.Out)
		equal(t, "DeriveTreeSecret", s.DeriveTreeSecret(suite.Secret(c.DeriveTree.Secret), c.DeriveTree.Label, c.DeriveTree.Generation, c.DeriveTree.Length), c.DeriveTree.Out)

		pub := suite.SignaturePublicKey(c.Sign.Pub)
		noError(t, "verify given signature", s.VerifyWithLabel(pub, c.Sign.Label, c.Sign.Content, c.Sign.Signature))
		key, err := s.NewSigner(suite.Secret(c.Sign.Priv))
		noError(t, "read signature key", err)
		equal(t, "signature public key", key.Public(), c.Sign.Pub)
		sig, err := key.SignWithLabel(c.Sign.Label, c.Sign.Content)
		noError(t, "sign", err)
		noError(t, "verify own signature", s.VerifyWithLabel(pub, c.Sign.Label, c.Sign.Content, sig))
		if s.VerifyWithLabel(pub, c.Sign.Label+"x", c.Sign.Content, sig) == nil {
			t.Error("a signature verifies under another label")
		}

		priv := s.NewPrivateKey(suite.Secret(c.Encrypt.Priv))
		derived, err := priv.Public()
		noError(t, "read hpke key", err)
		equal(t, "hpke public key", derived, c.Encrypt.Pub)
		plain, err := s.DecryptWithLabel(priv, c.Encrypt.Label, c.Encrypt.Context, suite.Ciphertext{KEMOutput: c.Encrypt.KEMOutput, Ciphertext: c.Encrypt.Ciphertext})
		noError(t, "decrypt given ciphertext", err)
		equal(t, "plaintext", plain, c.Encrypt.Plaintext)
		sealed, err := s.EncryptWithLabel(derived, c.Encrypt.Label, c.Encrypt.Context, c.Encrypt.Plaintext)
		noError(t, "encrypt", err)
		plain, err = s.DecryptWithLabel(priv, c.Encrypt.Label, c.Encrypt.Context, sealed)
		noError(t, "decrypt own ciphertext", err)
		equal(t, "own plaintext", plain, c.Encrypt.Plaintext)
	})
}

type deserializationCase struct {
	Header hexBytes `json:"vlbytes_header"`
	Length int      `json:"length"`
}

func deserializationVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(deserializationCase) uint16 { return 0 }
	cases(t, total, "deserialization", of, func(t *testing.T, c deserializationCase) {
		t.Helper()
		r := codec.NewReader(c.Header)
		got := r.Length()
		noError(t, "read length", r.Finish())
		if got != c.Length {
			t.Errorf("got length %d, want %d", got, c.Length)
		}
		equal(t, "written header", codec.Length(nil, c.Length), c.Header)
	})
}

type keyScheduleCase struct {
	withSuite
	GroupID hexBytes `json:"group_id"`
	Init    hexBytes `json:"initial_init_secret"`
	Epochs  []struct {
		TreeHash       hexBytes `json:"tree_hash"`
		CommitSecret   hexBytes `json:"commit_secret"`
		PSKSecret      hexBytes `json:"psk_secret"`
		Transcript     hexBytes `json:"confirmed_transcript_hash"`
		GroupContext   hexBytes `json:"group_context"`
		Joiner         hexBytes `json:"joiner_secret"`
		Welcome        hexBytes `json:"welcome_secret"`
		Init           hexBytes `json:"init_secret"`
		SenderData     hexBytes `json:"sender_data_secret"`
		Encryption     hexBytes `json:"encryption_secret"`
		ExporterSecret hexBytes `json:"exporter_secret"`
		Authenticator  hexBytes `json:"epoch_authenticator"`
		External       hexBytes `json:"external_secret"`
		Confirmation   hexBytes `json:"confirmation_key"`
		Membership     hexBytes `json:"membership_key"`
		Resumption     hexBytes `json:"resumption_psk"`
		ExternalPub    hexBytes `json:"external_pub"`
		Exporter       struct {
			Label           string
			Context, Secret hexBytes
			Length          int
		}
	}
}

func keyScheduleVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c keyScheduleCase) uint16 { return c.CipherSuite }
	cases(t, total, "key-schedule", of, func(t *testing.T, c keyScheduleCase) {
		t.Helper()
		s := c.lookup(t)
		initSecret := suite.Secret(c.Init)
		for i, e := range c.Epochs {
			context := codec.Marshal(&schedule.GroupContext{
				Version: tree.MLS10, Suite: s.ID(), GroupID: c.GroupID, Epoch: uint64(i),
				TreeHash: e.TreeHash, ConfirmedTranscriptHash: e.Transcript,
			})
			equal(t, "group context", context, e.GroupContext)
			joiner := schedule.Joiner(s, initSecret, suite.Secret(e.CommitSecret), context)
			equal(t, "joiner secret", joiner, e.Joiner)
			equal(t, "welcome secret", schedule.Welcome(s, joiner, suite.Secret(e.PSKSecret)), e.Welcome)
			got, roots := schedule.FromJoiner(s, joiner, suite.Secret(e.PSKSecret), context)
			equal(t, "sender data secret", got.SenderData, e.SenderData)
			equal(t, "encryption secret", roots.Encryption, e.Encryption)
			equal(t, "exporter secret", got.Exporter, e.ExporterSecret)
			equal(t, "external secret", got.External, e.External)
			equal(t, "confirmation key", got.ConfirmationKey, e.Confirmation)
			equal(t, "membership key", got.MembershipKey, e.Membership)
			equal(t, "resumption psk", got.ResumptionPSK, e.Resumption)
			equal(t, "epoch authenticator", got.Authenticator, e.Authenticator)
			equal(t, "init secret", got.Init, e.Init)
			_, pub, err := got.ExternalKey(s)
			noError(t, "derive external key", err)
			equal(t, "external pub", pub, e.ExternalPub)
			equal(t, "exported", got.Export(s, e.Exporter.Label, e.Exporter.Context, e.Exporter.Length), e.Exporter.Secret)
			initSecret = got.Init
		}
	})
}

type pskCase struct {
	withSuite
	PSKs []struct {
		ID    hexBytes `json:"psk_id"`
		PSK   hexBytes `json:"psk"`
		Nonce hexBytes `json:"psk_nonce"`
	}
	Secret hexBytes `json:"psk_secret"`
}

func pskSecretVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c pskCase) uint16 { return c.CipherSuite }
	cases(t, total, "psk_secret", of, func(t *testing.T, c pskCase) {
		t.Helper()
		var psks []schedule.PSK
		for _, p := range c.PSKs {
			id := schedule.PSKID{Type: schedule.PSKExternal, ID: p.ID, Nonce: p.Nonce}
			psks = append(psks, schedule.PSK{ID: id, Secret: suite.Secret(p.PSK)})
		}
		equal(t, "psk secret", schedule.PSKSecret(c.lookup(t), psks), c.Secret)
	})
}

type secretTreeCase struct {
	withSuite
	Encryption hexBytes `json:"encryption_secret"`
	SenderData struct {
		Secret     hexBytes `json:"sender_data_secret"`
		Ciphertext hexBytes
		Key, Nonce hexBytes
	} `json:"sender_data"`
	Leaves [][]struct {
		Generation       uint32
		ApplicationKey   hexBytes `json:"application_key"`
		ApplicationNonce hexBytes `json:"application_nonce"`
		HandshakeKey     hexBytes `json:"handshake_key"`
		HandshakeNonce   hexBytes `json:"handshake_nonce"`
	}
}

func secretTreeVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c secretTreeCase) uint16 { return c.CipherSuite }
	cases(t, total, "secret-tree", of, func(t *testing.T, c secretTreeCase) {
		t.Helper()
		s := c.lookup(t)
		key, nonce := schedule.SenderDataKeys(s, suite.Secret(c.SenderData.Secret), c.SenderData.Ciphertext)
		equal(t, "sender data key", key, c.SenderData.Key)
		equal(t, "sender data nonce", nonce, c.SenderData.Nonce)
		secrets := schedule.NewSecretTree(s, treemath.Size(len(c.Leaves)), suite.Secret(c.Encryption), schedule.DefaultLimits())
		take := func(l int, kind schedule.Kind, generation uint32) schedule.MessageKey {
			k, rest, err := secrets.Take(tree.LeafIndex(l), kind, generation)
			noError(t, "take key", err)
			if _, _, err := rest.Take(tree.LeafIndex(l), kind, generation); err == nil {
				t.Errorf("leaf %d: generation %d was given out twice", l, generation)
			}
			secrets = rest
			return k
		}
		for l, generations := range c.Leaves {
			for _, g := range generations {
				app := take(l, schedule.Application, g.Generation)
				equal(t, "application key", app.Key, g.ApplicationKey)
				equal(t, "application nonce", app.Nonce, g.ApplicationNonce)
				hs := take(l, schedule.Handshake, g.Generation)
				equal(t, "handshake key", hs.Key, g.HandshakeKey)
				equal(t, "handshake nonce", hs.Nonce, g.HandshakeNonce)
			}
		}
	})
}

type transcriptCase struct {
	withSuite
	ConfirmationKey hexBytes `json:"confirmation_key"`
	Content         hexBytes `json:"authenticated_content"`
	InterimBefore   hexBytes `json:"interim_transcript_hash_before"`
	ConfirmedAfter  hexBytes `json:"confirmed_transcript_hash_after"`
	InterimAfter    hexBytes `json:"interim_transcript_hash_after"`
}

func transcriptVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c transcriptCase) uint16 { return c.CipherSuite }
	cases(t, total, "transcript-hashes", of, func(t *testing.T, c transcriptCase) {
		t.Helper()
		s := c.lookup(t)
		signed, err := codec.Unmarshal(c.Content, message.ReadSigned)
		noError(t, "decode content", err)
		auth := signed.Trust()
		equal(t, "re-encoded content", codec.Marshal(auth), c.Content)
		confirmed := schedule.ConfirmedTranscript(s, c.InterimBefore, auth.TranscriptInput())
		equal(t, "confirmed transcript hash", confirmed, c.ConfirmedAfter)
		equal(t, "interim transcript hash", schedule.InterimTranscript(s, confirmed, auth.ConfirmationTag()), c.InterimAfter)
		equal(t, "confirmation tag", auth.ConfirmationTag(), s.MAC(suite.Secret(c.ConfirmationKey), confirmed))
	})
}
