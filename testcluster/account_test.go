package testcluster_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/crypto/account"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// person is somebody with an account and the password "right".
type person struct {
	name string
	key  ed25519.PrivateKey
}

func newPerson(tb testing.TB, name string) person {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return person{name, key}
}

func (p person) account() conn.AccountKey {
	return conn.AccountKey(p.key.Public().(ed25519.PublicKey))
}

func (p person) credentials() conn.Credentials {
	return conn.Credentials{Username: p.name, Password: []byte("right"), Account: p.account(), Key: p.key}
}

// connect opens a client of these nodes, all of them if none are named.
func connect(tb testing.TB, c *testcluster.Cluster, nodes ...*testcluster.Node) *conn.Conn {
	tb.Helper()
	caller, err := c.Client(nodes...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := caller.Close(); err != nil {
			tb.Errorf("close client: %v", err)
		}
	})
	return caller
}

// connectEach opens a client for each node.
func connectEach(tb testing.TB, c *testcluster.Cluster) (conns []*conn.Conn) {
	tb.Helper()
	for _, n := range c.Nodes() {
		conns = append(conns, connect(tb, c, n))
	}
	return conns
}

func within(tb testing.TB, d time.Duration) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), d)
	tb.Cleanup(cancel)
	return ctx
}

func register(tb testing.TB, caller *conn.Conn, p person) {
	tb.Helper()
	if _, err := caller.Register(within(tb, time.Minute), p.name, []byte("right"), p.key); err != nil {
		tb.Fatalf("register %s: %v", p.name, err)
	}
}

// set changes a cluster setting, once the cluster has reached the feature level that has
// brought it.
func set(t *testing.T, c *testcluster.Cluster, name string, value uint64) {
	t.Helper()
	ctx := within(t, time.Minute)
	fatal(t, testcluster.Await(ctx, "the setting "+name, func() error {
		_, result, err := c.LeaderT(t).Engine().Propose(ctx, testcluster.SettingEntry(name, value))
		switch {
		case err != nil:
			t.Fatalf("set %s: %v", name, err)
		case result.Code == schemas.Code_settingUnknown:
			return errors.New("it is not known yet")
		case result.Code != schemas.Code_ok:
			t.Fatalf("set %s: %s", name, result.Code)
		}
		return nil
	}))
	c.SameT(t)
}

// halfLogin is a login between its two steps.
type halfLogin struct {
	person                  person
	finalization, handshake []byte
}

func start(ctx context.Context, caller *conn.Conn, p person) (h halfLogin, err error) {
	h.person = p
	name, err := account.ParseUsername(p.name)
	if err != nil {
		return h, err
	}
	run, ke1, err := account.StartLogin(name, []byte("right"))
	if err != nil {
		return h, err
	}
	defer run.Close()
	var response []byte
	err = conn.Call(ctx, caller, conn.Request{Method: 10}, schemas.NewOpaqueLoginStartParams,
		func(q schemas.OpaqueLoginStartParams) error {
			return errors.Join(q.SetUsername(p.name), q.SetRequest(ke1))
		},
		func(r schemas.OpaqueLoginStartResults) error {
			raw, err := r.Response()
			if err != nil {
				return err
			}
			response = bytes.Clone(raw)
			raw, err = r.Handshake()
			h.handshake = bytes.Clone(raw)
			return err
		})
	if err != nil {
		return h, err
	}
	h.finalization, _, _, err = run.Finish(response)
	return h, err
}

func (h halfLogin) finish(ctx context.Context, caller *conn.Conn, id []byte) (token account.Token, err error) {
	key := h.person.account()
	err = conn.Call(ctx, caller, conn.Request{Method: 11, Write: true, ID: id}, schemas.NewOpaqueLoginFinishParams,
		func(p schemas.OpaqueLoginFinishParams) error {
			return errors.Join(p.SetUsername(h.person.name), p.SetFinalization(h.finalization),
				p.SetHandshake(h.handshake), p.SetIdentityKey(key[:]))
		},
		func(r schemas.OpaqueLoginFinishResults) error {
			raw, err := r.SessionToken()
			copy(token[:], raw)
			return err
		})
	return token, err
}

func wantCode(t *testing.T, what string, err error, want schemas.Code) {
	t.Helper()
	if got := conn.CodeOf(err); got != want {
		t.Errorf("%s: got %s %s (%v), want %s %s", what, got.ID(), got.Doc().Name, err, want.ID(), want.Doc().Name)
	}
}

func fixedID(b byte) []byte { return bytes.Repeat([]byte{b}, schemas.RequestIDSize) }

