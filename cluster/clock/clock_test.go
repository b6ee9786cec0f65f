package clock

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/crypto/tlsid"
)

const bound = 30 * time.Second

// three is n1's clock in a cluster of n1, n2, n3, of which those in others have said how
// far they are from the true time.
func three(own time.Duration, others map[tlsid.NodeID]time.Duration) *Clock {
	c := New("n1", func() time.Time { return time.Now().Add(own) }, bound)
	c.Judge([]tlsid.NodeID{"n1", "n2", "n3"}, bound)
	for id, off := range others {
		c.Hear(id, c.Ask(), uint64(time.Now().Add(off).UnixMilli()))
	}
	return c
}

// A clock is believed while it agrees with the majority's; the majority's is taken else.
func TestTheMajorityHasTheTime(t *testing.T) {
	const far = 60 * 24 * time.Hour
	for _, tc := range []struct {
		name  string
		own   time.Duration
		other map[tlsid.NodeID]time.Duration
		want  time.Duration // from the true time
		known bool
		wrong bool
	}{
		{"all agree", 0, map[tlsid.NodeID]time.Duration{"n2": time.Second, "n3": -time.Second}, 0, true, false},
		{"a little ahead is one's own time", bound, map[tlsid.NodeID]time.Duration{"n2": 0, "n3": 0}, bound, true, false},
		{"more than the bound ahead", bound + time.Second, map[tlsid.NodeID]time.Duration{"n2": 0, "n3": 0}, 0, true, true},
		{"more than the bound behind", -bound - time.Second, map[tlsid.NodeID]time.Duration{"n2": 0, "n3": 0}, 0, true, true},
		{"sixty days ahead", far, map[tlsid.NodeID]time.Duration{"n2": 0, "n3": 0}, 0, true, true},
		{"another is wrong", 0, map[tlsid.NodeID]time.Duration{"n2": far, "n3": 0}, 0, true, false},
		{"two of three are heard: the earlier clock", far, map[tlsid.NodeID]time.Duration{"n2": 0}, 0, true, true},
		{"two of three are heard, and the other runs ahead", 0, map[tlsid.NodeID]time.Duration{"n2": far}, 0, true, false},
		{"nobody is heard", far, nil, far, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := three(tc.own, tc.other).Read()
				if got := time.Until(r.Time).Round(time.Millisecond); got != tc.want || r.Known != tc.known || r.Wrong != tc.wrong {
					t.Errorf("the time is %v off (known %t, wrong %t), want %v (%t, %t)", got, r.Known, r.Wrong, tc.want, tc.known, tc.wrong)
				}
			})
		})
	}
}

// A clock that is set while nobody asks is noticed with the next reading, and so is one
// that is put right again.
func TestSettingTheClockIsNoticedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := time.Duration(0)
		c := New("n1", func() time.Time { return time.Now().Add(set) }, bound)
		c.Judge([]tlsid.NodeID{"n1", "n2", "n3"}, bound)
		for _, id := range []tlsid.NodeID{"n2", "n3"} {
			c.Hear(id, c.Ask(), uint64(time.Now().UnixMilli()))
		}
		time.Sleep(time.Hour)
		set = 2 * time.Minute
		if r := c.Read(); !r.Wrong || r.Off.Round(time.Millisecond) != set || time.Until(r.Time).Abs() > time.Millisecond {
			t.Errorf("after a step of %v: %+v, want the majority's time", set, r)
		}
		set = 0
		if r := c.Read(); r.Wrong || r.Off.Abs() > time.Millisecond {
			t.Errorf("with the clock right again: %+v", r)
		}
	})
}

// What took longer on its way than the bound says nothing; half of what it took is the
// best guess of when it was said.
func TestAnswersTakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three(0, nil)
		asked := c.Ask()
		time.Sleep(bound + time.Second)
		c.Hear("n2", asked, uint64(time.Now().UnixMilli()))
		if c.Read().Known {
			t.Error("an answer that was under way for longer than the bound counts")
		}
		asked = c.Ask()
		time.Sleep(5 * time.Second)
		said := uint64(time.Now().UnixMilli())
		time.Sleep(5 * time.Second)
		c.Hear("n2", asked, said)
		if r := c.Read(); !r.Known || r.Off.Abs() > time.Millisecond {
			t.Errorf("an answer from the middle of ten seconds: %+v, want no difference", r)
		}
	})
}

// Voters of a build that does not tell its clock are not waited for.
func TestOldBuildsSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three(0, nil)
		for _, id := range []tlsid.NodeID{"n2", "n3"} {
			c.Hear(id, c.Ask(), 0)
		}
		if !c.Read().Known {
			t.Error("a node between two of an old build has no time")
		}
		c.Hear("n2", c.Ask(), uint64(time.Now().Add(-time.Hour).UnixMilli()))
		if r := c.Read(); !r.Wrong {
			t.Errorf("with one that tells now: %+v, want the earlier of the two clocks", r)
		}
	})
}

// Whoever may lead instead has a clock that agrees; numbers out of range count as none.
func TestAgrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three(time.Hour, map[tlsid.NodeID]time.Duration{"n2": 0, "n3": time.Second})
		c.Judge([]tlsid.NodeID{"n1", "n2", "n3", "n4", "n5", "n6"}, bound)
		c.Hear("n4", c.Ask(), uint64(time.Now().Add(-time.Hour).UnixMilli()))
		c.Hear("n5", c.Ask(), 1<<63)
		c.Hear("n6", c.Ask(), uint64(time.Now().UnixMilli())+1<<63) // neither before nor after ours, in 64 bits
		got := ""
		for _, id := range []tlsid.NodeID{"n2", "n3", "n4", "n5", "n6"} {
			got += fmt.Sprintf("%s %t ", id, c.Agrees(id))
		}
		if want := "n2 true n3 true n4 false n5 false n6 false "; got != want {
			t.Errorf("agree: %s, want %s", got, want)
		}
	})
}
