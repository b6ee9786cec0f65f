package mls

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// certificate makes a self-signed certificate for a fresh key.
func certificate(tb testing.TB, name string) ([]byte, ed25519.PrivateKey) {
	tb.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	must(pub, err)(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: worldTime.Add(-time.Hour), NotAfter: worldTime.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	return must(x509.CreateCertificate(rand.Reader, template, template, pub, key))(tb), key
}

// required builds a required_capabilities extension.
func required(q tree.RequiredCapabilities) tree.Extensions {
	return tree.Extensions{{Type: tree.ExtRequiredCapabilities, Data: codec.Marshal(q)}}
}

func remove(l tree.LeafIndex) *message.Proposal {
	return &message.Proposal{Type: tree.ProposalRemove, Remove: l}
}

func contextExtensions(ext tree.Extensions) *message.Proposal {
	return &message.Proposal{Type: tree.ProposalGroupContextExtensions, Extensions: ext}
}

func proposalContent(p *message.Proposal) *message.Content {
	return &message.Content{Type: message.ContentProposal, Proposal: p}
}

// catalogue has one invalid message per rule: a function that gets a fresh world and
// returns the error of the one who received the message.
func catalogue() map[rule.Rule]func(w *world) error {
	all := map[rule.Rule]func(w *world) error{}
	for _, part := range []map[rule.Rule]func(w *world) error{
		leafCases(), keyPackageCases(), frameCases(), proposalCases(), listCases(),
		externalCases(), pathCases(), welcomeCases(), treeCases(), lineageCases(),
	} {
		for r, f := range part {
			all[r] = f
		}
	}
	return all
}

// Every rule refuses the message built to break it, and leaves the group as it was.
func TestEveryRuleRefuses(t *testing.T) {
	for r, f := range catalogue() {
		t.Run(r.String(), func(t *testing.T) {
			err := f(newWorld(t, worldOptions{}))
			if err == nil {
				t.Fatalf("accepted a message that breaks %s: %s", r, r.Text())
			}
			if got, ok := rule.Of(err); !ok || got != r {
				t.Errorf("refused with %v, want rule %s", err, r)
			}
		})
	}
}

// No rule is without a message that breaks it.
func TestNoRuleWithoutCase(t *testing.T) {
	cases := catalogue()
	for _, r := range rule.All() {
		if cases[r] == nil {
			t.Errorf("rule %s (%s) has no case", r, r.Section())
		}
	}
}

func leafCases() map[rule.Rule]func(w *world) error {
	leaf := func(mutate func(l *tree.LeafNode)) func(w *world) error {
		return func(w *world) error { return w.add(func(kp *message.KeyPackage) { mutate(kp.Leaf) }) }
	}
	lifetime := func(l tree.Lifetime) func(w *world) error { // the committer's to judge
		return func(w *world) error {
			kp := w.keyPackage(identity(w.t, "new"), func(kp *message.KeyPackage) { kp.Leaf.Lifetime = l })
			_, err := w.members[0].Commit(CommitOptions{Add: []*message.KeyPackage{kp}}, worldTime)
			return err
		}
	}
	return map[rule.Rule]func(w *world) error{
		rule.LeafSignature:  leaf(func(l *tree.LeafNode) { l.Signature = nil }),
		rule.LeafCredential: leaf(func(l *tree.LeafNode) { l.Credential.Identity = []byte(evilIdentity) }),
		rule.LeafCertificateKey: func(w *world) error {
			der, _ := certificate(w.t, "new")
			return w.add(func(kp *message.KeyPackage) {
				kp.Leaf.Credential = tree.Credential{Type: tree.CredentialX509, Certificates: [][]byte{der}}
				kp.Leaf.Capabilities.Credentials = []tree.CredentialType{1, 2}
			})
		},
		rule.LeafRequired: func(w *world) error {
			*w = *newWorld(w.t, worldOptions{extensions: required(tree.RequiredCapabilities{Proposals: []tree.ProposalType{tree.ProposalSelfRemove}})})
			return w.add(func(kp *message.KeyPackage) { kp.Leaf.Capabilities.Proposals = nil })
		},
		rule.LeafCredentialSupported: leaf(func(l *tree.LeafNode) {
			l.Credential.Type = credNobody
			l.Capabilities.Credentials = []tree.CredentialType{1, credAll, credNobody}
		}),
		rule.LeafSupportsCredentials: leaf(func(l *tree.LeafNode) {
			l.Credential.Type = credAll
			l.Capabilities.Credentials = []tree.CredentialType{credAll}
		}),
		rule.LeafCredentialListed: leaf(func(l *tree.LeafNode) { l.Capabilities.Credentials = nil }),
		rule.LeafExtensionsListed: leaf(func(l *tree.LeafNode) { l.Extensions = tree.Extensions{{Type: extUnknown}} }),
		rule.LeafDefaultsListed: leaf(func(l *tree.LeafNode) {
			l.Capabilities.Extensions = []tree.ExtensionType{extKnown, tree.ExtRatchetTree}
		}),
		rule.LeafVersion: leaf(func(l *tree.LeafNode) { l.Capabilities.Versions = []tree.Version{2} }),
		rule.LeafSuite:   leaf(func(l *tree.LeafNode) { l.Capabilities.Suites = []uint16{2} }),
		rule.LeafGroupExtensions: func(w *world) error {
			*w = *newWorld(w.t, worldOptions{extensions: tree.Extensions{{Type: extKnown}}})
			return w.add(func(kp *message.KeyPackage) { kp.Leaf.Capabilities.Extensions = nil })
		},
		rule.LeafLifetime:         lifetime(tree.Lifetime{NotBefore: 1, NotAfter: 2}),
		rule.LeafLifetimeTotal:    lifetime(tree.Lifetime{NotBefore: 0, NotAfter: ^uint64(0)}),
		rule.LeafSourceKeyPackage: leaf(func(l *tree.LeafNode) { l.Source = tree.SourceUpdate }),
		rule.LeafSourceUpdate: func(w *world) error {
			return w.update(func(l *tree.LeafNode) { l.Source = tree.SourceCommit })
		},
		rule.LeafSourceCommit: func(w *world) error {
			return w.spoilPath(func(p *tree.UpdatePath) { p.Leaf.Source = tree.SourceUpdate }, nil)
		},
		rule.LeafFreshKey: func(w *world) error {
			return w.update(func(l *tree.LeafNode) { l.EncryptionKey = w.members[0].pub.tree.Leaf(0).EncryptionKey })
		},
		rule.LeafSignatureKeyUnique: func(w *world) error {
			other := w.members[2].id.Signer
			return w.spoilPath(func(p *tree.UpdatePath) { p.Leaf.SignatureKey = other.Public() }, other)
		},
		rule.LeafEncryptionKeyUnique: func(w *world) error {
			return w.add(func(kp *message.KeyPackage) { kp.Leaf.EncryptionKey = w.members[0].pub.tree.Leaf(2).EncryptionKey })
		},
		rule.LeafKeys: leaf(func(l *tree.LeafNode) { l.EncryptionKey = l.EncryptionKey[:5] }),
	}
}

func keyPackageCases() map[rule.Rule]func(w *world) error {
	spoil := func(mutate func(kp *message.KeyPackage)) func(w *world) error {
		return func(w *world) error { return w.add(mutate) }
	}
	return map[rule.Rule]func(w *world) error{
		rule.ExtensionsUnique: spoil(func(kp *message.KeyPackage) {
			kp.Extensions = tree.Extensions{{Type: extKnown}, {Type: extKnown}}
		}),
		rule.Limit: spoil(func(kp *message.KeyPackage) {
			kp.Leaf.Capabilities.Credentials = append(kp.Leaf.Capabilities.Credentials, numbersUpTo[tree.CredentialType](tree.MaxCapabilities)...)
		}),
		rule.KeyPackageVersion: spoil(func(kp *message.KeyPackage) { kp.Version = 2 }),
		rule.KeyPackageSuite:   spoil(func(kp *message.KeyPackage) { kp.Suite = suite.X25519ChaChaSHA256Ed25519 }),
		rule.KeyPackageSignature: func(w *world) error {
			kp := w.keyPackage(identity(w.t, "new"), nil)
			kp.Signature[3] ^= 1
			return w.commit(&message.Proposal{Type: tree.ProposalAdd, Add: kp})
		},
		rule.KeyPackageInitUnique: func(w *world) error {
			return w.add(func(kp *message.KeyPackage) { kp.InitKey = w.parentKey() })
		},
		rule.KeyPackageInitKey: spoil(func(kp *message.KeyPackage) { kp.InitKey = kp.Leaf.EncryptionKey }),
	}
}

func frameCases() map[rule.Rule]func(w *world) error {
	update := func(w *world) *message.Content { return proposalContent(w.updateProposal(0, nil)) }
	public := func(mutate func(*message.PublicMessage)) func(w *world) error {
		return func(w *world) error {
			m := must(message.Parse(w.forge(0, update(w), nil)))(w.t)
			mutate(m.Public)
			return w.refused(1, codec.Marshal(m))
		}
	}
	return map[rule.Rule]func(w *world) error{
		rule.FrameVersion: func(w *world) error {
			msg := w.forge(0, update(w), nil)
			msg[1] = 2
			return w.refused(1, msg)
		},
		rule.FrameGroup: func(w *world) error {
			c := update(w)
			c.GroupID, c.Epoch = []byte("other"), w.members[0].Epoch()
			return w.refused(1, w.forge(0, c, nil))
		},
		rule.FrameEpoch: func(w *world) error {
			c := update(w)
			c.GroupID, c.Epoch = w.members[0].ID(), w.members[0].Epoch()+1
			return w.refused(1, w.forge(0, c, nil))
		},
		rule.FrameEpochRetained: func(w *world) error {
			_, msg, err := w.members[0].Encrypt([]byte("late"), nil)
			must(msg, err)(w.t)
			for range DefaultPastEpochs + 1 {
				w.accept(2, must(w.members[2].Commit(CommitOptions{}, worldTime))(w.t))
			}
			return w.refused(1, msg)
		},
		rule.FrameSender: func(w *world) error {
			c := update(w)
			c.Sender = message.Member(77)
			return w.refused(1, w.forge(0, c, nil))
		},
		rule.FrameSignature:     func(w *world) error { return w.refused(1, w.forge(0, update(w), w.members[2].id.Signer)) },
		rule.FrameMembershipTag: public(func(m *message.PublicMessage) { m.MembershipTag[0] ^= 1 }),
		rule.FrameApplication: func(w *world) error {
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentApplication, Application: []byte("x")}, nil))
		},
		rule.FramePadding: func(w *world) error { return w.refused(1, w.forgePrivate(0, []byte("x"), []byte{0, 1})) },
		rule.FrameSenderType: func(w *world) error {
			c := &message.Content{Type: message.ContentCommit, Commit: &message.Commit{}, Sender: message.Sender{Type: message.SenderExternal}}
			return w.refused(1, w.forge(0, c, w.external))
		},
		rule.FrameRatchetTooFar: func(w *world) error {
			g := *w.members[0]
			for range schedule.DefaultLimits().Forward + 1 {
				var err error
				_, g.secrets, err = g.secrets.Next(0, schedule.Application)
				must(g.secrets, err)(w.t)
			}
			_, msg, err := g.Encrypt([]byte("far"), nil)
			must(msg, err)(w.t)
			return w.refused(1, msg)
		},
		rule.FrameGenerationUsed: func(w *world) error {
			_, msg, err := w.members[0].Encrypt([]byte("once"), nil)
			must(msg, err)(w.t)
			w.deliver(1, msg)
			return w.refused(1, msg)
		},
		rule.ExternalSenderIndex: func(w *world) error {
			msg, err := ExternalProposal(w.external, 5, w.members[0].ID(), w.members[0].Epoch(), remove(2))
			must(msg, err)(w.t)
			return w.refused(1, msg)
		},
		rule.ExternalSenderProposal: func(w *world) error {
			c := update(w)
			c.Sender = message.Sender{Type: message.SenderExternal}
			return w.refused(1, w.forge(0, c, w.external))
		},
		rule.NewMemberProposal: func(w *world) error {
			c := proposalContent(remove(2))
			c.Sender = message.Sender{Type: message.SenderNewMemberProposal}
			return w.refused(1, w.forge(0, c, nil))
		},
		rule.GroupClosed: func(w *world) error {
			w.accept(0, must(w.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{1}}, worldTime))(w.t))
			return w.refused(1, w.forge(0, update(w), nil))
		},
		rule.SendPending: func(w *world) error {
			w.deliver(1, w.forge(0, update(w), nil))
			_, _, err := w.members[1].Encrypt([]byte("too early"), nil)
			return err
		},
	}
}

