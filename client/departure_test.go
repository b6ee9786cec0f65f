package client

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
)

// Devices that their account says are no longer its own leave with the next commit,
// whoever makes it: the rules demand it, and the history says why. Without the account's
// word, or with that of another, it is against the rules when no admin does it.
func TestDepartureIsNotAgainstTheRules(t *testing.T) {
	at := uint64(time.Now().UnixMilli())
	ended := func(t *testing.T, carol *actor) groupstate.Departure {
		d := groupstate.Departure{Member: groupstate.Member{Account: carol.account}, SignedAt: at}
		copy(d.Signature[:], signedBy(t, identity.DeleteAccount(carol.account, at), carol.key))
		return d
	}
	for name, c := range map[string]struct {
		says   func(t *testing.T, carol, mallory *actor) []groupstate.Departure
		broken bool
	}{
		"the account has ended": {says: func(t *testing.T, carol, _ *actor) []groupstate.Departure {
			return []groupstate.Departure{ended(t, carol)}
		}},
		"its only device is revoked": {says: func(t *testing.T, carol, _ *actor) []groupstate.Departure {
			d := groupstate.Departure{Member: groupstate.Member{Account: carol.account, Device: carol.device}, SignedAt: at}
			copy(d.Signature[:], signedBy(t, identity.RevokeDevice(carol.account, carol.device, at), carol.key))
			return []groupstate.Departure{d}
		}},
		"nothing is said": {broken: true, says: func(*testing.T, *actor, *actor) []groupstate.Departure { return nil }},
		"another device is revoked": {broken: true, says: func(t *testing.T, carol, _ *actor) []groupstate.Departure {
			other := DeviceID(newID())
			d := groupstate.Departure{Member: groupstate.Member{Account: carol.account, Device: other}, SignedAt: at}
			copy(d.Signature[:], signedBy(t, identity.RevokeDevice(carol.account, other, at), carol.key))
			return []groupstate.Departure{d}
		}},
		"somebody else says it": {broken: true, says: func(t *testing.T, carol, mallory *actor) []groupstate.Departure {
			d := ended(t, carol)
			copy(d.Signature[:], signedBy(t, identity.DeleteAccount(carol.account, at), mallory.key))
			return []groupstate.Departure{d}
		}},
		"another's account has ended": {broken: true, says: func(t *testing.T, _, mallory *actor) []groupstate.Departure {
			return []groupstate.Departure{ended(t, mallory)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			alice, carol, mallory := newActor(t, "alice"), newActor(t, "carol"), newActor(t, "mallory")
			bob := newOffline(t, "bob", Settings{Invitations: FromEverybody})
			bob.knows(alice, carol, mallory)
			alice.founds(groupData("friends", alice))
			bob.invited(alice)
			bob.gets(carol.joins(alice))
			commit := mallory.joins(alice)
			carol.hears(commit)
			bob.gets(commit)
			commit, _ = mallory.commits(mls.CommitOptions{
				Remove: []tree.LeafIndex{mallory.leaf(carol.account)}, AAD: groupstate.AppendDepartures(c.says(t, carol, mallory)),
			})
			bob.gets(commit)
			last := bob.last("friends").Text
			if !strings.HasPrefix(last, "mallory removed carol") {
				t.Fatalf("bob's history ends with %q, want that carol was removed", last)
			}
			if broken := strings.Contains(last, "against the rules"); broken != c.broken {
				t.Errorf("bob's history says %q, want that it is against the rules: %t", last, c.broken)
			}
			if why := strings.Contains(last, "whose account has ended"); why == c.broken {
				t.Errorf("bob's history says %q, want why: %t", last, !c.broken)
			}
		})
	}
}

// Whoever commits because of an account's word says it with the commit, and in his own
// history.
func TestDepartureIsSaidWithTheCommit(t *testing.T) {
	alice, carol := newActor(t, "alice"), newActor(t, "carol")
	bob := newOffline(t, "bob", Settings{Invitations: FromEverybody})
	bob.knows(alice, carol)
	alice.founds(groupData("friends", alice))
	bob.invited(alice)
	bob.gets(carol.joins(alice))
	at := uint64(time.Now().UnixMilli())
	word := departed(groupstate.Member{Account: carol.account, Device: carol.device}, nil, &conn.Deletion{
		Signed: time.UnixMilli(int64(at)), Signature: signedBy(t, identity.DeleteAccount(carol.account, at), carol.key),
	})
	bob.tries(bob.wishes("friends", wish{Kind: wishRekey}), prepared{
		gone: []groupstate.Member{{Account: carol.account, Device: carol.device}}, word: []groupstate.Departure{*word},
	})
	p, of := bob.pending("friends"), bob.find("friends").id
	if p == nil {
		t.Fatal("bob, who is no admin, makes no commit")
	}
	var commit conn.Commit
	if err := json.Unmarshal(p.Call, &commit); err != nil {
		t.Fatal(err)
	}
	_, ev, err := alice.group.Process(commit.Deliveries[0].Payload[1:], time.Now())
	if err != nil {
		t.Fatal(err)
	}
	said := groupstate.Departures(ev.(*mls.EpochStarted).AuthenticatedData, func(m groupstate.Member) bool { return m.Account == carol.account })
	if len(said) != 1 {
		t.Errorf("with the commit stand %v, want carol's word", said)
	}
	if err := bob.turn(func(t *turn) error { return t.adopt(of, p) }); err != nil {
		t.Fatal(err)
	}
	if last := bob.last("friends").Text; !strings.Contains(last, "removed carol, whose account has ended") || strings.Contains(last, "rules") {
		t.Errorf("bob's own history says %q, want why carol was removed", last)
	}
}
