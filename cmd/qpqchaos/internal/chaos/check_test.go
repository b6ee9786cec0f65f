package chaos

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/client"
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
	one, two := client.ChannelID{1}, client.ChannelID{2}
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
