package client

import (
	"bytes"
	"crypto/ed25519"
	"path/filepath"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/internal/scripted"
	"quicproquo/client/vault"
	"quicproquo/crypto/account"
	"quicproquo/schemas"
)

// scriptedOptions leads a client to scripted nodes.
func scriptedOptions(nodes *scripted.Cluster) Options {
	return Options{Endpoints: nodes.Endpoints, TLS: nodes.TLS, PacketConn: nodes.Socket(), Resolve: scripted.Resolve}
}

// scriptedSession is one that scripted nodes take.
func scriptedSession() *conn.Session {
	return &conn.Session{Token: account.Token{1}, Account: AccountKey{1}, Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
}

// wantingName is a client with a session that wants to know one account's name.
func wantingName(nodes *scripted.Cluster) *Client {
	t := nodes.T
	c, err := Create(Profile{
		Dir: filepath.Join(t.TempDir(), "vault"), Key: vault.Raw(bytes.Repeat([]byte{1}, 32)), Options: scriptedOptions(nodes),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.conn.SetSession(scriptedSession())
	if err := c.turn(func(turn *turn) error { return turn.wantName(AccountKey{7}) }); err != nil {
		t.Fatal(err)
	}
	return c
}

// closed closes a client and says if that failed.
func closed(t testing.TB, c *Client) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Upkeep asks for the names that a batch of messages needs: whoever is about to show
// the batch waits for the same answers, and does not show keys in place of names.
func TestNamesAskedForByAnother(t *testing.T) {
	script := func(r scripted.Request) scripted.Reply {
		if r.Method == scripted.BindSession {
			return scripted.Reply{}
		}
		return scripted.Reply{Code: schemas.Code_accountNotFound, Delay: time.Second}
	}
	scripted.Run(t, 1, script, func(nodes *scripted.Cluster) {
		t := nodes.T
		c := wantingName(nodes)
		defer closed(t, c)
		go c.learnNames(t.Context()) // as upkeep does
		time.Sleep(time.Second / 2)
		if got := nodes.Methods(); scripted.Count(got, scripted.ResolveIdentity) != 1 {
			t.Fatalf("calls before the answer: %v, want one for a name", got)
		}
		c.learnNames(t.Context()) // as the inbox does
		asked, err := c.listNameless()
		if err != nil || len(asked) != 0 {
			t.Errorf("still asked for: %x (%v); want none", asked, err)
		}
	})
}

// A node that takes longer for a name than its reader is made to wait has the name asked
// for by upkeep, and not only with the next batch, which may be long in coming.
func TestNamesOfASlowNode(t *testing.T) {
	script := func(r scripted.Request) scripted.Reply {
		if r.Method == scripted.BindSession {
			return scripted.Reply{}
		}
		return scripted.Reply{Code: schemas.Code_accountNotFound, Delay: nameWait + time.Second}
	}
	scripted.Run(t, 1, script, func(nodes *scripted.Cluster) {
		t := nodes.T
		c := wantingName(nodes)
		defer closed(t, c)
		c.learnNames(t.Context())
		if !c.manyNameless.Swap(false) {
			t.Fatal("nobody asks again for a name that was late")
		}
		c.learnMany(t.Context()) // as upkeep does then
		if asked, err := c.listNameless(); err != nil || len(asked) != 0 {
			t.Errorf("still asked for: %x (%v); want none", asked, err)
		}
	})
}
