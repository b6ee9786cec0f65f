package mls

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
)

// Encrypt protects application data (RFC 9420 §15). Save the returned group before the
// message is sent: its ratchet has moved, and a key must not be used twice.
func (g *Group) Encrypt(data, authenticatedData []byte) (*Group, []byte, error) {
	if err := g.checkActive(); err != nil {
		return g, nil, err
	}
	if len(g.pub.proposals) > 0 && !g.cfg.SendWithPending {
		return g, nil, rule.Break(rule.SendPending, "%d proposals wait", len(g.pub.proposals))
	}
	content := &message.Content{
		GroupID: g.pub.context.GroupID, Epoch: g.pub.context.Epoch, Sender: message.Member(g.priv.Self),
		AuthenticatedData: authenticatedData, Type: message.ContentApplication, Application: data,
	}
	auth, err := message.Sign(g.id.Signer, message.WirePrivate, content, g.pub.context)
	if err != nil {
		return g, nil, err
	}
	next, msg, err := g.frame(auth)
	if err != nil {
		return g, nil, fmt.Errorf("encrypt: %w", err)
	}
	return next, msg, nil
}

// frame protects a signed content in its wire format and remembers it as ours.
func (g *Group) frame(auth *message.Authenticated) (*Group, []byte, error) {
	s, m := g.pub.s, &message.Message{}
	next := *g
	if auth.Wire() == message.WirePublic {
		var key []byte
		if g.epoch != nil {
			key = g.epoch.MembershipKey
		}
		m.Public = auth.Public(s, key, g.pub.context)
	} else {
		content := auth.Content()
		key, rest, err := g.secrets.Next(g.priv.Self, content.Type.Kind())
		if err != nil {
			return nil, nil, err
		}
		next.secrets = rest
		m.Private, err = auth.Private(s, key, g.epoch.SenderData, g.cfg.padding(len(content.Application)))
		key.Key.Zero()
		key.Nonce.Zero()
		if err != nil {
			return nil, nil, err
		}
	}
	msg := codec.Marshal(m)
	return next.remember(msg), msg, nil
}
