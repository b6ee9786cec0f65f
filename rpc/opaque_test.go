package rpc

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"quicproquo/crypto/account"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

func putSecret(tb testing.TB, n *accountNode, version uint64, setup *account.Setup, kek tlsid.ClusterKey) {
	tb.Helper()
	result := n.write(tb, func(to schemas.Entry_command) error {
		p, err := to.NewPutSecret()
		if err != nil {
			return err
		}
		p.SetVersion(version)
		return errors.Join(p.SetName(secretOPAQUE), p.SetWrapped(setup.Wrap(kek)))
	})
	if result.Code != schemas.Code_ok {
		tb.Fatalf("put secret: %s", result.Code)
	}
}

// Two nodes that need the setup of a new cluster at once make one between them,
// and answer alike from then on.
func TestSetupIsMadeOnce(t *testing.T) {
	node := newAccountNode(t)
	var doors []*door
	for range 2 {
		doors = append(doors, openDoor(t, NewServer(node, Options{ClusterKey: accountKEK})))
	}
	request := ke1(t, "alice")[:32]
	var mu sync.Mutex
	answers := map[string]int{}
	var calls sync.WaitGroup
	for i := range 16 {
		qc := doors[i%2].dial(t)
		calls.Go(func() {
			r := callRaw(t, qc, 8, nil, schemas.NewOpaqueRegisterStartParams, func(p schemas.OpaqueRegisterStartParams) error {
				return errors.Join(p.SetUsername("alice"), p.SetRequest(request))
			})
			response, err := schemas.OpaqueRegisterStartResults(r.results).Response()
			if err != nil || r.failure.code != schemas.Code_ok {
				t.Errorf("%s, %v", r.failure.code, err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[string(response)]++
		})
	}
	calls.Wait()
	if len(answers) != 1 {
		t.Errorf("%d different answers for one request", len(answers))
	}
	view, err := node.View()
	must(t, err)
	defer func() { must(t, view.Close()) }()
	version, wrapped, err := view.Secret(secretOPAQUE)
	must(t, err)
	if version != 1 || len(wrapped) != account.WrappedSetupSize {
		t.Errorf("the secret has version %d and %d bytes", version, len(wrapped))
	}
}

// A login that began before the handshake key was rotated ends after it, and one
// that comes later is sealed under the new key. A node that has not looked at the
// new key yet looks when it is needed.
func TestSetupRotates(t *testing.T) {
	d := openAccounts(t)
	stale := NewServer(d.node, Options{ClusterKey: accountKEK, Limits: Limits{Rates: Off}})
	stale.opaque.trust = time.Hour
	old := openDoor(t, stale).dial(t)
	setup := account.NewSetup()
	putSecret(t, d.node, 1, setup, accountKEK)
	alice := d.register(t, "alice")
	qc := d.dial(t)
	before, later := begun(t, qc, alice, "right"), begun(t, old, alice, "right")
	putSecret(t, d.node, 2, setup.Rotate(), accountKEK)
	d.server.opaque.mu.Lock()
	d.server.opaque.trust = 0
	d.server.opaque.mu.Unlock()
	if got := before.call(t, qc, nil).failure.code; got != schemas.Code_ok {
		t.Errorf("a login across the rotation: %s", got)
	}
	after := begun(t, qc, alice, "right")
	if bytes.Equal(before.handshake[1:5], after.handshake[1:5]) {
		t.Error("the handshake is sealed under the old key")
	}
	if got := begun(t, old, alice, "right"); !bytes.Equal(got.handshake[1:5], before.handshake[1:5]) {
		t.Fatal("the node has looked already: this test shows nothing")
	}
	if got := after.call(t, old, nil).failure.code; got != schemas.Code_ok {
		t.Errorf("a login under a key that the node has not looked at: %s", got)
	}
	if got := later.call(t, qc, nil).failure.code; got != schemas.Code_ok {
		t.Errorf("a login of such a node elsewhere: %s", got)
	}
}

// A setup of the same version that is another one, as after a restore from a
// backup, replaces the one in memory.
func TestSetupIsReadAgain(t *testing.T) {
	server := NewServer(newAccountNode(t), Options{ClusterKey: accountKEK})
	a, b := account.NewSetup(), account.NewSetup()
	wrapped := a.Wrap(accountKEK)
	first, err := server.opaque.serve(1, wrapped)
	must(t, err)
	again, err := server.opaque.serve(1, bytes.Clone(wrapped))
	must(t, err)
	if first != again {
		t.Error("the same setup was opened twice")
	}
	other, err := server.opaque.serve(1, b.Wrap(accountKEK))
	must(t, err)
	if other.PublicKey() == first.PublicKey() {
		t.Error("another setup of the same version is not noticed")
	}
	if _, err := server.opaque.serve(2, wrapped); !errors.Is(err, account.ErrSetup) {
		t.Errorf("version 1 kept as version 2: got %v, want %v", err, account.ErrSetup)
	}
}

// A node with another cluster key, or with none, serves no logins: it says so to
// its operator, sends clients elsewhere, and prints no secret.
func TestSetupUnderAnotherKey(t *testing.T) {
	var log lockedBuffer
	node := newAccountNode(t)
	putSecret(t, node, 1, account.NewSetup(), tlsid.ClusterKey{9})
	for what, c := range map[string]struct {
		key  tlsid.ClusterKey
		want schemas.Code
	}{"another key": {accountKEK, schemas.Code_storage}, "no key": {tlsid.ClusterKey{}, schemas.Code_internal}} {
		server := NewServer(node, Options{ClusterKey: c.key, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		qc := openDoor(t, server).dial(t)
		got := startLogin(t, qc, "alice", ke1(t, "alice"), nil).failure
		if got.code != c.want || got.code.Doc().Retry != schemas.Retry_elsewhere {
			t.Errorf("%s: got %s, want %s", what, got.code, c.want)
		}
		if strings.Contains(got.message, "key") && !strings.Contains(got.message, "Fault") {
			t.Errorf("%s: the client is told %q", what, got.message)
		}
	}
	for _, words := range []string{"wrong cluster key", "without the cluster key"} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("the log does not say %q:\n%s", words, log.String())
		}
	}
	if strings.Contains(log.String(), "[1 2 3") {
		t.Error("the log has the key")
	}
}

// lockedBuffer is a log that a test reads while a server may write it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
