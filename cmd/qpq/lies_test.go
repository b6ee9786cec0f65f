package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"quicproquo/client"
	"quicproquo/client/vault"
	"quicproquo/cluster"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
	"quicproquo/nodeaddr"
	"quicproquo/testcluster"
	"quicproquo/testcluster/liar"
	"quicproquo/testcluster/roguemember"
)

// noOthers keeps people's programs at the node that lies.
const noOthers = "* health: empty\n"

// runLies runs scripts in which the node $LIAR lies, and members keep to no rule. They
// say what a person reads then. Commands:
//
//	lie RULE…                 what the node does from now on (package liar); honest ends it
//	breaks PROFILE TITLE ACT  the member does what its program would not: garbled, rename,
//	                          remove, close, aside
func runLies(t *testing.T, c *testcluster.Cluster) {
	front, err := liar.Start(t.Context(), liar.Options{Node: func() *testcluster.Node { return c.Node(0) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // when the scripts, which are parallel tests, have ended
		if err := errors.Join(front.Close(), front.Faults()); err != nil {
			t.Errorf("the lying node: %v", err)
		}
	})
	if err := front.Lie(noOthers); err != nil {
		t.Fatal(err)
	}
	secrets, err := cluster.LoadSecrets(c.Node(0).Dir())
	if err != nil {
		t.Fatal(err)
	}
	pin := secrets.Identity.Pin()
	play(t, c, "testdata/script/lies/*.txtar", func(env *testscript.Env) error {
		env.Setenv("LIAR", nodeaddr.Address{Endpoint: front.Address(), Pin: &pin}.String())
		return nil
	}, map[string]command{
		"lie": func(ts *testscript.TestScript, _ bool, rules []string) {
			script := noOthers
			for _, rule := range rules {
				script += rule + "\n"
			}
			ts.Check(front.Lie(script))
		},
		"honest": func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(front.Lie(noOthers)) },
		"breaks": func(ts *testscript.TestScript, _ bool, args []string) {
			if len(args) != 3 {
				ts.Fatalf("usage: breaks PROFILE TITLE ACT")
			}
			options := func() (client.Options, error) { // a socket for each client
				options, err := c.ClientOptions()
				return front.ClientOptions(options), err
			}
			ts.Check(breaks(options, ts.MkAbs(filepath.Join("data", "qpq", args[0])), ts.MkAbs("pass"), args[1], args[2]))
		},
	})
}

// breaks has the owner of a profile do in one of its groups what qpq would not.
func breaks(options func() (client.Options, error), dir, pass, title, act string) (err error) {
	passphrase, err := os.ReadFile(pass)
	if err != nil {
		return err
	}
	// A vault's key is zeroed when it has been used.
	key := func() vault.Key { return vault.Passphrase(bytes.TrimSpace(bytes.Clone(passphrase))) }
	m := &roguemember.Member{Dir: dir, Key: key, Open: func() (*client.Client, error) {
		to, err := options()
		if err != nil {
			return nil, err
		}
		return client.Open(client.Profile{Dir: dir, Key: key(), Options: to})
	}}
	if m.Client, err = m.Open(); err != nil {
		return err
	}
	grips, err := m.Take()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Client.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, g := range grips {
		if g.Row.Title == title {
			return acts[act](ctx, g)
		}
	}
	return errors.New("the member is in no group of that title")
}

// acts are what such a member does.
var acts = map[string]func(ctx context.Context, g *roguemember.Grip) error{
	"garbled": func(ctx context.Context, g *roguemember.Grip) error { return g.Say(ctx, []byte("no content")) },
	"aside":   func(ctx context.Context, g *roguemember.Grip) error { return g.LeadAside(ctx, 1, 3) }, // the first invited
	"rename":  func(ctx context.Context, g *roguemember.Grip) error { return g.Rename(ctx, "mine") },
	"remove": func(ctx context.Context, g *roguemember.Grip) error {
		return g.Propose(ctx, func(group *mls.Group) (*mls.Group, []byte, error) {
			return group.ProposeRemove(0, nil, time.Now()) // the founder
		})
	},
	"close": func(ctx context.Context, g *roguemember.Grip) error {
		return g.Propose(ctx, func(group *mls.Group) (*mls.Group, []byte, error) {
			return group.ProposeReInit(&wire.ReInit{GroupID: []byte("another"), Version: tree.MLS10, Suite: group.Public().Context().Suite}, nil, time.Now())
		})
	},
}
