package mls_test

import (
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

type protectionCase struct {
	withSuite
	GroupID       hexBytes `json:"group_id"`
	Epoch         uint64
	TreeHash      hexBytes `json:"tree_hash"`
	Transcript    hexBytes `json:"confirmed_transcript_hash"`
	SignaturePriv hexBytes `json:"signature_priv"`
	SignaturePub  hexBytes `json:"signature_pub"`
	Encryption    hexBytes `json:"encryption_secret"`
	SenderData    hexBytes `json:"sender_data_secret"`
	Membership    hexBytes `json:"membership_key"`

	Proposal        hexBytes
	ProposalPriv    hexBytes `json:"proposal_priv"`
	ProposalPub     hexBytes `json:"proposal_pub"`
	Commit          hexBytes
	CommitPriv      hexBytes `json:"commit_priv"`
	CommitPub       hexBytes `json:"commit_pub"`
	Application     hexBytes
	ApplicationPriv hexBytes `json:"application_priv"`
}

// protector protects and unprotects for one case; every message is from leaf 1 of 2.
type protector struct {
	*protectionCase
	s       *suite.Suite
	context *schedule.GroupContext
}

func (p *protector) secrets() *schedule.SecretTree {
	return schedule.NewSecretTree(p.s, 2, suite.Secret(p.Encryption).Clone(), schedule.DefaultLimits())
}

// open unprotects a message and returns the encoded body of its content.
func (p *protector) open(t *testing.T, raw []byte) []byte {
	t.Helper()
	m, err := message.Parse(raw)
	noError(t, "parse", err)
	equal(t, "re-encoded message", codec.Marshal(m), raw)
	var signed *message.Signed
	if m.Public != nil {
		signed, err = m.Public.Unprotect(p.s, suite.Secret(p.Membership), p.context)
		noError(t, "unprotect", err)
	} else {
		from, err := m.Private.SenderData(p.s, suite.Secret(p.SenderData))
		noError(t, "sender data", err)
		key, _, err := p.secrets().Take(from.Leaf, m.Private.Type.Kind(), from.Generation)
		noError(t, "take key", err)
		signed, err = m.Private.Open(p.s, key, from)
		noError(t, "open", err)
	}
	auth, err := signed.Verify(p.s, suite.SignaturePublicKey(p.SignaturePub), p.context)
	noError(t, "verify", err)
	switch c := auth.Content(); c.Type {
	case message.ContentApplication:
		return c.Application
	case message.ContentProposal:
		return codec.Marshal(c.Proposal)
	default:
		return codec.Marshal(c.Commit)
	}
}

func (p *protector) protect(t *testing.T, wire message.WireFormat, c *message.Content) []byte {
	t.Helper()
	key, err := p.s.NewSigner(suite.Secret(p.SignaturePriv))
	noError(t, "read signer", err)
	c.GroupID, c.Epoch, c.Sender = p.GroupID, p.Epoch, message.Member(1)
	auth, err := message.Sign(key, wire, c, p.context)
	noError(t, "sign", err)
	if c.Type == message.ContentCommit {
		auth = auth.Confirm(suite.Random(p.s.HashSize()))
	}
	m := &message.Message{}
	if wire == message.WirePublic {
		m.Public = auth.Public(p.s, suite.Secret(p.Membership), p.context)
	} else {
		k, _, err := p.secrets().Next(1, c.Type.Kind())
		noError(t, "next key", err)
		m.Private, err = auth.Private(p.s, k, suite.Secret(p.SenderData), 16)
		noError(t, "encrypt", err)
	}
	return codec.Marshal(m)
}

func messageProtectionVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c protectionCase) uint16 { return c.CipherSuite }
	cases(t, total, "message-protection", of, func(t *testing.T, c protectionCase) {
		t.Helper()
		p := &protector{&c, c.lookup(t), &schedule.GroupContext{
			Version: tree.MLS10, Suite: suite.ID(c.CipherSuite), GroupID: c.GroupID, Epoch: c.Epoch,
			TreeHash: c.TreeHash, ConfirmedTranscriptHash: c.Transcript,
		}}
		equal(t, "proposal, private", p.open(t, c.ProposalPriv), c.Proposal)
		equal(t, "proposal, public", p.open(t, c.ProposalPub), c.Proposal)
		equal(t, "commit, private", p.open(t, c.CommitPriv), c.Commit)
		equal(t, "commit, public", p.open(t, c.CommitPub), c.Commit)
		equal(t, "application", p.open(t, c.ApplicationPriv), c.Application)

		proposal, err := codec.Unmarshal(c.Proposal, message.ReadProposal)
		noError(t, "decode proposal", err)
		commit, err := codec.Unmarshal(c.Commit, message.ReadCommit)
		noError(t, "decode commit", err)
		for _, wire := range []message.WireFormat{message.WirePublic, message.WirePrivate} {
			equal(t, "own proposal", p.open(t, p.protect(t, wire, &message.Content{Type: message.ContentProposal, Proposal: proposal})), c.Proposal)
			equal(t, "own commit", p.open(t, p.protect(t, wire, &message.Content{Type: message.ContentCommit, Commit: commit})), c.Commit)
		}
		equal(t, "own application", p.open(t, p.protect(t, message.WirePrivate, &message.Content{Type: message.ContentApplication, Application: c.Application})), c.Application)
	})
}

