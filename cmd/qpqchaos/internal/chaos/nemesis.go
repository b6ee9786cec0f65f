package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"quicproquo/testcluster"
)

// findLeader bounds how long a fault looks for the leader that it is meant for.
const findLeader = 5 * time.Second

// harm does the faults of a plan, each at its time. Who is down is started again
// whatever happens, so that the end of the run can be judged.
func (w *world) harm(ctx context.Context, plan []Fault) {
	for _, f := range plan {
		if !sleep(ctx, f.At-time.Since(w.began)) {
			return
		}
		from := time.Since(w.began)
		undo, err := w.do(ctx, f)
		if err != nil {
			w.violation("nemesis", "%s: %v", f.Kind, err)
		}
		w.faults.Add(1)
		w.tell("%s for %s", f.Kind, f.For.Round(time.Millisecond))
		sleep(ctx, f.For)
		if err := undo(); err != nil {
			w.violation("nemesis", "undo %s: %v", f.Kind, err)
		}
		to := time.Since(w.began)
		w.timeline.suffered(f, from, to)
		w.mu.Lock()
		w.harmed = append(w.harmed, harmed{f, from, to})
		w.mu.Unlock()
	}
}

// do begins a fault and returns how it ends.
func (w *world) do(ctx context.Context, f Fault) (undo func() error, err error) {
	victim := f.Node
	if slices.Contains([]Kind{KillLeader, StopLeader, PauseLeader, IsolateLeader, LeaderClockJump}, f.Kind) {
		short, cancel := context.WithTimeout(ctx, findLeader)
		defer cancel()
		if i, err := w.target.leader(short); err == nil {
			victim = i
		}
	}
	majority := w.others(victim)[:w.target.nodes()/2]
	majority = append(majority, victim)
	switch f.Kind { //nolint:exhaustive // the others are the links' and the level's
	case Kill, KillLeader:
		return each(w.target.kill, w.target.start, victim)
	case KillMajority:
		return each(w.target.kill, w.target.start, majority...)
	case KillAll:
		return each(w.target.kill, w.target.start, append(w.others(victim), victim)...)
	case Stop, StopLeader:
		return each(w.target.stop, w.target.start, victim)
	case Pause, PauseLeader:
		return each(w.target.pause, w.target.resume, victim)
	case PauseMajority:
		return each(w.target.pause, w.target.resume, majority...)
	case RollingRestart:
		for i := range w.target.nodes() {
			if err := w.target.stop(i); err != nil {
				return nothing, err
			}
			if err := w.target.start(i); err != nil {
				return nothing, err
			}
			sleep(ctx, time.Second)
		}
		return nothing, nil
	case Stalled:
		return w.stall(ctx, f, victim)
	case RegistrationFlood:
		return w.flood(ctx, f, victim)
	}
	if undo, err = w.harmLinks(ctx, f, victim); !errors.Is(err, errNotHere) {
		return undo, err
	}
	return w.target.harm(ctx, f, victim)
}

// each does something to some nodes, and the contrary later.
func each(do, undo func(int) error, nodes ...int) (func() error, error) {
	back := func() error {
		for _, i := range nodes {
			if err := undo(i); err != nil {
				return err
			}
		}
		return nil
	}
	for _, i := range nodes {
		if err := do(i); err != nil {
			return back, err
		}
	}
	return back, nil
}

func nothing() error { return nil }

