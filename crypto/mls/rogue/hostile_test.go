package rogue

import (
	"bytes"
	"fmt"
	"slices"

	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
)

// attack is what the rogue has at hand.
func (r *room) attack() *Attack {
	if r.member == nil || r.member.Context.Epoch != r.rogue.g.Epoch() {
		m, err := Of(r.rogue.g)
		r.must(err, "read the rogue's state")
		r.member = m
	}
	return &Attack{
		Member: r.member, Dice: r.dice, Now: roomTime, Heard: r.heard,
		Newcomer: func() *mls.KeyPackage { return r.person().newKeyPackage(r) },
	}
}

// hit delivers an attack, lets the honest find together again, and checks that they are
// live if anything has changed for anybody.
func (r *room) hit(k Kind) {
	if r.rogue == nil {
		return
	}
	changed := false
	for _, s := range k.Make(r.attack()) {
		r.hostile++
		switch {
		case s.Message != nil:
			changed = r.shot(s) || changed
		case s.Welcome != nil:
			r.welcome(s)
		default:
			changed = r.lured(s.GroupInfo) || changed
		}
	}
	if changed {
		r.accepted++
		r.together()
		r.live()
	}
}

// shot has the honest process a hostile message. One that is refused leaves everything
// as it was.
func (r *room) shot(s Shot) (changed bool) {
	for _, p := range r.honest {
		if s.Only != nil && !s.Only(p.g.Self()) {
			continue
		}
		next, ev, err := p.g.Process(s.Message, roomTime)
		if err != nil {
			if next != p.g {
				r.fail("%s refused a message (%w) and has changed", p.name, err)
			}
			if code, ok := rule.Of(err); ok {
				r.refusals[code]++
			}
			continue
		}
		if !r.allowed(p, ev) {
			continue // the application has its rights: see allowed
		}
		changed = changed || next != p.g
		p.g = next
	}
	return changed
}

// allowed is what an application allows a member who may do nothing but what MLS lets
// all do: not to remove anybody else or to close the group. It refuses by dropping the
// next value.
func (r *room) allowed(p *person, ev mls.Event) bool {
	switch ev := ev.(type) {
	case *mls.ProposalStored:
		l, member := ev.Sender.Leaf()
		other := ev.Proposal.Type == tree.ProposalRemove && (!member || ev.Proposal.Remove != l)
		return !other && ev.Proposal.Type != tree.ProposalReInit
	case *mls.EpochStarted:
		if ev.ReInit != nil || ev.RemovedUs {
			return false
		}
		for _, m := range ev.Removed {
			for _, h := range r.honest {
				if bytes.Equal(m.Leaf.SignatureKey, h.id.Signer.Public()) {
					return false
				}
			}
		}
	}
	return true
}

// welcome has the newcomer try a hostile welcome. Whatever it gets into must be a group
// that can be saved and asked; it is not the honest one's unless it agrees with it.
func (r *room) welcome(s Shot) {
	g, err := mls.Join(r.cfg, []*mls.KeyPackage{s.For}, s.Welcome, mls.JoinOptions{}, roomTime)
	if err != nil {
		return
	}
	g = r.reloaded(g)
	if _, _, err := g.Encrypt([]byte("hello"), nil); err != nil {
		r.fail("a newcomer is in a group where it can't send: %w", err)
	}
	if _, err := g.Commit(mls.CommitOptions{}, roomTime); err != nil {
		r.fail("a newcomer is in a group where it can't commit: %w", err)
	}
	kp := r.person().newKeyPackage(r)
	made, err := g.Commit(mls.CommitOptions{Add: []*message.KeyPackage{kp.Public}}, roomTime)
	r.must(err, "a newcomer invites another")
	_, err = mls.Join(r.cfg, []*mls.KeyPackage{kp}, made.Welcome, mls.JoinOptions{}, roomTime)
	r.must(err, "a newcomer's guest joins")
}

// lured has an honest stranger come in by a hostile group info. The members take its
// commit, or refuse it; both is well.
func (r *room) lured(info []byte) bool {
	p := r.person()
	made, err := mls.ExternalJoin(r.cfg, p.id, info, mls.ExternalOptions{}, roomTime)
	if err != nil {
		return false
	}
	if r.shot(Shot{Message: made.Commit}) {
		if !bytes.Equal(made.Next.EpochAuthenticator(), r.honest[0].g.EpochAuthenticator()) {
			r.fail("the members took an external commit and disagree with who made it")
		}
		p.g = made.Next
		r.outside = append(r.outside, made.Next) // it does not follow from here on
		return true
	}
	return false
}

func (r *room) reloaded(g *mls.Group) *mls.Group {
	state := g.Marshal()
	loaded, err := mls.Unmarshal(r.cfg, state)
	r.must(err, "load a group's state")
	if !bytes.Equal(state, loaded.Marshal()) {
		r.fail("a loaded group saves to other bytes")
	}
	return loaded
}

