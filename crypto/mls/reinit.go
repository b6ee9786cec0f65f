package mls

import (
	"fmt"
	"time"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// ReInit returns the parameters of the successor once a ReInit was committed, or nil.
func (g *Group) ReInit() *message.ReInit { return g.reinit }

// Succeed founds the group that a committed ReInit calls for, with all its members, from
// fresh key packages of the others (RFC 9420 §11.2). id is our identity in the new
// suite. The others join by the welcome with JoinOptions.From.
func (g *Group) Succeed(id *Identity, others []*message.KeyPackage, now time.Time) (*Pending, error) {
	r := g.reinit
	if g.status != ReInited || r == nil {
		return nil, rule.Break(rule.JoinReInit, "no ReInit was committed")
	}
	if r.Suite != id.Signer.Suite().ID() || r.Version != tree.MLS10 {
		return nil, rule.Break(rule.JoinReInit, "the identity is for suite 0x%04x", uint16(id.Signer.Suite().ID()))
	}
	if err := g.checkCovers(id, others); err != nil {
		return nil, err
	}
	return g.found(id, r.GroupID, r.Extensions, others, schedule.UsageReInit, now)
}

// checkCovers checks that every member of the old group is in the new one.
func (g *Group) checkCovers(id *Identity, others []*message.KeyPackage) error {
	for _, m := range g.Members() {
		found := g.cfg.auth().Successor(m.Leaf.Credential, id.Credential) == nil
		for _, kp := range others {
			found = found || g.cfg.auth().Successor(m.Leaf.Credential, kp.Leaf.Credential) == nil
		}
		if !found {
			return rule.Break(rule.JoinReInit, "no key package for leaf %d", m.Index)
		}
	}
	return nil
}

// Branch founds a group of some members with the same parameters (RFC 9420 §11.3), from
// fresh key packages. They join by the welcome with JoinOptions.From.
func (g *Group) Branch(groupID []byte, others []*message.KeyPackage, now time.Time) (*Pending, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	for _, kp := range others {
		member := false
		for _, m := range g.Members() {
			member = member || g.cfg.auth().Successor(m.Leaf.Credential, kp.Leaf.Credential) == nil
		}
		if !member {
			return nil, rule.Break(rule.JoinBranch, "a key package is of no member")
		}
	}
	return g.found(g.id, groupID, nil, others, schedule.UsageBranch, now)
}

// found creates a group and its first commit with a resumption PSK of this one.
func (g *Group) found(id *Identity, groupID []byte, ext tree.Extensions, others []*message.KeyPackage, usage schedule.PSKUsage, now time.Time) (*Pending, error) {
	fresh, err := Create(g.cfg, id, groupID, ext, now)
	if err != nil {
		return nil, fmt.Errorf("found group: %w", err)
	}
	psk := schedule.PSKID{
		Type: schedule.PSKResumption, Usage: usage, GroupID: g.pub.context.GroupID,
		Epoch: g.pub.context.Epoch, Nonce: suite.Random(fresh.pub.s.HashSize()),
	}
	pending, err := fresh.commit(CommitOptions{Add: others}, &psk, g.psk, now)
	if err != nil {
		return nil, fmt.Errorf("found group: %w", err)
	}
	return pending, nil
}