// harmLinks does what happens to the network.
func (w *world) harmLinks(ctx context.Context, f Fault, victim int) (undo func() error, err error) {
	net := w.target.network()
	if net == nil {
		return nothing, errNotHere
	}
	all, others := append(w.others(victim), victim), w.others(victim)
	between := func(a, b []int, fault testcluster.LinkFault) {
		for _, i := range a {
			for _, j := range b {
				if i != j {
					net.Set(w.target.name(i), w.target.name(j), fault)
				}
			}
		}
	}
	cut := testcluster.LinkFault{Cut: true}
	me := []int{victim}
	switch f.Kind {
	case IsolateNode, IsolateLeader, MinorityForLong:
		between(me, others, cut)
		between(others, me, cut)
	case Halves:
		half := all[:len(all)/2]
		between(half, all[len(all)/2:], cut)
		between(all[len(all)/2:], half, cut)
	case AllApart:
		between(all, all, cut)
	case Ring: // of three nodes: one link less
		for i := range all {
			for j := range all {
				if d := (i - j + len(all)) % len(all); d > 1 && d < len(all)-1 || len(all) == 3 && i+j == 1 {
					net.Set(w.target.name(all[i]), w.target.name(all[j]), cut)
				}
			}
		}
	case OneWay:
		between(others, me, cut)
	case Swizzle:
		return w.swizzle(ctx, f), nil
	case ClientsCut:
		net.Set(testcluster.Clients, w.target.name(victim), cut)
		net.Set(w.target.name(victim), testcluster.Clients, cut)
	case Corrupting:
		between(all, all, testcluster.LinkFault{Corrupt: 0.05})
	case SmallPackets:
		return w.smallPackets(net, victim)
	case Slow:
		slow := testcluster.LinkFault{Delay: 300 * time.Millisecond, Jitter: 700 * time.Millisecond}
		between(me, others, slow)
		between(others, me, slow)
	case Lossy:
		between(me, others, testcluster.LinkFault{Loss: 0.3})
		between(others, me, testcluster.LinkFault{Loss: 0.3})
	case Reordering:
		between(all, all, testcluster.LinkFault{Jitter: 50 * time.Millisecond})
	case Duplicating:
		between(all, all, testcluster.LinkFault{Duplicate: 0.3, Jitter: 5 * time.Millisecond})
	default:
		return nothing, errNotHere
	}
	return func() error { net.Heal(); return nil }, nil
}

// smallPackets makes all links narrow, the clients' too. A node starts meanwhile: its
// connections have such links from their first packet on.
func (w *world) smallPackets(net *testcluster.Faults, victim int) (undo func() error, err error) {
	ends := []string{testcluster.Clients}
	for i := range w.target.nodes() {
		ends = append(ends, w.target.name(i))
	}
	for _, from := range ends {
		for _, to := range ends {
			if from != to {
				net.Set(from, to, testcluster.LinkFault{Largest: smallPacket})
			}
		}
	}
	heal := func() error { net.Heal(); return nil }
	if err := w.target.kill(victim); err != nil {
		return heal, err
	}
	return heal, w.target.start(victim)
}

// smallPacket is the largest UDP payload that passes SmallPackets: a link of 1,280
// bytes less IPv6's and UDP's headers. QUIC may rely on 1,200.
const smallPacket = 1232

// swizzle cuts the nodes' links one by one in a random order within the fault's time,
// and mends them one by one in another.
func (w *world) swizzle(ctx context.Context, f Fault) (undo func() error) {
	net, rng := w.target.network(), w.rng(f)
	type pair struct{ from, to string }
	var links []pair
	for i := range w.target.nodes() {
		for j := range w.target.nodes() {
			if i != j {
				links = append(links, pair{w.target.name(i), w.target.name(j)})
			}
		}
	}
	walk := func(fault testcluster.LinkFault) {
		rng.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
		for _, l := range links {
			net.Set(l.from, l.to, fault)
			sleep(ctx, f.For/time.Duration(2*len(links)))
		}
	}
	walk(testcluster.LinkFault{Cut: true})
	walk(testcluster.LinkFault{})
	return nothing
}

// rng is the randomness of one fault: the same for the same fault of the same seed.
func (w *world) rng(f Fault) *rand.Rand {
	return rand.New(rand.NewPCG(w.options.Seed, uint64(f.At)))
}

// flipped notes whether a node has seen that an entry of its log is damaged.
func (w *world) flipped(detected bool) {
	w.flips.Add(1)
	if detected {
		w.detected.Add(1)
		return
	}
	w.violation("nemesis", "a node has not said that an entry of its log is damaged")
}

// others are the nodes but one.
func (w *world) others(but int) (list []int) {
	for i := range w.target.nodes() {
		if i != but {
			list = append(list, i)
		}
	}
	return list
}

// sleep reports whether the time has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
