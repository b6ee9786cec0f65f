package client_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/testcluster"
)

var (
	faultsFor  = flag.Duration("faults.for", 20*time.Second, "how long TestTalkThroughFaults runs")
	faultsSeed = flag.Uint64("faults.seed", 0, "seed of TestTalkThroughFaults; 0: a new one")
)

// Chaos in miniature: three people talk in a group and in pairs, rename, renew keys
// and restart their clients at random, while nodes are killed, cut off and slowed.
// Afterwards everybody has read everything once, each sender's words in order, and
// all are in one epoch.
//
// go test ./client -run TalkThroughFaults -faults.for 5m -timeout 10m
func TestTalkThroughFaults(t *testing.T) {
	besideOthers(t)
	seed := cmp.Or(*faultsSeed, uint64(time.Now().UnixNano()))
	t.Logf("seed %d", seed)
	c := testcluster.StartT(t, testcluster.Options{Network: testcluster.Loopback(testcluster.NewFaults(seed))})
	w := &turmoil{t: t, c: c, said: map[string][]string{}}
	for _, name := range []string{"alice", "bob", "carol"} {
		w.people = append(w.people, meet(t, c, name, client.Settings{}))
	}
	w.meetAll()
	ctx, cancel := context.WithTimeout(t.Context(), *faultsFor)
	var wg sync.WaitGroup
	for i, p := range w.people {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() { w.talk(ctx, p, rng) })
	}
	wg.Go(func() { w.harm(ctx, rand.New(rand.NewPCG(seed, 99))) })
	wg.Wait()
	cancel()
	w.heal()
	w.check()
	t.Logf("%d lines, %d faults, %d restarts of clients", w.lines, w.faults, w.restarts)
}

type turmoil struct {
	t      *testing.T
	c      *testcluster.Cluster
	people []*person

	mu       sync.Mutex
	said     map[string][]string // by conversation and sender
	lines    int
	faults   int
	restarts int
}

// meetAll makes the group and the three pairs.
func (w *turmoil) meetAll() {
	ctx := within(w.t, 2*time.Minute)
	group, err := w.people[0].CreateGroup(ctx, "all", "bob", "carol")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range []string{"bob", "carol"} {
		if err := group.Promote(ctx, name); err != nil {
			w.t.Fatal(err)
		}
	}
	for i, p := range w.people {
		for _, other := range w.people[i+1:] {
			p.dm(other)
		}
		p.find("all")
	}
	for _, p := range w.people {
		for _, other := range w.people {
			if p != other {
				p.find(other.name)
			}
		}
	}
}

// talk does one thing after another. What it says counts when Send has returned.
func (w *turmoil) talk(ctx context.Context, p *person, rng *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		list, err := p.Conversations()
		if err != nil {
			w.t.Errorf("%s: %v", p.name, err)
			return
		}
		v := list[rng.IntN(len(list))]
		if err := w.act(ctx, p, v, rng.IntN(40), n); err != nil && ctx.Err() == nil {
			w.t.Errorf("%s: %v", p.name, err)
			return
		}
		time.Sleep(time.Duration(rng.IntN(120)) * time.Millisecond)
	}
}

func (w *turmoil) act(ctx context.Context, p *person, v *client.Conversation, what, n int) error {
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	switch {
	case what == 0:
		w.mu.Lock()
		w.restarts++
		w.mu.Unlock()
		p.restart()
		return nil
	case what < 3:
		return patient(v.Rekey(short))
	case what < 5:
		err := v.Rename(short, fmt.Sprintf("all, says %s", p.name))
		if errors.Is(err, client.ErrNotGroup) {
			return nil
		}
		return patient(err)
	}
	text := fmt.Sprintf("%s %d", p.name, n)
	if _, err := v.Send(ctx, content.Text{Text: text}); err != nil {
		return err
	}
	info, err := v.Info()
	if err != nil {
		return err
	}
	place := placeOf(p.name, info)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said[place+"/"+p.name] = append(w.said[place+"/"+p.name], text)
	w.lines++
	return nil
}

