package client

import (
	"errors"
	"slices"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
)

const oneDay = 24 * time.Hour

// packed makes an actor's key package that lives from a time to another, from now.
func (a *actor) packed(from, to time.Duration) *mls.KeyPackage {
	a.t.Helper()
	at := func(d time.Duration) uint64 { return uint64(time.Now().Add(d).Unix()) }
	kp, err := a.identity.NewKeyPackage(time.Now(), mls.KeyPackageOptions{Lifetime: tree.Lifetime{NotBefore: at(from), NotAfter: at(to)}})
	if err != nil {
		a.t.Fatal(err)
	}
	return kp
}

// Whoever gets the commit that adds a newcomer follows it, whatever the lifetime of the
// newcomer's key package is for him: he was away until after its end, or his clock is
// days off. He misses nothing, and can go on by himself.
func TestFollowersDoNotJudgeLifetimes(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ from, to, late time.Duration }{
		"back a day after its end":    {-80 * oneDay, 12 * time.Hour, oneDay},
		"back half a year later":      {-oneDay, 80 * oneDay, 180 * oneDay},
		"three days behind":           {-time.Hour, 80 * oneDay, -3 * oneDay},
		"a month behind":              {-time.Hour, 80 * oneDay, -30 * oneDay},
		"three days ahead":            {-82 * oneDay, oneDay, 3 * oneDay},
		"the inviter took it too old": {-80 * oneDay, -3 * oneDay, 0},
	} {
		bob, alice, dave := newOffline(t, "bob", Settings{}), newActor(t, "alice"), newActor(t, "dave")
		bob.knows(alice, dave)
		alice.founds(groupData("friends", alice))
		bob.invited(alice)
		kp := dave.packed(c.from, c.to)
		one := alice.says(text("one"))
		commit, welcome := alice.adds(kp.Public)
		var err error
		if dave.group, err = mls.Join(dave.config, []*mls.KeyPackage{kp}, welcome[1:], mls.JoinOptions{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		two := alice.says(text("two"))
		dave.hears(two)
		bob.at = bob.at.Add(c.late)
		bob.keepsUp()
		bob.gets(one, commit, two, dave.says(text("three")))
		if got := bob.said("#friends"); !slices.Equal(got, []string{"alice: one", "alice: two", "dave: three"}) {
			t.Errorf("%s: bob reads %q, want all three", what, got)
		}
		for _, kind := range bob.events() {
			if kind == EventLoss || kind == EventInvalid {
				t.Errorf("%s: bob is told of a %s", what, kind)
			}
		}
		bob.inGroup(func(x *turn, row *talk) error {
			opt, err := x.options(row, &wish{Kind: wishRekey}, prepared{})
			if err == nil {
				_, err = x.makeCommit(row, opt, &wish{Kind: wishRekey}, &prepared{})
			}
			if err != nil {
				t.Errorf("%s: bob can't commit in a group with a leaf that is over: %v", what, err)
			}
			return nil
		})
	}
}

// Who adds judges lifetimes, and its clock may be days off: a package that is over for
// less than the leeway is taken. What is beyond keeps nobody else out.
func TestWhoAddsJudgesLifetimes(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		from, to time.Duration
		taken    bool
	}{
		"three days behind":       {3 * oneDay, 80 * oneDay, true},
		"three days ahead":        {-80 * oneDay, -3 * oneDay, true},
		"six days before it":      {6 * oneDay, 80 * oneDay, false},
		"six days after it":       {-70 * oneDay, -6 * oneDay, false},
		"one that lives too long": {0, 200 * oneDay, false},
	} {
		bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
		carol, dave := newActor(t, "carol"), newActor(t, "dave")
		bob.knows(alice, carol, dave)
		data, id := groupData("friends", alice)
		data.SetAdmin(bob.account(), true)
		alice.founds(data, id)
		bob.invited(alice)
		p := prepared{add: []*wire.KeyPackage{carol.packed(-time.Hour, oneDay).Public, dave.packed(c.from, c.to).Public}}
		w := &wish{Kind: wishInvite, Accounts: []AccountKey{carol.account, dave.account}}
		bob.inGroup(func(x *turn, row *talk) error {
			opt, err := x.options(row, w, p)
			if err != nil {
				return err
			}
			made, err := x.makeCommit(row, opt, w, &p)
			if err != nil {
				return err
			}
			in := accountsOf(made.Next)
			if _, there := in[carol.account]; !there {
				t.Errorf("%s: carol was not added", what)
			}
			if _, there := in[dave.account]; there != c.taken {
				t.Errorf("%s: dave was added: %t, want %t", what, there, c.taken)
			}
			if why := p.failed[dave.account]; c.taken != (why == nil) || !c.taken && !errors.Is(why, ErrIncompatible) {
				t.Errorf("%s: of dave is said %v", what, why)
			}
			return nil
		})
	}
}

