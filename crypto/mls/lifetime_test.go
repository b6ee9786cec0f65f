package mls

import (
	"testing"
	"time"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
)

// Who processes a commit, or a proposal, or joins, never judges the lifetime of a key
// package: neither after its end nor with a clock that is far behind.
func TestLifetimeIsTheCommittersAlone(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, away := range []time.Duration{-year, year} {
		w := newWorld(t, worldOptions{})
		kp := must(identity(t, "new").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
		other := must(identity(t, "other").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
		_, proposal, err := w.members[2].ProposeAdd(other.Public, nil, worldTime)
		must(proposal, err)(t)
		for _, to := range []int{0, 1, 3} {
			next, _, err := w.members[to].Process(proposal, worldTime.Add(away))
			if err != nil {
				t.Fatalf("%v away: take a proposal: %v", away, err)
			}
			w.members[to] = next
		}
		p := must(w.members[0].Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(t)
		for _, to := range []int{1, 3} {
			if _, _, err := w.members[to].Process(p.Commit, worldTime.Add(away)); err != nil {
				t.Errorf("%v away: follow: %v", away, err)
			}
		}
		for _, own := range []*KeyPackage{kp, other} {
			if _, err := Join(w.cfg, []*KeyPackage{own}, p.Welcome, JoinOptions{}, worldTime.Add(away)); err != nil {
				t.Errorf("%v away: join: %v", away, err)
			}
		}
		// Only who adds looks at the clock.
		_, err = w.members[1].Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}, NoStored: true}, worldTime.Add(away))
		wantRule(t, err, rule.LeafLifetime)
		_, _, err = w.members[1].ProposeAdd(kp.Public, nil, worldTime.Add(away))
		wantRule(t, err, rule.LeafLifetime)
		wantRule(t, w.members[1].CheckAdd(kp.Public, worldTime.Add(away)), rule.LeafLifetime)
	}
}

// The committer allows LifetimeLeeway at both ends, to the second, and none in the
// longest lifetime.
func TestLifetimeBorders(t *testing.T) {
	w := newWorld(t, worldOptions{})
	l := tree.Lifetime{NotBefore: uint64(worldTime.Unix()), NotAfter: uint64(worldTime.Add(time.Hour).Unix())}
	kp := w.keyPackage(identity(t, "new"), func(kp *message.KeyPackage) { kp.Leaf.Lifetime = l })
	for at, ok := range map[time.Duration]bool{
		-LifetimeLeeway: true, -LifetimeLeeway - time.Second: false,
		time.Hour + LifetimeLeeway: true, time.Hour + LifetimeLeeway + time.Second: false,
	} {
		err := w.members[0].CheckAdd(kp, worldTime.Add(at))
		if ok != (err == nil) {
			t.Errorf("%v after the start of an hour: got %v", at, err)
		}
		if _, commitErr := w.members[0].Commit(CommitOptions{Add: []*message.KeyPackage{kp}}, worldTime.Add(at)); (commitErr == nil) != ok {
			t.Errorf("%v after the start of an hour: commit: got %v", at, commitErr)
		}
	}
	cfg := Config{MaxLifetime: time.Hour}
	if err := cfg.checkLifetime(l, worldTime); err != nil {
		t.Errorf("the longest lifetime: %v", err)
	}
	l.NotAfter++
	wantRule(t, cfg.checkLifetime(l, worldTime), rule.LeafLifetimeTotal)
	wantRule(t, cfg.checkLifetime(tree.Lifetime{NotBefore: 2, NotAfter: 1}, worldTime), rule.LeafLifetimeTotal)
	if err := (&Config{IgnoreLifetime: true}).checkLifetime(tree.Lifetime{NotBefore: 2, NotAfter: 1}, worldTime); err != nil {
		t.Errorf("ignored: %v", err)
	}
}