// patient leaves what is not done yet to the client.
func patient(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// harm does something to the cluster, and undoes it. A majority is always there
// again before the next.
func (w *turmoil) harm(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		nodes := w.c.Nodes()
		n := nodes[rng.IntN(len(nodes))]
		others := slices.DeleteFunc(slices.Clone(nodes), func(o *testcluster.Node) bool { return o == n })
		w.faults++
		switch rng.IntN(4) {
		case 0:
			if err := n.Kill(); err != nil {
				w.t.Errorf("kill: %v", err)
			}
			wait(ctx, rng, 2*time.Second)
			if err := n.Start(); err != nil {
				w.t.Errorf("start: %v", err)
			}
		case 1:
			w.c.Partition([]*testcluster.Node{n}, others)
			wait(ctx, rng, 3*time.Second)
			w.c.Heal()
		case 2:
			w.c.Partition(nodes[:1], nodes[1:2], nodes[2:])
			wait(ctx, rng, 2*time.Second)
			w.c.Heal()
		case 3: // as if the node were stopped: whatever it says comes much later
			for _, o := range others {
				slow := testcluster.LinkFault{Delay: 700 * time.Millisecond, Jitter: 300 * time.Millisecond, Loss: 0.1}
				w.c.Faults().Set(string(n.ID()), string(o.ID()), slow)
				w.c.Faults().Set(string(o.ID()), string(n.ID()), slow)
			}
			wait(ctx, rng, 3*time.Second)
			w.c.Heal()
		}
		wait(ctx, rng, 2*time.Second)
	}
}

func wait(ctx context.Context, rng *rand.Rand, most time.Duration) {
	timer := time.NewTimer(most/2 + time.Duration(rng.Int64N(int64(most/2))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (w *turmoil) heal() {
	w.c.Heal()
	for _, n := range w.c.Nodes() {
		if n.Engine() == nil {
			if err := n.Start(); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.c.LeaderT(w.t)
}

// check compares what everybody has read with what was said.
func (w *turmoil) check() {
	for _, p := range w.people {
		if err := p.Start(); err != nil {
			w.t.Fatal(err)
		}
		if err := p.Flush(within(w.t, 2*time.Minute)); err != nil {
			w.t.Fatalf("%s can't send everything: %v", p.name, err)
		}
	}
	for _, p := range w.people {
		if err := p.Sync(within(w.t, time.Minute)); err != nil {
			w.t.Fatalf("%s does not receive everything: %v", p.name, err)
		}
	}
	for _, p := range w.people {
		p.await("all that was said", func() error { return w.complete(p) })
	}
	w.people[0].await("one epoch for all", w.oneEpoch)
}

// complete compares each sender's lines in each of somebody's conversations.
func (w *turmoil) complete(p *person) error {
	list, err := p.Conversations()
	if err != nil {
		return err
	}
	for _, v := range list {
		info, err := v.Info()
		if err != nil {
			return err
		}
		place := placeOf(p.name, info)
		entries, err := v.History(0, 1_000_000)
		if err != nil {
			return err
		}
		got := map[string][]string{}
		for _, e := range entries {
			if e.Kind == "text" {
				got[e.Sender] = append(got[e.Sender], e.Text)
			}
			if e.Mine && e.Kind == "text" && (e.Status == "waiting" || e.Status == "failed") {
				return fmt.Errorf("%s: %q is %s", place, e.Text, e.Status)
			}
		}
		for _, sender := range w.people {
			if want := w.said[place+"/"+sender.name]; !slices.Equal(got[sender.name], want) {
				return fmt.Errorf("%s has %d lines of %s in %s, want %d; %s",
					p.name, len(got[sender.name]), sender.name, place, len(want), difference(got[sender.name], want))
			}
		}
	}
	return nil
}

// placeOf is what all members call a conversation of somebody's here.
func placeOf(whose string, info client.Info) string {
	if info.Kind != "dm" {
		return "group"
	}
	names := []string{whose, info.Peer}
	slices.Sort(names)
	return strings.Join(names, "+")
}

func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("from line %d: got %q, want %q", i, got[min(i, len(got)):min(i+3, len(got))], want[min(i, len(want)):min(i+3, len(want))])
		}
	}
	return "the same"
}

func (w *turmoil) oneEpoch() error {
	epochs := map[string]string{}
	for _, p := range w.people {
		list, err := p.Conversations()
		if err != nil {
			return err
		}
		for _, v := range list {
			info, err := v.Info()
			if err != nil {
				return err
			}
			place := placeOf(p.name, info)
			state := fmt.Sprintf("epoch %d, %s, “%s”", info.Epoch, info.State, map[bool]string{true: info.Title}[info.Kind == "group"])
			if have, seen := epochs[place]; seen && have != state {
				return fmt.Errorf("%s at %s: %s, elsewhere %s", place, p.name, state, have)
			}
			epochs[place] = state
		}
	}
	return nil
}
