package mls

import (
	"errors"
	"testing"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
)

// What an inviter puts into the welcome's group info reaches those who are added, signed,
// and only until their next epoch.
func TestInfoExtensionReachesTheJoiner(t *testing.T) {
	w := newWorld(t, worldOptions{})
	kp := must(identity(t, "e").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	p := must(w.members[0].Commit(CommitOptions{
		Add: []*message.KeyPackage{kp.Public}, InfoExtensions: tree.Extensions{{Type: extUnknown, Data: []byte("proof")}},
	}, worldTime))(t)
	joined := must(Join(w.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime))(t)
	if data, ok := joined.InfoExtension(extUnknown); !ok || string(data) != "proof" {
		t.Errorf("the joiner has %q (%v), want “proof”", data, ok)
	}
	if _, ok := joined.InfoExtension(tree.ExtRatchetTree); ok {
		t.Error("the joiner keeps the encoded tree, want it dropped")
	}
	next := must(joined.Commit(CommitOptions{}, worldTime))(t).Next
	if _, ok := next.InfoExtension(extUnknown); ok {
		t.Error("the next epoch has the extension still, want it gone")
	}
}

// Who joins by external commit can refuse the group by what it is and who vouches for it,
// before anything is made; the others get the authenticated data of the commit.
func TestExternalJoinCanBeRefused(t *testing.T) {
	w := newWorld(t, worldOptions{})
	info := must(w.members[1].GroupInfo(GroupInfoOptions{}))(t)
	refusal := errors.New("not this one")
	var signer Member
	check := func(refuse error) func(*PublicGroup, Member) error {
		return func(p *PublicGroup, m Member) error {
			if p.Epoch() != w.members[0].Epoch() {
				t.Errorf("the group is in epoch %d, want %d", p.Epoch(), w.members[0].Epoch())
			}
			signer = m
			return refuse
		}
	}
	if _, err := ExternalJoin(w.cfg, identity(t, "e"), info, ExternalOptions{Check: check(refusal)}, worldTime); !errors.Is(err, refusal) {
		t.Errorf("got %v, want the refusal", err)
	}
	if signer.Index != 1 || string(signer.Leaf.Credential.Identity) != "b" {
		t.Errorf("the signer is leaf %d (%q), want leaf 1 (b)", signer.Index, signer.Leaf.Credential.Identity)
	}
	p := must(ExternalJoin(w.cfg, identity(t, "e"), info, ExternalOptions{Check: check(nil), AAD: []byte("tie")}, worldTime))(t)
	_, ev, err := w.members[0].Process(p.Commit, worldTime)
	if err != nil {
		t.Fatal(err)
	}
	if got := ev.(*EpochStarted).AuthenticatedData; string(got) != "tie" {
		t.Errorf("the members see the authenticated data %q, want “tie”", got)
	}
}