type messagesCase struct {
	Welcome      hexBytes `json:"mls_welcome"`
	GroupInfo    hexBytes `json:"mls_group_info"`
	KeyPackage   hexBytes `json:"mls_key_package"`
	RatchetTree  hexBytes `json:"ratchet_tree"`
	GroupSecrets hexBytes `json:"group_secrets"`
	Add          hexBytes `json:"add_proposal"`
	Update       hexBytes `json:"update_proposal"`
	Remove       hexBytes `json:"remove_proposal"`
	PSK          hexBytes `json:"pre_shared_key_proposal"`
	ReInit       hexBytes `json:"re_init_proposal"`
	ExternalInit hexBytes `json:"external_init_proposal"`
	Extensions   hexBytes `json:"group_context_extensions_proposal"`
	Commit       hexBytes
	PublicApp    hexBytes `json:"public_message_application"`
	PublicProp   hexBytes `json:"public_message_proposal"`
	PublicCommit hexBytes `json:"public_message_commit"`
	Private      hexBytes `json:"private_message"`
}

// Every message decodes and encodes to the same bytes.
func messagesVectors(t *testing.T, total *tally) {
	t.Helper()
	cases(t, total, "messages", func(messagesCase) uint16 { return 0 }, func(t *testing.T, c messagesCase) {
		t.Helper()
		for _, raw := range []hexBytes{c.Welcome, c.GroupInfo, c.KeyPackage, c.PublicApp, c.PublicProp, c.PublicCommit, c.Private} {
			m, err := message.Parse(raw)
			noError(t, "parse message", err)
			equal(t, "message", codec.Marshal(m), raw)
		}
		for kind, raw := range map[tree.ProposalType]hexBytes{
			tree.ProposalAdd: c.Add, tree.ProposalUpdate: c.Update, tree.ProposalRemove: c.Remove,
			tree.ProposalPSK: c.PSK, tree.ProposalReInit: c.ReInit, tree.ProposalExternalInit: c.ExternalInit,
			tree.ProposalGroupContextExtensions: c.Extensions,
		} {
			p, err := codec.Unmarshal(raw, func(r *codec.Reader) *message.Proposal { return message.ReadProposalBody(r, kind) })
			noError(t, "decode proposal", err)
			equal(t, "proposal", p.AppendBody(nil), raw)
		}
		commit, err := codec.Unmarshal(c.Commit, message.ReadCommit)
		noError(t, "decode commit", err)
		equal(t, "commit", codec.Marshal(commit), c.Commit)
		secrets, err := codec.Unmarshal(c.GroupSecrets, message.ReadGroupSecrets)
		noError(t, "decode group secrets", err)
		equal(t, "group secrets", codec.Marshal(secrets), c.GroupSecrets)
		s, err := suite.Lookup(suite.X25519AES128SHA256Ed25519)
		noError(t, "suite", err)
		r := codec.NewReader(c.RatchetTree)
		tr, err := tree.Read(s, r)
		noError(t, "decode tree", err)
		noError(t, "decode tree", r.Finish())
		equal(t, "ratchet tree", codec.Marshal(tr), c.RatchetTree)
	})
}

type welcomeCase struct {
	withSuite
	InitPriv   hexBytes `json:"init_priv"`
	KeyPackage hexBytes `json:"key_package"`
	SignerPub  hexBytes `json:"signer_pub"`
	Welcome    hexBytes
}

func welcomeVectors(t *testing.T, total *tally) {
	t.Helper()
	of := func(c welcomeCase) uint16 { return c.CipherSuite }
	cases(t, total, "welcome", of, func(t *testing.T, c welcomeCase) {
		t.Helper()
		s := c.lookup(t)
		kp, err := message.Parse(c.KeyPackage)
		noError(t, "parse key package", err)
		w, err := message.Parse(c.Welcome)
		noError(t, "parse welcome", err)
		open := func(w *message.Welcome) (*message.GroupSecrets, *message.GroupInfo) {
			entry, ok := w.Find(kp.KeyPackage.Ref(s))
			if !ok {
				t.Fatal("the welcome has no entry for the key package")
			}
			secrets, err := w.OpenSecrets(s, s.NewPrivateKey(suite.Secret(c.InitPriv)), entry)
			noError(t, "open secrets", err)
			info, err := w.OpenInfo(s, secrets.Joiner, s.Zero())
			noError(t, "open group info", err)
			return secrets, info
		}
		secrets, info := open(w.Welcome)
		noError(t, "verify group info", info.VerifySignature(s, suite.SignaturePublicKey(c.SignerPub)))
		epoch, _ := schedule.FromJoiner(s, secrets.Joiner, s.Zero(), codec.Marshal(info.Context))
		equal(t, "confirmation tag", epoch.ConfirmationTag(s, info.Context.ConfirmedTranscriptHash), info.ConfirmationTag)

		again, err := message.SealWelcome(s, codec.Marshal(info), secrets.Joiner, s.Zero(), nil, []message.Joiner{{KeyPackage: kp.KeyPackage, PathSecret: secrets.PathSecret}})
		noError(t, "seal welcome", err)
		_, own := open(again)
		equal(t, "own group info", codec.Marshal(own), codec.Marshal(info))
	})
}