// together has those who were cut off come back to the others: one external commit each,
// which is what a client does that can't take a commit. The others are the largest part
// that is in the latest epoch.
func (r *room) together() {
	parts := map[string][]*person{}
	var most string
	for _, p := range r.honest {
		key := fmt.Sprintf("%020d %x", p.g.Epoch(), p.g.EpochAuthenticator())
		parts[key] = append(parts[key], p)
		if most == "" || len(parts[key]) > len(parts[most]) || len(parts[key]) == len(parts[most]) && key > most {
			most = key
		}
	}
	if len(parts) > 1 {
		all := r.honest
		r.honest = parts[most]
		for _, p := range all {
			if slices.Contains(r.honest, p) {
				continue
			}
			info, err := r.honest[0].g.GroupInfo(mls.GroupInfoOptions{})
			r.must(err, "make a group info")
			made, err := mls.ExternalJoin(r.cfg, p.id, info, mls.ExternalOptions{Resync: true}, roomTime)
			r.must(err, "%s comes back after it was cut off", p.name)
			for _, o := range r.honest {
				next, _, err := o.g.Process(made.Commit, roomTime)
				r.must(err, "%s takes the return of %s", o.name, p.name)
				o.g = next
			}
			p.g = made.Next
			r.honest = append(r.honest, p)
		}
	}
	r.catchUp()
}

// catchUp has the rogue follow, in a way that works for whatever it has done: it comes
// back by an external commit where its group does not agree with the honest one.
func (r *room) catchUp() {
	r.member = nil
	if r.rogue.g.Epoch() == r.honest[0].g.Epoch() && bytes.Equal(r.rogue.g.EpochAuthenticator(), r.honest[0].g.EpochAuthenticator()) {
		return
	}
	r.collect(r.rogue.g)
	there := false
	for _, m := range r.honest[0].g.Members() {
		there = there || bytes.Equal(m.Leaf.SignatureKey, r.rogue.id.Signer.Public())
	}
	info, err := r.honest[0].g.GroupInfo(mls.GroupInfoOptions{})
	r.must(err, "make a group info")
	made, err := mls.ExternalJoin(r.cfg, r.rogue.id, info, mls.ExternalOptions{Resync: there}, roomTime)
	if err != nil {
		r.outside = append(r.outside, r.rogue.g)
		r.rogue = nil
		return
	}
	for _, p := range r.honest {
		next, _, err := p.g.Process(made.Commit, roomTime)
		if err != nil {
			r.outside = append(r.outside, r.rogue.g)
			r.rogue = nil
			return
		}
		p.g = next
	}
	r.rogue.g = made.Next
}

// live checks that the honest can send, receive, commit, invite and leave within one
// round. It is done with values that are dropped afterwards: the group goes on as it was.
func (r *room) live() {
	r.agree()
	try := *r
	try.honest = nil
	for _, p := range r.honest {
		c := *p
		try.honest = append(try.honest, &c)
	}
	if len(try.honest) > 3 { // enough to see it; every one of them is drawn sometimes
		at := r.dice.IntN(len(try.honest) - 2)
		try.honest = try.honest[at : at+3]
	}
	try.rogue, try.member = nil, nil
	try.heard = nil
	try.invite(try.honest[0])
	try.send(try.honest[len(try.honest)-1])
	try.leave(try.honest[len(try.honest)-2])
	try.send(try.honest[0])
}

// agree checks that the honest are in one epoch with one roster, each of them in it.
func (r *room) agree() {
	first := r.honest[0].g
	for _, p := range r.honest {
		if p.g.Epoch() != first.Epoch() || !bytes.Equal(p.g.EpochAuthenticator(), first.EpochAuthenticator()) {
			r.fail("%s in epoch %d does not agree with %s in epoch %d", p.name, p.g.Epoch(), r.honest[0].name, first.Epoch())
		}
		leaf := first.Public().Tree().Leaf(p.g.Self())
		if leaf == nil || !bytes.Equal(leaf.SignatureKey, p.id.Signer.Public()) {
			r.fail("%s is not at its place in the tree", p.name)
		}
	}
}

// end checks everything once more at the end of a run, with all the honest: each sends,
// each commits, one leaves, the rogue is removed and reads nothing.
func (r *room) end() {
	r.agree()
	for _, p := range r.honest {
		r.send(p)
	}
	for _, p := range slices.Clone(r.honest) {
		p.g = r.reloaded(p.g)
		r.commit(p, mls.CommitOptions{})
	}
	r.remove(r.anybody())
	for _, p := range r.honest {
		r.send(p)
	}
	r.invite(r.anybody())
	r.leave(r.anybody())
	r.returns(r.anybody())
	r.send(r.anybody())
	r.agree()
}
