package interop

import (
	"math/rand/v2"
	"slices"
)

const (
	randomOperations = 20
	randomMembers    = 6
)

// random runs operations drawn from a seed in a mixed group that begins with six members.
type random struct {
	*room
	rng     *rand.Rand
	outside []*peer
}

// operations lists what may happen, each as often as it is drawn. An operation reports
// whether the group's size allowed it.
func (x *random) operations() []func() bool {
	return []func() bool{x.adding, x.adding, x.removing, x.replacing, x.updating, x.updating, x.talking, x.proposing, x.entering, x.reloading}
}

func (x *random) run(a, b *stack) {
	x.t.Helper()
	var people []*peer
	for range randomMembers / 2 {
		people = append(people, x.person(a), x.person(b))
	}
	x.mayMissJoin = true
	x.group(people...)
	for done := 0; done < randomOperations; {
		all := x.operations()
		if all[x.rng.IntN(len(all))]() {
			done++
		}
	}
	x.talkAll()
}

func (x *random) member() *peer { return x.members[x.rng.IntN(len(x.members))] }

// outsider takes somebody who is in no group.
func (x *random) outsider() *peer {
	i := x.rng.IntN(len(x.outside))
	p := x.outside[i]
	x.outside = slices.Delete(x.outside, i, i+1)
	return p
}

// others returns n members that are not by.
func (x *random) others(by *peer, n int) []*peer {
	rest := slices.DeleteFunc(slices.Clone(x.members), func(p *peer) bool { return p == by })
	x.rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return rest[:n]
}

// removals draws who by may remove in one commit: two where one gets no UpdatePath.
func (x *random) removals(by *peer) []*peer {
	n := 1
	if by.stack.pathNeedsTwo {
		n = 2
	}
	if len(x.members) < n+2 {
		return nil
	}
	gone := x.others(by, n)
	rest := slices.DeleteFunc(slices.Clone(x.members), func(p *peer) bool { return slices.Contains(gone, p) })
	oneOfOurs := slices.ContainsFunc(rest, func(p *peer) bool { return p.stack == ours })
	if !oneOfOurs || x.foreign.wrongBelowRoot && x.leftHalfEmpty(rest) {
		return nil
	}
	return gone
}

// leftHalfEmpty reports whether none of the given members is left of their tree's root.
func (x *random) leftHalfEmpty(members []*peer) bool {
	var rest []uint32
	for _, p := range members {
		rest = append(rest, x.leaf(p))
	}
	width := uint32(1)
	for width <= slices.Max(rest) {
		width *= 2
	}
	return slices.Min(rest) >= width/2
}

// left makes removed peers into new clients that may come back.
func (x *random) left(gone []*peer) {
	for _, p := range gone {
		x.fresh(p)
	}
	x.outside = append(x.outside, gone...)
}

func (x *random) adding() bool {
	if len(x.outside) == 0 {
		return false
	}
	x.bring(x.member(), nil)
	return true
}

// bring lets by add an outsider and remove gone in one commit.
func (x *random) bring(by *peer, gone []*peer) {
	newcomer := x.outsider()
	x.commit(by, args{}, []*peer{newcomer}, gone)
	if !slices.Contains(x.members, newcomer) {
		x.left([]*peer{newcomer})
	}
}

func (x *random) removing() bool {
	by := x.member()
	gone := x.removals(by)
	if gone == nil {
		return false
	}
	x.remove(by, gone...)
	x.left(gone)
	return true
}

// replacing removes and adds in one commit, so that leaves are reused at once.
func (x *random) replacing() bool {
	by := x.member()
	if len(x.outside) == 0 || by.stack.pathToOldLeaves {
		return false
	}
	gone := x.removals(by)
	if gone == nil {
		return false
	}
	x.bring(by, gone)
	x.left(gone)
	return true
}

func (x *random) updating() bool {
	x.update(x.member())
	return true
}

func (x *random) talking() bool {
	x.talkAll()
	return true
}

// proposing lets two members update by proposal and a third commit.
func (x *random) proposing() bool {
	by := x.member()
	if len(x.members) < 3 || by.stack.pathToOldLeaves {
		return false
	}
	for _, p := range x.others(by, 2) {
		x.propose(p, args{"kind": "update"})
	}
	x.commit(by, args{"byReference": true}, nil, nil)
	return true
}

func (x *random) entering() bool {
	if len(x.outside) == 0 {
		return false
	}
	newcomer := x.outsider()
	if !x.externalJoin(newcomer, x.member()) {
		x.left([]*peer{newcomer})
	}
	return true
}

func (x *random) reloading() bool {
	x.reload(x.member())
	return true
}