// forgePrivate encrypts application data with any bytes as padding.
func (w *world) forgePrivate(by int, data, padding []byte) []byte {
	w.t.Helper()
	g, s := w.members[by], w.members[by].pub.s
	c := &message.Content{GroupID: g.ID(), Epoch: g.Epoch(), Sender: message.Member(g.Self()), Type: message.ContentApplication, Application: data}
	auth := must(message.Sign(g.id.Signer, message.WirePrivate, c, g.pub.context))(w.t)
	signature := codec.Marshal(auth)[2+len(codec.Marshal(c)):]
	plain := append(append(codec.Bytes(nil, data), signature...), padding...)
	key, _, err := g.secrets.Next(g.Self(), schedule.Application)
	must(key, err)(w.t)
	senderAAD := append(codec.Uint64(codec.Bytes(nil, g.ID()), g.Epoch()), byte(c.Type))
	ciphertext := must(s.Seal(key.Key, key.Nonce, codec.Bytes(senderAAD, nil), plain))(w.t)
	head := append(codec.Uint32(codec.Uint32(nil, uint32(g.Self())), key.Generation), 0, 0, 0, 0)
	k, nonce := schedule.SenderDataKeys(s, g.epoch.SenderData, ciphertext)
	return codec.Marshal(&message.Message{Private: &message.PrivateMessage{
		GroupID: g.ID(), Epoch: g.Epoch(), Type: c.Type,
		EncryptedSenderData: must(s.Seal(k, nonce, senderAAD, head))(w.t), Ciphertext: ciphertext,
	}})
}

