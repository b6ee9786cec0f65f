package rogue

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// roomTime is when the runs happen.
var roomTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// extRoom stands for the group's data, which every member must know.
const extRoom tree.ExtensionType = 0xF001

// person is an honest client in the group.
type person struct {
	name string
	id   *mls.Identity
	g    *mls.Group
}

// room is a group of honest people and one member who is not. Its delivery is the
// best that a server can do: what is sent reaches everybody whom it is meant for, in one
// order, and the first commit of an epoch that a member takes is that of all.
type room struct {
	cfg      *mls.Config
	dice     Dice
	honest   []*person
	rogue    *person // its group follows as an honest client would
	member   *Member // what it knows in the present epoch
	heard    [][]byte
	outside  []*mls.Group // groups of those who are not, or no longer, in the honest one
	keys     []*suite.PrivateKey
	serial   int
	hostile  int // shots that were delivered
	accepted int // of them those that changed somebody's state
	refusals map[rule.Rule]int
}

// broken is how a run tells that a property does not hold.
type broken struct{ error }

func (r *room) fail(format string, args ...any) {
	panic(broken{fmt.Errorf(format, args...)})
}

func (r *room) must(err error, format string, args ...any) {
	if err != nil {
		r.fail("%s: %w", fmt.Sprintf(format, args...), err)
	}
}

// newRoom is a group of so many members, of whom the last is the rogue. Everybody has
// committed once, so that parents are filled.
func newRoom(d Dice, members int) *room {
	r := &room{cfg: &mls.Config{PrivateHandshake: d.IntN(2) == 0}, dice: d, refusals: map[rule.Rule]int{}}
	first := r.person()
	ext := tree.Extensions{{Type: extRoom, Data: []byte("the group's data")}}
	g, err := mls.Create(r.cfg, first.id, nil, ext, roomTime)
	r.must(err, "create the group")
	first.g = g
	r.honest = []*person{first}
	for range members - 1 {
		r.invite(r.honest[0])
	}
	last := len(r.honest) - 1
	r.rogue, r.honest = r.honest[last], r.honest[:last]
	for _, p := range r.honest {
		r.commit(p, mls.CommitOptions{})
	}
	return r
}

func (r *room) person() *person {
	r.serial++
	p := &person{name: fmt.Sprintf("client %d", r.serial)}
	var err error
	p.id, err = mls.NewIdentity(suite.X25519AES128SHA256Ed25519, []byte(p.name))
	r.must(err, "make an identity")
	p.id.Extensions = []tree.ExtensionType{extRoom}
	return p
}

func (p *person) newKeyPackage(r *room) *mls.KeyPackage {
	kp, err := p.id.NewKeyPackage(roomTime, mls.KeyPackageOptions{})
	r.must(err, "make a key package")
	return kp
}

// anybody is one of the honest.
func (r *room) anybody() *person { return pick(r.dice, r.honest) }

// other is an honest one who is not p.
func (r *room) other(p *person) *person {
	for {
		if o := r.anybody(); o != p {
			return o
		}
	}
}

// everybody are the honest and the rogue, where it is in.
func (r *room) everybody() []*person {
	if r.rogue == nil {
		return r.honest
	}
	return append(slices.Clip(r.honest), r.rogue)
}

// hear remembers a message for replays.
func (r *room) hear(msg []byte) {
	if len(r.heard) > 50 {
		r.heard = r.heard[1:]
	}
	r.heard = append(r.heard, msg)
}

// give has everybody but the sender process an honest message. The honest must take it.
func (r *room) give(from *person, msg []byte) {
	r.hear(msg)
	for _, p := range r.everybody() {
		if p == from {
			continue
		}
		next, ev, err := p.g.Process(msg, roomTime)
		if err != nil && p != r.rogue {
			r.fail("%s can't take what %s sent: %w", p.name, from.name, err)
		}
		if e, ok := ev.(*mls.EpochStarted); ok && e.RemovedUs && p != r.rogue {
			r.fail("%s was removed by %s", p.name, from.name)
		}
		p.g = next
	}
}

