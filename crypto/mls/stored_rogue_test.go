package mls

import (
	"testing"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
)

// A waiting resumption PSK of the group is committed only if all who are in the next
// epoch have it: with that of an earlier epoch whoever came later could not follow, and
// with any of them nobody could join by the welcome.
func TestWaitingPSKShutsNobodyOut(t *testing.T) {
	for _, c := range []struct {
		name string
		ago  uint64
		add  bool
		want int // PSKs in the commit
	}{
		{"this epoch's", 0, false, 1},
		{"this epoch's, beside an Add", 0, true, 0},
		{"the last epoch's", 1, false, 0},
		{"the last epoch's, beside an Add", 1, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			id := schedule.PSKID{
				Type: schedule.PSKResumption, Usage: schedule.UsageApplication,
				GroupID: w.members[1].ID(), Epoch: w.members[1].Epoch() - c.ago,
			}
			next, msg, err := w.members[1].ProposePSK(id, nil, worldTime)
			w.members[1] = must(next, err)(t)
			for _, to := range []int{0, 2, 3} {
				w.deliver(to, msg)
			}
			opt := CommitOptions{}
			kp := must(identity(t, "new").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
			if c.add {
				opt.Add = []*message.KeyPackage{kp.Public}
			}
			p := must(w.members[0].Commit(opt, worldTime))(t)
			_, ev, err := w.members[2].Process(p.Commit, worldTime)
			if got := must(ev, err)(t).(*EpochStarted).PSKs; len(got) != c.want {
				t.Errorf("the commit has %d PSKs, want %d", len(got), c.want)
			}
			if c.want == 0 {
				if len(p.LeftOut) != 1 {
					t.Fatalf("%d proposals were left out, want 1", len(p.LeftOut))
				}
				wantRule(t, p.LeftOut[0].Reason, rule.PSKAvailable)
			}
			if c.add {
				must(Join(w.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime))(t)
			}
		})
	}
}

// A removal is not undone by what waits: neither by an Add that the removed member has
// proposed for itself or for another, nor by one of it that somebody else proposed.
func TestRemovalIsNotUndone(t *testing.T) {
	for _, c := range []struct {
		name     string
		by       int
		itself   bool
		wantAdds int
	}{
		{"the removed member adds itself", 2, true, 0},
		{"the removed member adds another", 2, false, 0},
		{"another adds the removed member", 1, true, 0},
		{"another adds another", 1, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			id := identity(t, "new")
			if c.itself {
				id = w.members[2].id
			}
			next, msg, err := w.members[c.by].ProposeAdd(w.keyPackage(id, nil), nil, worldTime)
			w.members[c.by] = must(next, err)(t)
			w.deliver(0, msg)
			w.deliver(3, msg)
			p := must(w.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{2}}, worldTime))(t)
			_, ev, err := w.members[3].Process(p.Commit, worldTime)
			if got := must(ev, err)(t).(*EpochStarted).Added; len(got) != c.wantAdds {
				t.Errorf("the commit adds %d, want %d", len(got), c.wantAdds)
			}
		})
	}
}