// An account that one node registered logs in through another; a login that began
// on one node ends on any, once; and the session is good on all of them.
func TestAccountOnAnyNode(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	conns := connectEach(t, c)
	alice := newPerson(t, "alice")
	register(t, conns[0], alice)
	ctx := within(t, time.Minute)

	conns[1].Observe(conns[0].Seen())
	h, err := start(ctx, conns[1], alice)
	if err != nil {
		t.Fatal(err)
	}
	var tokens []account.Token
	for i, caller := range []*conn.Conn{conns[2], conns[0], conns[1]} {
		token, err := h.finish(ctx, caller, fixedID(1))
		if err != nil {
			t.Fatalf("finish %d: %v", i, err)
		}
		tokens = append(tokens, token)
	}
	if tokens[0] != tokens[1] || tokens[1] != tokens[2] {
		t.Error("nodes make different tokens for the same request")
	}
	for _, caller := range conns {
		_, err := h.finish(ctx, caller, fixedID(2))
		wantCode(t, "the handshake again, for another request", err, schemas.Code_noPendingLogin)
	}
	for i, caller := range conns {
		caller.Observe(conns[2].Seen())
		caller.SetSession(&conn.Session{Token: tokens[0], Account: alice.account(), Key: alice.key})
		who, err := caller.Whoami(ctx)
		if err != nil || who.Username != "alice" || who.Account != alice.account() {
			t.Errorf("node %d: %+v, %v", i, who, err)
		}
	}
	c.SameT(t)
}

