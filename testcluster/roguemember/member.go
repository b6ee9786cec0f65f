// Package roguemember is a person whose client keeps to no rule: it has an account like
// any other, is in conversations like any other, and sends there, through the real
// server, whatever package rogue can make with the keys that its client has.
//
// It is for tests and for qpqchaos, and is never part of a program that people run.
package roguemember

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rogue"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Member is such a person. Open opens its profile, which must be closed then; Key opens
// its vault. Its client answers calls but processes nothing unless it is started.
type Member struct {
	Client *client.Client
	Dir    string
	Key    func() vault.Key
	Open   func() (*client.Client, error)
}

// Grip is what it holds of a conversation: the keys of one epoch.
type Grip struct {
	m      *Member
	group  *mls.Group
	member *rogue.Member
	Row    vault.Conversation
}

// config is what a client's group is loaded with.
func config() *mls.Config {
	return &mls.Config{Auth: groupstate.Authenticator{}, PrivateHandshake: true}
}

// Take reads the keys of the member's conversations from its vault: its client is closed
// and opened again. Those that it has no keys of are left out.
func (m *Member) Take() (list []*Grip, err error) {
	if err := m.Client.Close(); err != nil {
		return nil, fmt.Errorf("close the rogue's client: %w", err)
	}
	list, failed := m.read()
	if m.Client, err = m.Open(); err != nil {
		return nil, fmt.Errorf("open the rogue's client again: %w", err)
	}
	return list, failed
}