// commit has an honest one commit, with all that waits, and everybody take it.
func (r *room) commit(p *person, opt mls.CommitOptions) *mls.Pending {
	made, err := p.g.Commit(opt, roomTime)
	r.must(err, "%s commits, with %d proposals waiting", p.name, len(p.g.Public().Proposals()))
	r.give(p, made.Commit)
	p.g = made.Next
	r.settleRogue()
	return made
}

// settleRogue notices that the rogue is out.
func (r *room) settleRogue() {
	r.member = nil
	if r.rogue == nil {
		return
	}
	for _, m := range r.honest[0].g.Members() {
		if bytes.Equal(m.Leaf.SignatureKey, r.rogue.id.Signer.Public()) && m.Index == r.rogue.g.Self() {
			return
		}
	}
	r.expel()
}

// expel puts the rogue outside: what it holds must open nothing from now on.
func (r *room) expel() {
	r.outside = append(r.outside, r.rogue.g)
	r.collect(r.rogue.g)
	r.rogue, r.member = nil, nil
}

// collect remembers private keys that the rogue held.
func (r *room) collect(g *mls.Group) {
	m, err := Of(g)
	if err != nil {
		r.fail("read the rogue's state: %w", err)
	}
	for _, k := range m.Private.Keys {
		r.keys = append(r.keys, k)
	}
}

// send has an honest one say something that all the honest read and nobody outside. A
// proposal that waits holds it up for one commit, no longer.
func (r *room) send(p *person) {
	text := []byte(fmt.Sprintf("text %d", len(r.heard)))
	next, msg, err := p.g.Encrypt(text, nil)
	if code, ok := rule.Of(err); ok && code == rule.SendPending {
		r.commit(p, mls.CommitOptions{})
		next, msg, err = p.g.Encrypt(text, nil)
	}
	r.must(err, "%s sends", p.name)
	p.g = next
	r.hear(msg)
	for _, o := range r.honest {
		if o == p {
			continue
		}
		n, ev, err := o.g.Process(msg, roomTime)
		r.must(err, "%s reads what %s sent", o.name, p.name)
		if got, ok := ev.(*mls.ApplicationMessage); !ok || !bytes.Equal(got.Data, text) {
			r.fail("%s has read %+v, want %q", o.name, ev, text)
		}
		o.g = n
	}
	r.secret(msg)
}

// secret checks that nobody outside reads a message.
func (r *room) secret(msg []byte) {
	for _, g := range r.outside {
		if _, ev, err := g.Process(msg, roomTime); err == nil {
			if _, echo := ev.(*mls.Echo); !echo {
				r.fail("somebody outside, last in epoch %d, has read a message of epoch %d: %+v", g.Epoch(), r.honest[0].g.Epoch(), ev)
			}
		}
		if m, err := Of(g); err == nil {
			if _, ok := m.Reads(msg); ok {
				r.fail("somebody outside, last in epoch %d, has decrypted a message of epoch %d", g.Epoch(), r.honest[0].g.Epoch())
			}
		}
	}
}

// invite has an honest one add a new client, who must get in by the welcome.
func (r *room) invite(p *person) *person {
	fresh := r.person()
	kp := fresh.newKeyPackage(r)
	made := r.commit(p, mls.CommitOptions{Add: []*message.KeyPackage{kp.Public}, NoPath: r.dice.IntN(2) == 0})
	g, err := mls.Join(r.cfg, []*mls.KeyPackage{kp}, made.Welcome, mls.JoinOptions{}, roomTime)
	r.must(err, "%s joins by the welcome of %s", fresh.name, p.name)
	fresh.g = g
	r.honest = append(r.honest, fresh)
	return fresh
}

// leave has an honest one go, by a proposal that another commits.
func (r *room) leave(p *person) {
	r.honest = slices.DeleteFunc(r.honest, func(o *person) bool { return o == p })
	next, msg, err := p.g.ProposeLeave(nil, roomTime)
	r.must(err, "%s leaves", p.name)
	p.g = next
	r.give(p, msg)
	made, err := r.honest[0].g.Commit(mls.CommitOptions{}, roomTime)
	r.must(err, "%s commits that %s leaves", r.honest[0].name, p.name)
	gone, ev, err := p.g.Process(made.Commit, roomTime)
	r.must(err, "%s hears that it is out", p.name)
	if e, ok := ev.(*mls.EpochStarted); !ok || !e.RemovedUs {
		r.fail("%s has asked to leave and is still in: the proposal was not committed", p.name)
	}
	r.give(r.honest[0], made.Commit)
	r.honest[0].g = made.Next
	r.outside = append(r.outside, gone)
	r.settleRogue()
}

