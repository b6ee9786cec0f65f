package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind is what a fault does.
type Kind string

// Kinds of faults. Which a level can do: see kinds.
const (
	Kill           Kind = "kill"            // kill -9, later a start
	KillLeader     Kind = "kill-leader"     // the same, whoever leads then
	KillMajority   Kind = "kill-majority"   // more than half at once
	KillAll        Kind = "kill-all"        // every node at once
	Stop           Kind = "stop"            // an orderly stop, later a start
	StopLeader     Kind = "stop-leader"     // the same, whoever leads then
	RollingRestart Kind = "rolling-restart" // each in turn, in good order
	Pause          Kind = "pause"           // SIGSTOP, later SIGCONT
	PauseLeader    Kind = "pause-leader"    // the same, whoever leads then
	PauseMajority  Kind = "pause-majority"  // more than half at once

	IsolateNode     Kind = "isolate"           // no link to the other nodes
	IsolateLeader   Kind = "isolate-leader"    // the same, whoever leads then
	Halves          Kind = "halves"            // cut in two
	Ring            Kind = "ring"              // each node hears two others only
	AllApart        Kind = "all-apart"         // no links at all
	OneWay          Kind = "one-way"           // a node is heard and hears nothing
	Swizzle         Kind = "swizzle"           // links go one by one and come back in another order
	ClientsCut      Kind = "clients-cut"       // no client reaches a node, the nodes each other
	Slow            Kind = "slow"              // a node's links take up to a second
	Lossy           Kind = "lossy"             // a third of a node's packets is lost
	Reordering      Kind = "reordering"        // packets overtake each other everywhere
	Duplicating     Kind = "duplicating"       // a third of all packets comes twice
	Corrupting      Kind = "corrupting"        // a bit changes in one of twenty packets
	SmallPackets    Kind = "small-packets"     // links lose what is longer than QUIC's least
	MinorityForLong Kind = "minority-for-long" // a node is away for long, then catches up
	Unplugged       Kind = "unplugged"         // a node's link is down, and it hears so
	NarrowLink      Kind = "narrow-link"       // a node's link takes 1,280 bytes, and says so

	Stalled           Kind = "stalled"            // callers begin much at a node, take nothing and go no further
	RegistrationFlood Kind = "registration-flood" // strangers make accounts at a node as fast as they can

	PowerCut          Kind = "power-cut"          // a node loses what it had not synced
	PowerCutAll       Kind = "power-cut-all"      // all nodes, at once
	FullDisk          Kind = "full-disk"          // a node's disk has no room
	FailingWrites     Kind = "failing-writes"     // a node's disk refuses writes; in a simulation its store's
	BitFlip           Kind = "bit-flip"           // a bit changes in an entry of a log, which the node must notice
	BitRot            Kind = "bit-rot"            // a bit changes anywhere in a node's files
	NewAddress        Kind = "new-address"        // a node comes back at another address
	NewAddresses      Kind = "new-addresses"      // all nodes do, at once
	LostDisk          Kind = "lost-disk"          // a node is gone forever and replaced
	WipedDisk         Kind = "wiped-disk"         // a node comes back under its name with nothing on its disk
	Churn             Kind = "churn"              // one more node comes and goes
	SnapshotStorm     Kind = "snapshot-storm"     // snapshots again and again
	ClockJump         Kind = "clock-jump"         // a node's clock is minutes or sixty days off
	LeaderClockJump   Kind = "leader-clock-jump"  // the same, whoever leads then
	MixUp             Kind = "mix-up"             // a node is started with what is another's, and must refuse
	SlowClock         Kind = "slow-clock"         // a node's timers take five times as long
	VerySlowClock     Kind = "very-slow-clock"    // ten times: it leads until its successor tells it so
	LateAnswers       Kind = "late-answers"       // as slow-clock, and what the others say to it is late
	SlowFlushes       Kind = "slow-flushes"       // each takes up to half a second longer
	FailingFlushes    Kind = "failing-flushes"    // a node's disk refuses to flush
	SwitchVersion     Kind = "switch-version"     // a node goes on with another version of the program
	SwitchLog         Kind = "switch-log"         // a node's log moves to the other kind of store
	RenewCertificates Kind = "renew-certificates" // each node gets a new one
)

// Fault is one thing that happens. At counts from the beginning of the run.
type Fault struct {
	At   time.Duration `json:"at"`
	For  time.Duration `json:"for"`
	Kind Kind          `json:"kind"`
	Node int           `json:"node"` // whom, where the kind does not say
}

// kinds are what a run of these options can do.
func kinds(o *Options) []Kind {
	list := []Kind{
		Kill, KillLeader, KillMajority, KillAll, Stop, StopLeader, RollingRestart,
		IsolateNode, IsolateLeader, Halves, Ring, AllApart, OneWay, Swizzle, ClientsCut, Slow, Lossy, Reordering, Duplicating,
		Corrupting, SmallPackets, MinorityForLong, BitFlip, WipedDisk,
		Stalled, RegistrationFlood,
	}
	if o.Level == LevelNetns {
		list = append(list, Unplugged, NarrowLink)
	}
	if o.Level == LevelProc {
		list = append(list, NewAddress, NewAddresses)
	}
	if o.Level != LevelSim {
		list = append(list, Pause, PauseLeader, PauseMajority, BitRot)
		if o.Other != "" {
			list = append(list, SwitchVersion)
		}
		if o.WeakDisks {
			list = append(list, SlowFlushes, FailingFlushes, FailingWrites)
		}
		if o.Disks {
			list = append(list, PowerCut, PowerCutAll, FullDisk)
		}
		return list
	}
	return append(list, PowerCut, PowerCutAll, FullDisk, FailingWrites, LostDisk, Churn, SnapshotStorm, ClockJump, LeaderClockJump, SlowClock, VerySlowClock,
		LateAnswers, SwitchLog, RenewCertificates, MixUp)
}

// plan draws the faults of a seed: one at a time, each undone before the next, with a
// pause for the cluster to come back between them.
func plan(o *Options) ([]Fault, error) {
	choice := kinds(o)
	if len(o.Nemesis) > 0 {
		for _, k := range o.Nemesis {
			if !slices.Contains(kinds(o), k) {
				return nil, fmt.Errorf("level %s has no fault %q; it has %s", o.Level, k, words(kinds(o)))
			}
		}
		choice = o.Nemesis
	}
	calm := max(o.Calm, time.Second)
	rng := rand.New(rand.NewPCG(o.Seed, 1))
	var faults []Fault
	bag := []Kind{}
	for at := 2 * time.Second; ; {
		if len(bag) == 0 { // every kind comes before one comes again
			bag = slices.Clone(choice)
			rng.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		f := Fault{At: at, Kind: bag[0], Node: rng.IntN(o.Nodes), For: time.Second + time.Duration(rng.IntN(4000))*time.Millisecond}
		bag = bag[1:]
		if f.Kind == MinorityForLong {
			f.For *= 5
		}
		pause := calm + time.Duration(rng.Int64N(int64(calm)))
		if at += f.For + pause; at > o.For {
			return faults, nil
		}
		faults = append(faults, f)
	}
}

func words[T ~string](items []T) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = string(item)
	}
	slices.SortFunc(texts, cmp.Compare[string])
	return strings.Join(texts, ", ")
}