// Nodes that need the secrets of a new cluster at the same time agree on one
// setup.
func TestNodesAgreeOnTheSetup(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	name, err := account.ParseUsername("alice")
	if err != nil {
		t.Fatal(err)
	}
	run, request, err := account.StartRegistration(name, []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	var mu sync.Mutex
	answers := map[string]bool{}
	var calls sync.WaitGroup
	for _, caller := range connectEach(t, c) {
		for range 4 {
			calls.Go(func() {
				err := conn.Call(within(t, time.Minute), caller, conn.Request{Method: 8}, schemas.NewOpaqueRegisterStartParams,
					func(p schemas.OpaqueRegisterStartParams) error {
						return errors.Join(p.SetUsername("alice"), p.SetRequest(request))
					},
					func(r schemas.OpaqueRegisterStartResults) error {
						response, err := r.Response()
						mu.Lock()
						defer mu.Unlock()
						answers[string(response)] = true
						return err
					})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	calls.Wait()
	if len(answers) != 1 {
		t.Errorf("%d different answers for the same request", len(answers))
	}
}

// Attempts count wherever they are made: after ten starts over all nodes the name
// has to wait on each of them, for a time that the answer gives.
func TestFailureLimitHoldsAcrossNodes(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	conns := connectEach(t, c)
	nobody := newPerson(t, "nobody")
	for i := range 10 {
		_, err := start(within(t, time.Minute), conns[i%3], nobody)
		wantCode(t, "a start for a name without account", err, schemas.Code_internal) // what the OPAQUE client says
		if !errors.Is(err, account.ErrLoginFailed) {
			t.Fatalf("start %d: %v", i+1, err)
		}
	}
	seen := uint64(0)
	for _, caller := range conns {
		seen = max(seen, caller.Seen())
	}
	for i, caller := range conns {
		caller.Observe(seen)
		// A machine that is slow outlasts the first waits: each start that is let in
		// doubles the next.
		var err error
		for wait := 2 * time.Second; wait < time.Minute; wait *= 2 {
			if _, err = start(within(t, 500*time.Millisecond), caller, nobody); !errors.Is(err, account.ErrLoginFailed) {
				break
			}
			seen = max(seen, caller.Seen())
		}
		wantCode(t, "one start more", err, schemas.Code_rateLimited)
		var failure *conn.Error
		if errors.As(err, &failure) && (failure.RetryAfter <= 0 || failure.RetryAfter > time.Minute) {
			t.Errorf("node %d: retry after %v, want up to a minute", i, failure.RetryAfter)
		}
	}
	other := newPerson(t, "other")
	if _, err := start(within(t, time.Minute), conns[0], other); !errors.Is(err, account.ErrLoginFailed) {
		t.Errorf("another name: %v", err)
	}
}

// A session that was ended on one node is refused by the others to everybody who
// has seen its end, on bound connections too; so are those of a revoked device.
func TestEndedSessionsEndEverywhere(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	conns := connectEach(t, c)
	alice := newPerson(t, "alice")
	register(t, conns[0], alice)
	ctx := within(t, time.Minute)
	device := conn.DeviceID{1}
	owner := connect(t, c, c.Node(0))
	owner.Observe(conns[0].Seen())
	if _, _, err := owner.Login(ctx, alice.credentials()); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.RegisterDevice(ctx, conn.Device{ID: device}, nil); err != nil {
		t.Fatal(err)
	}
	for what, end := range map[string]func() error{
		"logout": func() error {
			_, err := conns[0].Logout(ctx, false)
			return err
		},
		"revoked device": func() error { return owner.RevokeDevice(ctx, device, alice.key) },
	} {
		who := alice.credentials()
		if what == "revoked device" {
			who.Device = device
		}
		conns[0].Observe(owner.Seen())
		session, _, err := conns[0].Login(ctx, who)
		if err != nil {
			t.Fatal(err)
		}
		for _, caller := range conns {
			caller.Observe(conns[0].Seen())
			caller.SetSession(session)
			if _, err := caller.Whoami(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := end(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		seen := max(owner.Seen(), conns[0].Seen())
		for _, caller := range conns {
			caller.SetSession(session)
			caller.Observe(seen)
			_, err := caller.Whoami(ctx)
			wantCode(t, what, err, schemas.Code_tokenInvalid)
		}
	}
}

// A login whose node, the leader, dies between its two steps ends on another one,
// and gives the same token however often its end is repeated.
func TestLoginSurvivesTheLeader(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader := c.LeaderT(t)
	alice := newPerson(t, "alice")
	first := connect(t, c, leader)
	register(t, first, alice)
	h, err := start(within(t, time.Minute), first, alice)
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	var tokens []account.Token
	for _, n := range c.Nodes() {
		if n == leader {
			continue
		}
		caller := connect(t, c, n)
		caller.Observe(first.Seen())
		token, err := h.finish(within(t, 30*time.Second), caller, fixedID(7))
		if err != nil {
			t.Fatalf("finish on %s: %v", n.ID(), err)
		}
		tokens = append(tokens, token)
	}
	if tokens[0] != tokens[1] {
		t.Error("the surviving nodes make different tokens")
	}
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	back := connect(t, c, leader)
	if token, err := h.finish(within(t, 30*time.Second), back, fixedID(7)); err != nil || token != tokens[0] {
		t.Errorf("the node that was killed: same token %v, %v", token == tokens[0], err)
	}
	c.SameT(t)
}

// A client whose node dies goes on as the same session: it binds the session to
// its next connection before its next call, also where tokens alone are worth
// nothing.
func TestSessionMovesWithTheClient(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	set(t, c, "bearer_tokens", 0)
	alice := newPerson(t, "alice")
	caller := connect(t, c)
	register(t, caller, alice)
	session, _, err := caller.Login(within(t, time.Minute), alice.credentials())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if who, err := caller.Whoami(within(t, time.Minute)); err != nil || who.Account != alice.account() {
			t.Fatalf("%+v, %v", who, err)
		}
		for _, n := range c.Nodes() {
			if n.Address() != caller.Endpoint() {
				continue
			}
			if err := n.Kill(); err != nil {
				t.Fatal(err)
			}
			if who, err := caller.Whoami(within(t, time.Minute)); err != nil || who.Account != alice.account() {
				t.Fatalf("after the loss of %s: %+v, %v", n.ID(), who, err)
			}
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
		}
		c.LeaderT(t)
	}
	thief := connect(t, c)
	thief.Observe(caller.Seen())
	thief.SetSession(&conn.Session{Token: session.Token, Account: session.Account})
	_, err = thief.Whoami(within(t, time.Minute))
	wantCode(t, "the token alone", err, schemas.Code_bindingRequired)
	_, forged, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	thief.SetSession(&conn.Session{Token: session.Token, Account: session.Account, Key: forged})
	_, err = thief.Whoami(within(t, time.Minute))
	wantCode(t, "the token and another key", err, schemas.Code_signatureInvalid)
	if _, err := caller.Logout(within(t, time.Minute), true); err != nil {
		t.Fatal(err)
	}
	caller.SetSession(session)
	_, err = caller.Whoami(within(t, time.Minute))
	wantCode(t, "the session after its end, on a new connection", err, schemas.Code_tokenInvalid)
}

// Whoever has registered is found on every node: one that is behind does not say that there
// is nobody of that name or key, and says who it is when it has caught up.
func TestNewcomersAreFoundOnEveryNode(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	behind, other := c.FollowersT(t)[0], c.FollowersT(t)[1]
	alice, carol := newPerson(t, "alice"), newPerson(t, "carol")
	asks := connect(t, c, behind)
	register(t, asks, alice)
	_, _, err := asks.Login(within(t, time.Minute), alice.credentials())
	fatal(t, err)
	c.Partition([]*testcluster.Node{behind}, []*testcluster.Node{other, c.LeaderT(t)})
	register(t, connect(t, c, other), carol)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if key, err := asks.ResolveUser(ctx, "carol"); err == nil || conn.Is(err, schemas.Code_accountNotFound) {
		t.Errorf("carol's name, on a node that is cut off: %x, %v; want an error that does not say that there is no carol", key, err)
	}
	if name, err := asks.ResolveIdentity(ctx, carol.account()); err == nil || conn.Is(err, schemas.Code_accountNotFound) {
		t.Errorf("carol's key, on a node that is cut off: %q, %v; want an error that does not say that there is no carol", name, err)
	}
	c.Heal()
	if key, err := asks.ResolveUser(within(t, time.Minute), "carol"); err != nil || key != carol.account() {
		t.Errorf("carol's name afterwards: %x, %v", key, err)
	}
	if name, err := asks.ResolveIdentity(within(t, time.Minute), carol.account()); err != nil || name != "carol" {
		t.Errorf("carol's key afterwards: %q, %v", name, err)
	}
	if _, err := asks.ResolveUser(within(t, time.Minute), "nobody"); !conn.Is(err, schemas.Code_accountNotFound) {
		t.Errorf("nobody's name: %v, want E053", err)
	}
}
