package client_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/testcluster"
)

// One node's wrong clock costs nobody a login, a session or a message, whether it is the
// leader's, two minutes ahead, or sixty days for a few seconds, and whether clients use
// that node or another. A node whose clock is wrong says so and does not go on leading.
func TestOneWrongClock(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	to := alice.dm(bob)
	alice.say(to, "one")
	bob.reads(bob.find("alice"), "alice: one")

	for _, step := range []struct {
		off  time.Duration
		name string
	}{
		{2 * time.Minute, "nina"},
		{60 * 24 * time.Hour, "nils"},
		{-60 * 24 * time.Hour, "nora"},
	} {
		wrong, through := c.LeaderT(t), c.FollowersT(t)
		wrong.SetClock(step.off)
		// Its minute comes at any time, so also now: what it certifies itself is good for all.
		if err := wrong.Engine().RenewCertificate(within(t, 10*time.Second)); err != nil {
			t.Fatalf("renew a certificate while the clock is %v ahead: %v", step.off, err)
		}
		for i, via := range []*testcluster.Node{through[0], wrong} {
			register(t, c, via, fmt.Sprintf("%s%d", step.name, i))
		}
		steppedDown := func() error {
			status := wrong.Engine().Status()
			switch {
			case !status.ClockWrong || (status.ClockOff-step.off).Abs() > time.Second:
				return fmt.Errorf("%s says %v off, wrong %t", wrong.ID(), status.ClockOff, status.ClockWrong)
			case status.State == "leader":
				return fmt.Errorf("%s still leads", wrong.ID())
			}
			return nil
		}
		if err := testcluster.Await(within(t, 30*time.Second), "a leader whose clock is right", steppedDown); err != nil {
			t.Errorf("a clock that is %v ahead: %v", step.off, err)
		}
		alice.say(to, "with a clock that is "+step.off.String()+" ahead")
		if err := alice.Flush(within(t, time.Minute)); err != nil {
			t.Errorf("alice sends while a clock is %v ahead: %v", step.off, err)
		}
		wrong.SetClock(0)
		// One clock is wrong at a time: the next one only when all know that this one is right.
		for _, n := range c.Nodes() {
			n.Engine().AskAll(within(t, 20*time.Second))
		}
	}
	if err := bob.Sync(within(t, 20*time.Second)); err != nil {
		t.Errorf("bob's session afterwards: %v", err)
	}
	if err := bob.Login(within(t, 20*time.Second), "bob", []byte("password of bob")); err != nil {
		t.Errorf("bob logs in afterwards: %v", err)
	}
	if err := bob.Close(); err != nil {
		t.Fatal(err)
	}
	bob.open(client.Open)
	bob.reads(bob.find("alice"), "alice: one", "alice: with a clock that is 2m0s ahead",
		"alice: with a clock that is 1440h0m0s ahead", "alice: with a clock that is -1440h0m0s ahead")
}

// register registers somebody through one node and logs in.
func register(t *testing.T, c *testcluster.Cluster, via *testcluster.Node, name string) {
	t.Helper()
	p := &person{t: t, name: name, cluster: c, nodes: []*testcluster.Node{via}}
	p.profile = client.Profile{Dir: filepath.Join(t.TempDir(), name)}
	p.open(client.Create)
	defer func() { _ = p.Close() }()
	if err := p.Register(within(t, time.Minute), name, []byte("password")); err != nil {
		t.Errorf("%s registers and logs in through %s: %v", name, via.ID(), err)
	}
}