// A device whose clock is three days off makes key packages that are good everywhere.
func TestKeyPackagesOfAWrongClock(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-3 * oneDay, 0, 3 * oneDay} {
		bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
		bob.knows(alice)
		alice.founds(dmData())
		bob.at = bob.at.Add(off)
		kp, _ := bob.keyPackage(false)
		now := uint64(time.Now().Unix())
		if l := kp.Leaf.Lifetime; l.NotBefore > now || l.NotAfter < now+uint64(70*oneDay/time.Second) {
			t.Errorf("a clock that is %v off makes a package that lives from %d to %d, now is %d", off, l.NotBefore, l.NotAfter, now)
		}
		_, welcome := alice.adds(kp)
		bob.gets(welcome, alice.says(text("hello")))
		bob.reads("alice", "alice: hello")
	}
}

// An invitation that comes after the end of its key package is followed: the private
// keys are kept until what waited at the cluster has come, and a while longer.
func TestInvitationAfterTheEndOfItsKeyPackage(t *testing.T) {
	t.Parallel()
	for _, lastResort := range []bool{false, true} {
		bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
		bob.knows(alice)
		alice.founds(groupData("friends", alice))
		kp, ref := bob.keyPackage(lastResort)
		_, welcome := alice.adds(kp)
		bob.at = bob.at.Add(keyPackageLife + 300*oneDay) // away for long: what waits has not come yet
		if err := bob.turn(func(t *turn) error { return t.keepUp() }); err != nil {
			t.Fatal(err)
		}
		bob.gets(welcome, alice.says(text("at last")))
		bob.reads("#friends", "alice: at last")
		bob.keepsUp()
		if bob.has(ref) {
			t.Errorf("the private keys of a package (last resort: %t) are kept for ever", lastResort)
		}
	}
	bob := newOffline(t, "bob", Settings{})
	_, ref := bob.keyPackage(false)
	bob.at = bob.at.Add(keyPackageLife + mls.LifetimeLeeway + 6*oneDay) // by two clocks that are three days off
	bob.keepsUp()
	if !bob.has(ref) {
		t.Error("the private keys of a package that others may still add are gone")
	}
	bob.at = bob.at.Add(5 * oneDay)
	bob.keepsUp()
	if bob.has(ref) {
		t.Error("the private keys of a package that nobody may add any more are kept")
	}
}

// What waits for an earlier envelope is not given up before what waited at the cluster
// has come, however long the device was away.
func TestHeldWhileAway(t *testing.T) {
	t.Parallel()
	bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
	bob.knows(alice)
	alice.founds(dmData())
	bob.invited(alice)
	commit, _ := alice.commits(mls.CommitOptions{})
	bob.gets(alice.says(text("early")))
	bob.at = bob.at.Add(2 * HoldTime)
	if err := bob.turn(func(t *turn) error { return t.keepUp() }); err != nil {
		t.Fatal(err)
	}
	bob.gets(commit)
	bob.reads("alice", "alice: early")
}

// Upkeep forgets what was kept for late things only once all that waited has come, and
// is done again then; it does not stop because the clock went back.
func TestUpkeepIsDue(t *testing.T) {
	t.Parallel()
	bob := newOffline(t, "bob", Settings{})
	steps := []struct {
		what string
		do   func()
		due  bool
	}{
		{"the first time", func() {}, true},
		{"right after", func() {}, false},
		{"once all has come", func() { bob.net.online = true }, true},
		{"right after that", func() {}, false},
		{"a minute later", func() { bob.at = bob.at.Add(time.Minute) }, true},
		{"when the clock goes back", func() { bob.at = bob.at.Add(-3 * oneDay) }, true},
		{"right after the clock went back", func() { bob.at = bob.at.Add(time.Second) }, false},
	}
	for _, s := range steps {
		s.do()
		if due := bob.upkeepDue(); due != s.due {
			t.Errorf("%s: upkeep is due: %t, want %t", s.what, due, s.due)
		}
	}
}

