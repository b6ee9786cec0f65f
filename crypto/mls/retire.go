package mls

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"slices"

	"quicproquo/crypto/suite"
)

// ErrNotSuccessor means that a state is not of the epoch right after another's.
var ErrNotSuccessor = errors.New("the state is not the successor of this one")

// ForgetPast returns the group without the keys of past epochs: what a caller keeps of
// Pending.Next while its commit is on its way. The present state goes on meanwhile and
// uses up keys, which must not come back from a copy; ContinuePast adds the past as it
// is then.
func (g *Group) ForgetPast() *Group {
	next := *g
	next.past = nil
	return &next
}

// ContinuePast returns g, which a commit of present or of a value before it in the same
// epoch has made, with the past that present has by now: its ratchets as they are after
// everything that was read and sent since the commit was made. ErrNotSuccessor: g is not
// of the epoch after present's.
func (g *Group) ContinuePast(present *Group) (*Group, error) {
	if !bytes.Equal(g.ID(), present.ID()) || g.Epoch() != present.Epoch()+1 || !g.remembers(present) {
		return nil, ErrNotSuccessor
	}
	next := *g
	next.past, next.sent = present.withPast(), present.sent
	return &next, nil
}

// remembers reports whether g has the resumption PSK of another's epoch (RFC 9420 §8).
func (g *Group) remembers(other *Group) bool {
	i := slices.IndexFunc(g.resumption, func(r resumption) bool { return r.epoch == other.Epoch() })
	return i >= 0 && other.epoch != nil && subtle.ConstantTimeCompare(g.resumption[i].secret, other.epoch.ResumptionPSK) == 1
}

// Retire erases the secrets of g that next, a later value of the same group that has
// replaced it, does not use; nil: the group is over, and all are erased. g must not be
// used again.
func (g *Group) Retire(next *Group) {
	kept := map[*byte]bool{}
	if next != nil {
		next.eachSecret(func(s suite.Secret) { kept[&s[0]] = true })
	}
	g.eachSecret(func(s suite.Secret) {
		if !kept[&s[0]] {
			s.Zero()
		}
	})
}

// eachSecret visits every secret of the state that has bytes, the identity's signature
// key apart: it is the caller's.
func (g *Group) eachSecret(each func(suite.Secret)) {
	visit := func(s suite.Secret) {
		if len(s) > 0 {
			each(s)
		}
	}
	if e := g.epoch; e != nil {
		for _, s := range []suite.Secret{
			e.SenderData, e.Exporter, e.External, e.ConfirmationKey, e.MembershipKey, e.ResumptionPSK, e.Authenticator, e.Init,
		} {
			visit(s)
		}
	}
	if g.secrets != nil {
		g.secrets.EachSecret(visit)
	}
	if g.exporter != nil {
		g.exporter.EachSecret(visit)
	}
	for _, key := range g.priv.Keys {
		if key != nil { // a joiner by external commit has none at first
			visit(key.Bytes())
		}
	}
	for _, u := range g.updates {
		visit(u.key.Bytes())
	}
	for _, p := range g.past {
		visit(p.senderData)
		p.secrets.EachSecret(visit)
	}
	for _, r := range g.resumption {
		visit(r.secret)
	}
}
