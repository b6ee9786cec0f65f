package chaos

import (
	"slices"
	"time"
)

// gap is a time in which no write was acknowledged.
type gap struct{ from, to time.Duration }

// notedGap is the shortest gap that is kept: callers pause that long by themselves.
const notedGap = 100 * time.Millisecond

// harmed is a fault as it happened.
type harmed struct {
	fault    Fault
	from, to time.Duration // when it began, when it was undone
}

// Gaps tells how long nothing was written around some faults.
type Gaps struct {
	Faults int   `json:"faults"`
	P50Ms  int64 `json:"p50Ms"`
	P99Ms  int64 `json:"p99Ms"`
	MaxMs  int64 `json:"maxMs"`
}

// oneNode reports whether a kind harms one node, or its links, at a time.
func oneNode(k Kind) bool {
	return slices.Contains([]Kind{
		Kill, KillLeader, Stop, StopLeader, Pause, PauseLeader, IsolateNode, IsolateLeader, MinorityForLong, OneWay, ClientsCut,
		Slow, Lossy, Unplugged, NarrowLink, PowerCut, FullDisk, SlowFlushes, FailingFlushes, FailingWrites, BitFlip, LostDisk, WipedDisk, ClockJump, SlowClock, VerySlowClock, LateAnswers, SwitchLog,
	}, k)
}

// allNodes reports whether a kind takes every node at once.
func allNodes(k Kind) bool { return k == KillAll || k == PowerCutAll }

// gapsAfter are, for each fault that is chosen, the longest gap that begins or ends
// between it and the next fault. undone counts from when the fault is undone: what the
// cluster takes to come back by itself.
func gapsAfter(list []harmed, gaps []gap, chosen func(Kind) bool, undone bool) Gaps {
	var lengths []time.Duration
	for i, h := range list {
		if !chosen(h.fault.Kind) {
			continue
		}
		from, until := h.from, time.Duration(1<<62)
		if undone {
			from = h.to
		}
		if i+1 < len(list) {
			until = list[i+1].from
		}
		longest := time.Duration(0)
		for _, g := range gaps {
			if g.to > from && g.from < until {
				longest = max(longest, min(g.to, until)-max(g.from, from))
			}
		}
		lengths = append(lengths, longest)
	}
	if len(lengths) == 0 {
		return Gaps{}
	}
	slices.Sort(lengths)
	at := func(percent int) int64 { return lengths[(len(lengths)*percent+99)/100-1].Milliseconds() }
	return Gaps{Faults: len(lengths), P50Ms: at(50), P99Ms: at(99), MaxMs: at(100)}
}