// returns has an honest one come back by an external commit in its old place.
func (r *room) returns(p *person) {
	from := r.other(p)
	info, err := from.g.GroupInfo(mls.GroupInfoOptions{})
	r.must(err, "%s makes a group info", from.name)
	made, err := mls.ExternalJoin(r.cfg, p.id, info, mls.ExternalOptions{Resync: true}, roomTime)
	r.must(err, "%s comes back", p.name)
	r.give(p, made.Commit)
	p.g = made.Next
	r.settleRogue()
}

// remove has an honest one remove the rogue.
func (r *room) remove(p *person) {
	if r.rogue == nil {
		return
	}
	r.collect(r.rogue.g)
	out := r.rogue
	before := p.g
	made, err := p.g.Commit(mls.CommitOptions{Remove: []tree.LeafIndex{out.g.Self()}}, roomTime)
	r.must(err, "%s removes the rogue", p.name)
	r.checkPath(before, made)
	r.give(p, made.Commit)
	p.g = made.Next
	if r.settleRogue(); r.rogue != nil {
		r.fail("the rogue is still in after it was removed")
	}
}

// checkPath checks that no private key of the rogue opens a path that was made without
// it, for the honest.
func (r *room) checkPath(before *mls.Group, made *mls.Pending) {
	m, err := message.Parse(slices.Clone(made.Commit))
	if err != nil || m.Public == nil {
		return // encrypted: what it says is made in the same way
	}
	next := made.Next.Public()
	c := *next.Context()
	c.ConfirmedTranscriptHash = before.Public().Context().ConfirmedTranscriptHash
	honest := func(x tree.NodeIndex) bool {
		for i, l := range next.Tree().Members {
			if x.Contains(i.Node()) && !slices.ContainsFunc(r.honest, func(p *person) bool { return bytes.Equal(p.id.Signer.Public(), l.SignatureKey) }) {
				return false
			}
		}
		return true
	}
	if OpensPath(next.Tree(), made.Next.Self(), m.Public.Content.Commit.Path, codec.Marshal(&c), r.keys, honest, next.Suite()) {
		r.fail("the rogue opens a path secret of the commit that removed it")
	}
}

// comeBack invites the rogue anew, as people do who have not understood.
func (r *room) comeBack() {
	if r.rogue != nil {
		return
	}
	p := r.invite(r.anybody())
	r.honest = r.honest[:len(r.honest)-1]
	r.rogue = p
}

// outcome runs f and returns the property that broke, if one did.
func outcome(f func()) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case broken:
			err = v.error
		default:
			panic(v)
		}
	}()
	f()
	return nil
}

// rename replaces the group context extensions by an honest commit. Whoever can't hold
// them, since somebody has taken them out before and then said so, leaves with it, as with
// an admin's commit in package client.
func (r *room) rename() {
	p := r.anybody()
	ext := tree.Extensions{{Type: extRoom, Data: []byte(fmt.Sprintf("data %d", r.serial))}}
	opt := mls.CommitOptions{Extensions: &ext}
	for _, m := range p.g.Members() {
		if !m.Leaf.Capabilities.SupportsExtension(extRoom) {
			opt.Remove = append(opt.Remove, m.Index)
		}
	}
	r.commit(p, opt)
}

// propose has an honest one propose new keys for its leaf, for anybody to commit.
func (r *room) propose(p *person) {
	next, msg, err := p.g.ProposeUpdate(nil, roomTime)
	r.must(err, "%s proposes an Update", p.name)
	p.g = next
	r.give(p, msg)
}

// clear has an honest one remove all strangers whom the rogue has let in.
func (r *room) clear(p *person) {
	known := map[string]bool{}
	for _, o := range r.everybody() {
		known[string(o.id.Signer.Public())] = true
	}
	var opt mls.CommitOptions
	for _, m := range p.g.Members() {
		if !known[string(m.Leaf.SignatureKey)] {
			opt.Remove = append(opt.Remove, m.Index)
		}
	}
	if len(opt.Remove) > 0 {
		r.commit(p, opt)
	}
}
