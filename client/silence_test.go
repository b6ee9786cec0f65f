package client

import (
	"testing"
	"time"

	"quicproquo/client/content"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
)

// A member's proposal that can't be committed silences nobody, in a group and in a
// conversation of two: what the user says goes out with the next commit at the latest,
// and that commit is made, also when several such proposals wait.
func TestBadProposalSilencesNobody(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(t *testing.T, mallory *actor) []byte{
		"an Update that can't leave": func(_ *testing.T, mallory *actor) []byte {
			mallory.identity.Proposals = nil
			return mallory.proposed(mallory.group.ProposeUpdate(nil, time.Now()))
		},
		"a PSK that nobody has": func(_ *testing.T, mallory *actor) []byte {
			id := schedule.PSKID{Type: schedule.PSKExternal, ID: []byte("nobody has it"), Nonce: make([]byte, 32)}
			return mallory.proposed(mallory.group.ProposePSK(id, nil, time.Now()))
		},
		"the end of the group": func(_ *testing.T, mallory *actor) []byte {
			end := &wire.ReInit{GroupID: []byte("another"), Version: tree.MLS10, Suite: mallory.group.Public().Context().Suite}
			return mallory.proposed(mallory.group.ProposeReInit(end, nil, time.Now()))
		},
	}
	for _, dm := range []bool{false, true} {
		for what, proposal := range kinds {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				mallory, bob, name := joined(t, "mallory", dm)
				bob.gets(proposal(t, mallory))
				if _, err := bob.find(name).Send(t.Context(), content.Text{Text: "can you hear me?"}); err != nil {
					t.Fatal(err)
				}
				of := bob.find(name).id
				out, err := bob.nextOutgoing(t.Context(), of)
				if err != nil {
					t.Fatal(err)
				}
				if out == nil || out.Payload == nil { // one commit is allowed for
					bob.tries(bob.intends(name, wishProposals), prepared{})
					mallory.hears(bob.adopts(name).Deliveries[0].Payload)
					if out, err = bob.nextOutgoing(t.Context(), of); err != nil || out == nil || out.Payload == nil {
						t.Fatalf("after a commit the message waits as %+v (%v), want that it goes out", out, err)
					}
				}
				_, ev, err := mallory.group.Process(out.Payload[1:], bob.at)
				if _, ok := ev.(*mls.ApplicationMessage); err != nil || !ok {
					t.Errorf("mallory, who keeps to the rules here, reads %+v (%v)", ev, err)
				}
				bob.won(name) // and any commit is made
			})
		}
	}
}

// A member's commit that would close the group for another closes it for nobody who does
// not follow it: the client refuses it, and goes on saying and committing what it likes in
// the epoch that it has.
func TestCommitThatWouldCloseTheGroup(t *testing.T) {
	t.Parallel()
	for _, dm := range []bool{false, true} {
		mallory, bob, name := joined(t, "mallory", dm)
		end := &wire.ReInit{GroupID: []byte("another"), Version: tree.MLS10, Suite: mallory.group.Public().Context().Suite}
		commit, _ := mallory.commits(mls.CommitOptions{ReInit: end})
		bob.gets(commit)
		epoch := bob.state(name).Epoch
		if _, err := bob.find(name).Send(t.Context(), content.Text{Text: "still here"}); err != nil {
			t.Fatalf("dm %t: after the commit nothing can be said: %v", dm, err)
		}
		if out, err := bob.nextOutgoing(t.Context(), bob.find(name).id); err != nil || out == nil || out.Payload == nil {
			t.Errorf("dm %t: what is said waits as %+v (%v), want that it goes out", dm, out, err)
		}
		bob.won(name)
		if now := bob.state(name).Epoch; now != epoch+1 {
			t.Errorf("dm %t: after a commit of bob's own the epoch is %d, want %d", dm, now, epoch+1)
		}
	}
}
