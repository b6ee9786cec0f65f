package mls

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
)

// propose frames a proposal of a member.
func (w *world) propose(by int, p *message.Proposal) []byte {
	return w.forge(by, proposalContent(p), nil)
}

// proposalPool is many proposals that pass on receipt, good and bad, some of which
// exclude each other.
func proposalPool(w *world) (pool [][]byte) {
	w.t.Helper()
	for _, b := range append(append(badUpdates(), badAdds()...), badOthers()...) {
		for i, p := range b.proposal(w) {
			if i >= len(b.refused) {
				pool = append(pool, w.propose(liar, p))
			}
		}
	}
	selfRemove := &message.Proposal{Type: tree.ProposalSelfRemove}
	shared := w.keyPackage(identity(w.t, "shared"), nil)
	for _, by := range []int{1, liar, 3} {
		pool = append(pool,
			w.propose(by, w.updateProposal(by, nil)), w.propose(by, selfRemove), w.propose(by, remove(3)),
			w.propose(by, &message.Proposal{Type: tree.ProposalAdd, Add: shared}),
			w.propose(by, contextExtensions(nil)), w.propose(by, psk("known", 32)),
			w.propose(by, reinit(1, worldSuite)),
		)
	}
	return pool
}

// Whatever waits, in whatever order, and whatever the committer wants beside it: the
// commit is made, the others take it, whoever is added can join, and all that was not
// committed is named. A committer that chooses from the same state chooses the same.
func TestAnyStoredProposalsCanBeCommitted(t *testing.T) {
	w := storedWorld(t)
	pool := proposalPool(w)
	start := slices.Clone(w.members)
	spare := must(identity(t, "spare").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	rapid.Check(t, func(t *rapid.T) {
		picked := rapid.SliceOfNDistinct(rapid.IntRange(0, len(pool)-1), 1, 12, rapid.ID[int]).Draw(t, "proposals")
		members := slices.Clone(start)
		for m := range members {
			for _, i := range picked {
				next, _, err := members[m].Process(pool[i], worldTime)
				check(t, err)
				members[m] = next
			}
		}
		opt := CommitOptions{}
		if rapid.Bool().Draw(t, "remove") {
			opt.Remove = []tree.LeafIndex{3}
		}
		if rapid.Bool().Draw(t, "add") {
			opt.Add = []*message.KeyPackage{spare.Public}
		}
		if rapid.Bool().Draw(t, "extensions") {
			opt.Extensions = &tree.Extensions{{Type: extKnown, Data: []byte("ours")}}
		}
		waiting := len(members[0].pub.proposals)
		p, err := members[0].Commit(opt, worldTime)
		check(t, err)
		committed := must(message.Parse(p.Commit))(w.t).Public.Content.Commit.Proposals
		refs := 0
		for _, c := range committed {
			if c.Proposal == nil {
				refs++
			}
		}
		if refs+len(p.LeftOut) != waiting {
			t.Fatalf("%d committed and %d named as left out, of %d", refs, len(p.LeftOut), waiting)
		}
		again, err := members[0].Commit(opt, worldTime)
		check(t, err)
		if a, b := reasons(p), reasons(again); !slices.Equal(a, b) {
			t.Fatalf("chose %v, then %v", a, b)
		}
		for m := 1; m < len(members); m++ {
			_, seen, err := members[m].pub.Process(w.cfg, p.Commit, worldTime)
			check(t, err)
			if slices.ContainsFunc(seen.(*EpochStarted).Updated, func(u Member) bool { return u.Index == members[m].Self() }) {
				continue // the test has made its Update, and has no key to it
			}
			next, ev, err := members[m].Process(p.Commit, worldTime)
			check(t, err)
			if out := ev.(*EpochStarted).RemovedUs; out == (next.Status() != Removed) {
				t.Fatalf("member %d: removed %v, status %d", m, out, next.Status())
			}
		}
		if opt.Add != nil {
			_, err := Join(w.cfg, []*KeyPackage{spare}, p.Welcome, JoinOptions{}, worldTime)
			check(t, err)
		}
	})
}

func reasons(p *Pending) (out []string) {
	for _, l := range p.LeftOut {
		out = append(out, fmt.Sprintf("%x: %v", l.Ref, l.Reason))
	}
	return out
}
