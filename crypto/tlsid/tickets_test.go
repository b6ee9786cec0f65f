package tlsid

import (
	"crypto/tls"
	"errors"
	"testing"
	"time"
)

// A client that comes back to a node resumes, and verifies again what the node has shown
// in the whole handshake. A ticket is good after a restart of its node, and worth nothing
// elsewhere, after the certificate was renewed, and after two periods. Between nodes there
// is no resumption.
func TestTickets(t *testing.T) {
	ours, theirs := newTestAuthority(t), newTestAuthority(t)
	secret := [32]byte{1}
	var now time.Time
	clock := func() time.Time { return now }
	pinned := func(a *Authority) *tls.Config { return PinnedDialConfig(a.Fingerprint(), clock) }
	authority := func(a *Authority) *tls.Config { return mustClientDial(t, a, clock) }
	serve := func(id *Identity, secret [32]byte) *tls.Config {
		return ServerConfig(id, ServerOptions{Now: clock, TicketSecret: secret})
	}
	type change struct {
		node    *Identity
		secret  [32]byte
		client  *tls.Config // nil: the same
		restart bool
		resumed bool
		refuse  bool
	}
	for name, dial := range map[string]func(*Authority) *tls.Config{"a pin": pinned, "an authority": authority} {
		for what, next := range map[string]func(t *testing.T, same change) change{
			"the same": func(_ *testing.T, c change) change { return c },
			"a node that was started anew": func(_ *testing.T, c change) change {
				c.restart = true
				return c
			},
			"another secret": func(_ *testing.T, c change) change {
				c.secret, c.resumed = [32]byte{2}, false
				return c
			},
			"another node with the same secret": func(t *testing.T, c change) change {
				c.node, c.resumed = newTestIdentity(t, ours, "n2"), false
				return c
			},
			"a renewed certificate": func(t *testing.T, c change) change {
				if err := c.node.Renew(ours, now); err != nil {
					t.Fatal(err)
				}
				c.resumed = false
				return c
			},
			"one period later": func(_ *testing.T, c change) change {
				now = now.Add(TicketPeriod)
				return c
			},
			"two periods later": func(_ *testing.T, c change) change {
				now, c.resumed = now.Add(2*TicketPeriod), false
				return c
			},
			"a client that trusts another cluster by now": func(_ *testing.T, c change) change {
				c.client, c.refuse = dial(theirs), true
				return c
			},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				now = testNow
				node := newTestIdentity(t, ours, "n1")
				first := serve(node, secret)
				client := dial(ours)
				client.ClientSessionCache = tls.NewLRUClientSessionCache(0)
				// A trust that does not tell the cluster's name finds the ticket, too.
				client.ServerName = "same"
				if _, _, s, c := handshake(t, first, client); s != nil || c != nil {
					t.Fatal(s, c)
				}
				then := next(t, change{node: node, secret: secret, resumed: true})
				if then.client != nil {
					then.client.ServerName, then.client.ClientSessionCache = client.ServerName, client.ClientSessionCache
					client = then.client
				}
				second := first
				if then.restart || then.node != node || then.secret != secret {
					second = serve(then.node, then.secret)
				}
				_, state, s, c := handshake(t, second, client)
				if err := errors.Join(s, c); (err != nil) != then.refuse {
					t.Fatalf("the second handshake: %v, want it refused: %t", err, then.refuse)
				}
				if !then.refuse && state.DidResume != then.resumed {
					t.Errorf("the second handshake resumed: %t, want %t", state.DidResume, then.resumed)
				}
				if !then.refuse && !state.PeerCertificates[0].Equal(then.node.Leaf()) {
					t.Error("the client has another certificate than the node's")
				}
			})
		}
	}
	t.Run("between nodes", func(t *testing.T) {
		now = testNow
		node, peer := newTestIdentity(t, ours, "n1"), newTestIdentity(t, ours, "n2")
		client := authority(ours)
		client.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		server := serve(node, secret)
		if _, _, s, c := handshake(t, server, client); s != nil || c != nil {
			t.Fatal(s, c)
		}
		config := mustNodeDial(t, peer, "n1", ALPNRaft, clock)
		config.ClientSessionCache, config.SessionTicketsDisabled = client.ClientSessionCache, false
		state, _, s, c := handshake(t, server, config)
		if s != nil || c != nil || state.DidResume || len(state.PeerCertificates) == 0 {
			t.Errorf("resumed: %t, certificates: %d, %v %v; want a whole handshake", state.DidResume, len(state.PeerCertificates), s, c)
		}
	})
}

// A node verifies its own chain when it gets it, and not in every handshake.
func TestOwnChainIsVerifiedOnce(t *testing.T) {
	node := newTestIdentity(t, newTestAuthority(t), "n1")
	server := ServerConfig(node, ServerOptions{Now: testClock})
	verify := testing.AllocsPerRun(10, func() { node.current.Load().certificate() })
	for _, alpn := range []string{ALPNClient, ALPNRaft, ALPNJoin} {
		hello := &tls.ClientHelloInfo{SupportedProtos: []string{alpn}}
		choose := testing.AllocsPerRun(10, func() {
			config, err := server.GetConfigForClient(hello)
			if err == nil && config.GetCertificate != nil {
				_, err = config.GetCertificate(hello)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		if choose > verify/2 {
			t.Errorf("%s: choosing a configuration makes %.0f objects, verifying the chain %.0f", alpn, choose, verify)
		}
	}
}
