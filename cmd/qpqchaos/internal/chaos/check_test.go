package chaos

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/client/conn"
)

func TestDifference(t *testing.T) {
	for _, c := range []struct {
		name                   string
		acked, received        []string
		lost, doubled, phantom []string
	}{
		{name: "all is well", acked: []string{"a", "b"}, received: []string{"a", "b"}},
		{name: "lost", acked: []string{"a", "b"}, received: []string{"b"}, lost: []string{"a"}},
		{name: "doubled", acked: []string{"a"}, received: []string{"a", "a", "a"}, doubled: []string{"a"}},
		{name: "phantom", acked: []string{"a"}, received: []string{"a", "x"}, phantom: []string{"x"}},
		{name: "another order is no difference", acked: []string{"a", "b"}, received: []string{"b", "a"}},
	} {
		lost, doubled, phantom := difference(c.acked, c.received)
		if !slices.Equal(lost, c.lost) || !slices.Equal(doubled, c.doubled) || !slices.Equal(phantom, c.phantom) {
			t.Errorf("%s: lost %q, doubled %q, phantom %q", c.name, lost, doubled, phantom)
		}
	}
}

// The model of channels takes what a cluster may say and refuses what it may not.
func TestChannelModel(t *testing.T) {
	one, two := conn.ChannelID{1}, conn.ChannelID{2}
	const never = int64(time.Hour)
	call := func(from, to int64, out channelOutput) porcupine.Operation {
		return porcupine.Operation{Input: 0, Output: out, Call: from, Return: to}
	}
	for _, c := range []struct {
		name string
		ops  []porcupine.Operation
		want bool
	}{
		{"one makes it, the other finds it", []porcupine.Operation{call(0, 5, channelOutput{true, one, true}), call(1, 4, channelOutput{true, one, false})}, true},
		{"a call that nobody heard of made it", []porcupine.Operation{call(0, never, channelOutput{}), call(2, 3, channelOutput{true, one, false})}, true},
		{"a call that nobody heard of did nothing", []porcupine.Operation{call(0, never, channelOutput{}), call(2, 3, channelOutput{true, one, true})}, true},
		{"two made it", []porcupine.Operation{call(0, 1, channelOutput{true, one, true}), call(2, 3, channelOutput{true, one, true})}, false},
		{"nobody made it", []porcupine.Operation{call(0, 1, channelOutput{true, one, false})}, false},
		{"two ids", []porcupine.Operation{call(0, 1, channelOutput{true, one, true}), call(2, 3, channelOutput{true, two, false})}, false},
		{"found before it was made", []porcupine.Operation{call(0, 1, channelOutput{true, one, false}), call(2, 3, channelOutput{true, one, true})}, false},
	} {
		if got := porcupine.CheckOperations(channelModel(), c.ops); got != c.want {
			t.Errorf("%s: the model says %t, want %t", c.name, got, c.want)
		}
	}
}

// A seed draws the same faults each time, and every kind before one comes again.
func TestPlan(t *testing.T) {
	for _, level := range []Level{LevelSim, LevelProc} {
		o := Options{Level: level, Nodes: 3, For: 10 * time.Minute, Seed: 42, Disks: true}
		first, err := plan(&o)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := plan(&o); !reflect.DeepEqual(first, again) {
			t.Errorf("%s: a seed draws two plans", level)
		}
		all := kinds(&o)
		if len(first) < len(all) {
			t.Fatalf("%s: %d faults in 10 minutes, want each of %d kinds", level, len(first), len(all))
		}
		seen := map[Kind]bool{}
		end := time.Duration(0)
		for i, f := range first {
			if f.At < end {
				t.Errorf("%s: fault %d begins before the one before is undone", level, i)
			}
			if end = f.At + f.For; end > o.For {
				t.Errorf("%s: fault %d ends after the run", level, i)
			}
			if i < len(all) {
				seen[f.Kind] = true
			}
		}
		if len(seen) != len(all) {
			t.Errorf("%s: the first %d faults are of %d kinds", level, len(all), len(seen))
		}
	}
	if _, err := plan(&Options{Level: LevelProc, Nodes: 3, For: time.Minute, Nemesis: []Kind{Churn}}); err == nil {
		t.Error("a fault that the level can't do was planned")
	}
}

// The model of a setting lets a read give what was written last.
func TestRegisterModel(t *testing.T) {
	const never = int64(time.Hour)
	write := func(value uint64, from, to int64) porcupine.Operation {
		return porcupine.Operation{Input: registerInput{true, value}, Output: registerOutput{known: to != never}, Call: from, Return: to}
	}
	read := func(value uint64, from, to int64) porcupine.Operation {
		return porcupine.Operation{Input: registerInput{}, Output: registerOutput{true, value}, Call: from, Return: to}
	}
	for _, c := range []struct {
		name string
		ops  []porcupine.Operation
		want bool
	}{
		{"the default at first", []porcupine.Operation{read(registerDefault, 0, 1), write(1, 2, 3), read(1, 4, 5)}, true},
		{"while it is written either", []porcupine.Operation{write(1, 0, 9), read(registerDefault, 1, 2), read(1, 3, 4)}, true},
		{"a write that nobody heard of", []porcupine.Operation{write(1, 0, never), read(registerDefault, 1, 2), read(1, 3, 4)}, true},
		{"an old value", []porcupine.Operation{write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)}, false},
		{"back in time", []porcupine.Operation{write(1, 0, 9), read(1, 1, 2), read(registerDefault, 3, 4)}, false},
		{"never written", []porcupine.Operation{write(1, 0, 1), read(7, 2, 3)}, false},
	} {
		if got := porcupine.CheckOperations(registerModel(), c.ops); got != c.want {
			t.Errorf("%s: the model says %t, want %t", c.name, got, c.want)
		}
	}
}

// A gap belongs to the fault during or after which it is, up to the next one.
func TestGapsAfter(t *testing.T) {
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	list := []harmed{
		{Fault{Kind: Kill}, second(10), second(13)},
		{Fault{Kind: KillAll}, second(20), second(23)},
		{Fault{Kind: Kill}, second(30), second(33)},
	}
	gaps := []gap{{second(1), second(5)}, {second(11), second(13)}, {second(19), second(27)}, {second(34), second(35)}}
	if got, want := gapsAfter(list, gaps, oneNode, false), (Gaps{Faults: 2, P50Ms: 1000, P99Ms: 2000, MaxMs: 2000}); got != want {
		t.Errorf("after faults of one node: %+v, want %+v", got, want)
	}
	if got, want := gapsAfter(list, gaps, allNodes, true), (Gaps{Faults: 1, P50Ms: 4000, P99Ms: 4000, MaxMs: 4000}); got != want {
		t.Errorf("after all nodes are started again: %+v, want %+v", got, want)
	}
}

// What the cluster need not remember any more is not sent again: a repetition would rightly
// be a new message.
func TestOldRequestsAreNotRepeated(t *testing.T) {
	now := time.Now()
	p := &pair{recent: []sent{{body: "old", at: now.Add(-repeatable)}, {body: "fresh", at: now.Add(-repeatable + time.Minute)}, {body: "new", at: now}}}
	p.forget()
	if len(p.recent) != 2 || p.recent[0].body != "fresh" {
		t.Errorf("%v may be repeated, want fresh and new", p.recent)
	}
	p.recent = p.recent[:0]
	p.forget() // nothing is there
}