func proposalCases() map[rule.Rule]func(w *world) error {
	return map[rule.Rule]func(w *world) error{
		rule.RemoveMember: func(w *world) error { return w.commit(remove(99)) },
		rule.PSKUsage: func(w *world) error {
			p := psk("", 32)
			p.PSK = schedule.PSKID{Type: schedule.PSKResumption, Usage: schedule.UsageBranch, GroupID: []byte("world"), Nonce: make([]byte, 32)}
			return w.commit(p)
		},
		rule.PSKNonce: func(w *world) error { return w.commit(psk("x", 31)) },
		rule.PSKAvailable: func(w *world) error {
			c := &message.Commit{Proposals: []message.ProposalOrRef{{Proposal: psk("unknown", 32)}}}
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil))
		},
		rule.ReInitVersion: func(w *world) error {
			return w.commit(&message.Proposal{Type: tree.ProposalReInit, ReInit: &message.ReInit{Version: 0, Suite: worldSuite}})
		},
		rule.ContextRequired: func(w *world) error {
			return w.commit(contextExtensions(required(tree.RequiredCapabilities{Extensions: []tree.ExtensionType{extUnknown}})))
		},
		rule.ContextExtensions: func(w *world) error {
			return w.commit(contextExtensions(tree.Extensions{{Type: extUnknown}}))
		},
		rule.ContextPlaces: func(w *world) error {
			return w.commit(contextExtensions(tree.Extensions{{Type: tree.ExtRatchetTree}}))
		},
		rule.ContextExternalSenders: func(w *world) error {
			return w.commit(contextExtensions(tree.Extensions{{Type: tree.ExtExternalSenders, Data: []byte{9}}}))
		},
		rule.SelfRemoveReference: func(w *world) error { return w.commit(&message.Proposal{Type: tree.ProposalSelfRemove}) },
		rule.SelfRemovePublic: func(w *world) error {
			g := w.members[0]
			c := &message.Content{GroupID: g.ID(), Epoch: g.Epoch(), Sender: message.Member(0), Type: message.ContentProposal, Proposal: &message.Proposal{Type: tree.ProposalSelfRemove}}
			auth := must(message.Sign(g.id.Signer, message.WirePrivate, c, g.pub.context))(w.t)
			_, msg, err := g.frame(auth)
			must(msg, err)(w.t)
			return w.refused(1, msg)
		},
	}
}