// What was to be tried again at a time of a clock that was days ahead is tried when the
// clock is right again; a renewal of keys that was spread over days waits.
func TestWaitsOfAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
	bob.knows(alice)
	alice.founds(groupData("friends", alice))
	bob.invited(alice)
	if _, err := bob.find("#friends").Send(t.Context(), text("hello").Body); err != nil {
		t.Fatal(err)
	}
	wrong := bob.at.Add(3 * oneDay)
	var out *vault.Outgoing
	bob.inGroup(func(x *turn, row *talk) (err error) {
		for _, kind := range []string{wishDevices, wishRekey} {
			if _, err := x.intendAt(row, wish{Kind: kind}, wrong); err != nil {
				return err
			}
		}
		if out, err = x.FirstOutgoing(row.ID); err != nil {
			return err
		}
		out.Next = wrong
		return x.SetOutgoing(out)
	})
	ring := bob.changes()
	bob.keepsUp()
	select {
	case <-ring:
	default:
		t.Error("nobody is told that something waits no more")
	}
	bob.inGroup(func(x *turn, row *talk) error {
		out, err := x.FirstOutgoing(row.ID)
		if err != nil {
			return err
		}
		if out.Next.After(x.now) {
			t.Errorf("a message waits until %v, now is %v", out.Next, x.now)
		}
		intents, err := x.IntentsOf(row.ID)
		for _, i := range intents {
			if waits := i.Next.After(x.now); waits != (i.Kind == wishRekey) {
				t.Errorf("%s waits until %v (%t), now is %v", i.Kind, i.Next, waits, x.now)
			}
		}
		return err
	})
}

// The cluster gets new key packages, and a new last-resort one, long before the end of
// those that it has. Those that it does not have do not count.
func TestStockIsRenewedLongBeforeItsEnd(t *testing.T) {
	t.Parallel()
	now := time.Now()
	pack := func(n int, age time.Duration, lastResort, uploaded bool) (list []*vault.KeyPackage) {
		for range n {
			made := now.Add(-age)
			list = append(list, &vault.KeyPackage{Made: made, Expires: made.Add(keyPackageLife), LastResort: lastResort, Uploaded: uploaded})
		}
		return list
	}
	last := pack(1, 0, true, true)
	for what, c := range map[string]struct {
		have     conn.KeyPackages
		settings Settings
		list     [][]*vault.KeyPackage
		want     stock
	}{
		"nothing yet":                      {conn.KeyPackages{}, Settings{}, nil, stock{50, true}},
		"all there":                        {conn.KeyPackages{Remaining: 50, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 0, false, true), last}, stock{0, false}},
		"half is used":                     {conn.KeyPackages{Remaining: 25, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 0, false, true), last}, stock{0, false}},
		"more than half is used":           {conn.KeyPackages{Remaining: 24, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 0, false, true), last}, stock{26, false}},
		"half their life is ahead":         {conn.KeyPackages{Remaining: 50, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 40*oneDay, false, true), last}, stock{0, false}},
		"less than that":                   {conn.KeyPackages{Remaining: 50, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 41*oneDay, false, true), last}, stock{50, false}},
		"old ones beside new ones":         {conn.KeyPackages{Remaining: 80, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 41*oneDay, false, true), pack(30, 0, false, true), last}, stock{0, false}},
		"few new ones beside old ones":     {conn.KeyPackages{Remaining: 70, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 41*oneDay, false, true), pack(20, 0, false, true), last}, stock{30, false}},
		"old ones were taken":              {conn.KeyPackages{Remaining: 40, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 41*oneDay, false, true), pack(30, 0, false, true), last}, stock{0, false}},
		"new ones did not arrive":          {conn.KeyPackages{Remaining: 50, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 41*oneDay, false, true), pack(50, 0, false, false), last}, stock{50, false}},
		"of a clock that was far ahead":    {conn.KeyPackages{Remaining: 50, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 41*oneDay, false, true), pack(50, -90*oneDay, false, true), pack(1, -90*oneDay, true, true)}, stock{50, true}},
		"the last resort is a week old":    {conn.KeyPackages{Remaining: 50, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 0, false, true), pack(1, 8*oneDay, true, true)}, stock{0, true}},
		"the last resort is old to all":    {conn.KeyPackages{Remaining: 50, HasLastResort: true}, Settings{LastResortAge: 100 * oneDay}, [][]*vault.KeyPackage{pack(50, 0, false, true), pack(1, 41*oneDay, true, true)}, stock{0, true}},
		"the last resort did not arrive":   {conn.KeyPackages{Remaining: 50, HasLastResort: true}, Settings{}, [][]*vault.KeyPackage{pack(50, 0, false, true), pack(1, 8*oneDay, true, true), pack(1, 0, true, false)}, stock{0, true}},
		"the cluster lost the last resort": {conn.KeyPackages{Remaining: 50}, Settings{}, [][]*vault.KeyPackage{pack(50, 0, false, true), last}, stock{0, true}},
	} {
		if got := c.settings.withDefaults().lacks(c.have, slices.Concat(c.list...), now); got != c.want {
			t.Errorf("%s: the cluster lacks %+v, want %+v", what, got, c.want)
		}
	}
}