func (m *Member) read() (list []*Grip, err error) {
	v, err := vault.Open(m.Dir, m.Key())
	if err != nil {
		return nil, fmt.Errorf("open the rogue's vault: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	err = v.View(func(tx *vault.Tx) error {
		rows, err := tx.Conversations()
		if err != nil {
			return err
		}
		for _, row := range rows {
			saved, err := tx.Group(row.ID)
			if err != nil {
				return err
			}
			if saved == nil {
				continue
			}
			g := &Grip{m: m, Row: *row}
			if g.group, err = mls.UnmarshalParts(config(), saved.Fixed, saved.Moving); err != nil {
				return err
			}
			if g.member, err = rogue.Of(g.group); err != nil {
				return err
			}
			list = append(list, g)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the rogue's keys: %w", err)
	}
	return list, nil
}

// Identity is how the member is known in groups.
func (g *Grip) Identity() *mls.Identity { return g.group.Identity() }

// Epoch is the epoch whose keys these are.
func (g *Grip) Epoch() uint64 { return g.group.Epoch() }

// How says which way a commit goes.
type How uint8

// Ways of a commit.
const (
	// Published: it ends the epoch at the cluster, as a client's does.
	Published How = iota
	// Posted: it is put into the members' inboxes, and the cluster knows nothing of it.
	Posted
)

// Blow is one attack on a conversation.
type Blow struct {
	Kind    rogue.Kind
	Dice    rogue.Dice
	How     How
	Victim  conn.AccountKey // whose key packages the member takes for its welcomes
	Partner *mls.Identity   // who works with it from outside
	// Info is kept as the way back into the group by a published commit; nil: none.
	Info []byte
}

// Strike makes an attack and sends what it consists of. It returns how many messages
// went out: what the server refuses is no error, since that is an end of an attack.
func (g *Grip) Strike(ctx context.Context, b Blow) (sent int, err error) {
	var claimed error
	a := &rogue.Attack{Member: g.member, Dice: b.Dice, Now: time.Now(), Partner: b.Partner, Newcomer: func() *mls.KeyPackage {
		kp, err := g.m.claim(ctx, b.Victim)
		claimed = errors.Join(claimed, err)
		return kp
	}}
	shots := b.Kind.Make(a)
	if claimed != nil {
		return 0, fmt.Errorf("claim a key package of the victim: %w", claimed)
	}
	for _, s := range shots {
		switch {
		case s.Welcome != nil:
			err = g.post(ctx, s.Welcome, []conn.Delivery{{To: []conn.Recipient{{Account: b.Victim}}}})
		case s.GroupInfo != nil:
			err = g.post(ctx, s.GroupInfo, g.deliveries(s))
		case s.Commit != nil && b.How == Published:
			err = g.publish(ctx, s, b.Info)
		default:
			err = g.post(ctx, s.Message, g.deliveries(s))
		}
		var refused *conn.Error
		switch {
		case err == nil:
			sent++
		case !errors.As(err, &refused):
			return sent, fmt.Errorf("send an attack: %w", err)
		}
	}
	return sent, nil
}

// claim takes a key package of an account's first device, as an inviter does.
func (m *Member) claim(ctx context.Context, of conn.AccountKey) (*mls.KeyPackage, error) {
	list, err := m.Client.Conn().FetchKeyPackages(ctx, of, conn.DeviceID{}, nil)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("the account has none")
	}
	parsed, err := message.Parse(list[0].Package)
	if err != nil || parsed.KeyPackage == nil {
		return nil, errors.Join(err, errors.New("what the server gave is no key package"))
	}
	return &mls.KeyPackage{Public: parsed.KeyPackage}, nil
}

// proofLabel is what the secret that ends an epoch at the cluster is exported with
// (client/groupstate/return.go). With another the cluster refuses every commit from here.
const proofLabel = "qpq/1 commit"

// publish ends the epoch at the cluster with a commit.
func (g *Grip) publish(ctx context.Context, s rogue.Shot, info []byte) error {
	verifier := sha256.Sum256(s.Commit.Epoch.Export(g.member.Suite, proofLabel, g.group.ID(), sha256.Size))
	return g.offer(ctx, s.Message, verifier, g.deliveries(s), info)
}

// offer gives the cluster a commit.
func (g *Grip) offer(ctx context.Context, msg []byte, verifier [sha256.Size]byte, to []conn.Delivery, info []byte) error {
	commit := &conn.Commit{
		GroupID: g.group.ID(), Epoch: g.group.Epoch(), GroupInfo: info, RequestID: suite.Random(16), Deliveries: to,
		Proof:        g.member.Epoch.Export(g.member.Suite, proofLabel, g.group.ID(), sha256.Size),
		NextVerifier: verifier,
	}
	for i := range commit.Deliveries {
		commit.Deliveries[i].Payload = groupstate.Wrap(msg)
	}
	_, _, err := g.m.Client.Conn().PublishCommit(ctx, commit)
	return err
}

func (g *Grip) post(ctx context.Context, msg []byte, to []conn.Delivery) (err error) {
	for _, d := range to {
		batch := conn.Batch{Recipients: d.To, Channel: d.Channel, Payload: groupstate.Wrap(msg)}
		_, e := g.m.Client.Conn().BatchEnqueue(ctx, batch)
		err = errors.Join(err, e)
	}
	return err
}

// deliveries are where a message to the other members goes: in a DM to the channel's
// queues, else to inboxes.
func (g *Grip) deliveries(s rogue.Shot) []conn.Delivery {
	d := conn.Delivery{Channel: conn.ChannelID(g.Row.Channel)}
	for _, m := range g.group.Members() {
		c, err := groupstate.ParseCredential(m.Leaf.Credential)
		if err != nil || m.Index == g.group.Self() || s.Only != nil && !s.Only(m.Index) {
			continue
		}
		d.To = append(d.To, conn.Recipient{Account: c.Account, Device: c.Device})
	}
	if len(d.To) == 0 {
		return nil
	}
	return []conn.Delivery{d}
}

// Leaf is the leaf of an account in the group.
func (g *Grip) Leaf(of conn.AccountKey) (tree.LeafIndex, bool) {
	for _, m := range g.group.Members() {
		if c, err := groupstate.ParseCredential(m.Leaf.Credential); err == nil && conn.AccountKey(c.Account) == of {
			return m.Index, true
		}
	}
	return 0, false
}

// Commit ends the epoch with a commit that MLS allows, whatever the rules of the
// application say of who may make it. The grip stays at the epoch before.
func (g *Grip) Commit(ctx context.Context, opt mls.CommitOptions) error {
	made, err := g.group.Commit(opt, time.Now())
	if err != nil {
		return fmt.Errorf("make a commit: %w", err)
	}
	verifier, err := groupstate.Verifier(made.Next)
	if err != nil {
		return fmt.Errorf("make a commit: %w", err)
	}
	return g.offer(ctx, made.Commit, verifier, g.deliveries(rogue.Shot{}), nil)
}

// LeadAside sends one member n commits that the cluster never has. The grip stays where
// the others are.
func (g *Grip) LeadAside(ctx context.Context, victim tree.LeafIndex, n int) error {
	group, to := g.group, g.deliveries(rogue.Shot{Only: func(l tree.LeafIndex) bool { return l == victim }})
	for range n {
		made, err := group.Commit(mls.CommitOptions{}, time.Now())
		if err != nil {
			return fmt.Errorf("lead aside: %w", err)
		}
		if err := g.post(ctx, made.Commit, to); err != nil {
			return fmt.Errorf("lead aside: %w", err)
		}
		group = made.Next
	}
	return nil
}

// Rename has the group bear another title from the next epoch on.
func (g *Grip) Rename(ctx context.Context, title string) error {
	extensions := g.group.Public().Context().Extensions
	data, err := groupstate.DataOf(extensions)
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	data.Title = title
	extensions = data.Extensions(extensions)
	return g.Commit(ctx, mls.CommitOptions{Extensions: &extensions})
}

// Propose sends a proposal that MLS allows, made by one of the group's methods.
func (g *Grip) Propose(ctx context.Context, propose func(*mls.Group) (*mls.Group, []byte, error)) error {
	_, msg, err := propose(g.group)
	if err != nil {
		return fmt.Errorf("propose: %w", err)
	}
	return g.post(ctx, msg, g.deliveries(rogue.Shot{}))
}

// Say is something right that the member says with the keys that it holds.
func (g *Grip) Say(ctx context.Context, data []byte) error {
	c := &message.Content{Type: message.ContentApplication, Application: data}
	msg, _ := g.member.Frame(c, rogue.Frame{Wire: message.WirePrivate})
	return g.post(ctx, msg, g.deliveries(rogue.Shot{}))
}