func listCases() map[rule.Rule]func(w *world) error {
	return map[rule.Rule]func(w *world) error{
		rule.ListUnknownReference: func(w *world) error {
			c := &message.Commit{Path: w.path(), Proposals: []message.ProposalOrRef{{Ref: make([]byte, 32)}}}
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil))
		},
		rule.ListOwnUpdate: func(w *world) error { return w.commit(w.updateProposal(0, nil)) },
		rule.ListOwnRemove: func(w *world) error { return w.commit(remove(0)) },
		rule.ListSameLeaf:  func(w *world) error { return w.commit(remove(2), remove(2)) },
		rule.ListDuplicateAdd: func(w *world) error {
			p := &message.Proposal{Type: tree.ProposalAdd, Add: w.keyPackage(identity(w.t, "twin"), nil)}
			return w.commit(p, p)
		},
		rule.ListAddMember: func(w *world) error {
			return w.commit(&message.Proposal{Type: tree.ProposalAdd, Add: w.keyPackage(w.members[2].id, nil)})
		},
		rule.ListDuplicatePSK: func(w *world) error { return w.commit(psk("x", 32), psk("x", 32)) },
		rule.ListContextTwice: func(w *world) error { return w.commit(contextExtensions(nil), contextExtensions(nil)) },
		rule.ListReInitAlone: func(w *world) error {
			return w.commit(&message.Proposal{Type: tree.ProposalReInit, ReInit: &message.ReInit{Version: 1, Suite: worldSuite}}, psk("x", 32))
		},
		rule.ListExternalInit: func(w *world) error {
			return w.commit(&message.Proposal{Type: tree.ProposalExternalInit, KEMOutput: make([]byte, 32)})
		},
		rule.ListUnsupported: func(w *world) error {
			*w = *newWorld(w.t, worldOptions{proposals: func(member int) []tree.ProposalType {
				if member == 3 {
					return nil
				}
				return []tree.ProposalType{tree.ProposalSelfRemove}
			}})
			w.deliver(1, w.forge(2, proposalContent(&message.Proposal{Type: tree.ProposalSelfRemove}), nil))
			ref := w.members[1].pub.proposals[0].ref
			c := &message.Commit{Path: w.path(), Proposals: []message.ProposalOrRef{{Ref: ref}}}
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil))
		},
	}
}
