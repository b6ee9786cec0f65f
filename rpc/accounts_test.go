package rpc

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/quic-go/quic-go"

	client "quicproquo/client/conn"
	"quicproquo/crypto/account"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// accountNode is a node that is a cluster of its own: a real store, and a log
// that is as long as the last entry. It stamps with a clock that a test moves.
// mu serializes proposals.
type accountNode struct {
	store *fsm.Store

	mu       sync.Mutex
	skew     time.Duration // of log time
	inLog    time.Duration // spent in Propose
	proposed int           // bytes
}

// setSkew moves the clock of the log.
func (n *accountNode) setSkew(skew time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.skew = skew
}

func newAccountNode(tb testing.TB) *accountNode {
	tb.Helper()
	store, err := fsm.Open(fsm.Options{Dir: "store", FS: vfs.NewMem()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Errorf("close store: %v", err)
		}
	})
	return &accountNode{store: store}
}

func (n *accountNode) Propose(_ context.Context, entry []byte) (uint64, fsm.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer func(began time.Time) { n.inLog += time.Since(began) }(time.Now())
	n.proposed += len(entry)
	if _, err := fsm.Command(entry); err != nil {
		return 0, fsm.Result{}, err
	}
	sealed, err := schemas.SealBatch(uint64(time.Now().Add(n.skew).UnixMilli()), [][]byte{entry})
	if err != nil {
		return 0, fsm.Result{}, err
	}
	index := n.store.Index() + 1
	results, err := n.store.Apply([]fsm.Log{{Index: index, Data: sealed}})
	if err != nil {
		return 0, fsm.Result{}, err
	}
	return index, results[0][0], nil
}

func (n *accountNode) Index() uint64 { return n.store.Index() }
func (n *accountNode) WaitSeen(ctx context.Context, index uint64) error {
	return n.store.Wait(ctx, index)
}
func (n *accountNode) Linearize(context.Context) error { return nil }
func (n *accountNode) View() (*fsm.View, error) {
	view, err := n.store.View()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil { // the cluster's clock is right, or ahead with the log's
		view.JudgeAt(uint64(time.Now().Add(max(n.skew, 0)).UnixMilli()))
	}
	return view, err
}
func (n *accountNode) Watch(queue fsm.QueueID) *fsm.Watch { return n.store.Watch(queue) }
func (n *accountNode) WatchDevice(owner fsm.AccountKey, device fsm.DeviceID) *fsm.Watch {
	return n.store.WatchDevice(owner, device)
}
func (n *accountNode) Health() Health { return Health{State: StateOK} }

// write proposes a command of the node's own, as an operator does.
func (n *accountNode) write(tb testing.TB, fill func(schemas.Entry_command) error) fsm.Result {
	tb.Helper()
	entry, err := schemas.BuildEntry(newRequestID(), schemas.Caller{Kind: schemas.Actor_Kind_node}, fill)
	if err != nil {
		tb.Fatal(err)
	}
	_, result, err := n.Propose(tb.Context(), entry)
	if err != nil {
		tb.Fatal(err)
	}
	return result
}

// set changes a cluster setting.
func (n *accountNode) set(tb testing.TB, name string, value uint64) {
	tb.Helper()
	result := n.write(tb, func(to schemas.Entry_command) error {
		p, err := to.NewChangeSettings()
		if err != nil {
			return err
		}
		list, err := p.NewSettings(1)
		if err != nil {
			return err
		}
		list.At(0).SetValue(value)
		return list.At(0).SetName(name)
	})
	if result.Code != schemas.Code_ok {
		tb.Fatalf("set %s: %s", name, result.Code)
	}
}

// digest reports whether anything was written.
func (n *accountNode) digest() fsm.Mark { return n.store.Digest() }

var accountKEK = tlsid.ClusterKey{1, 2, 3}

// accountDoor is a door in front of a cluster of one.
type accountDoor struct {
	*door
	node *accountNode
}

func openAccounts(tb testing.TB) accountDoor {
	tb.Helper()
	node := newAccountNode(tb)
	return accountDoor{openDoor(tb, NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{Rates: Off}})), node}
}

// person is somebody with an account.
type person struct {
	name string
	key  ed25519.PrivateKey
}

func (p *person) public() client.AccountKey {
	return client.AccountKey(p.key.Public().(ed25519.PublicKey))
}

func newKey(tb testing.TB) ed25519.PrivateKey {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// register makes an account with the password "right".
func (d accountDoor) register(tb testing.TB, name string) *person {
	tb.Helper()
	p := &person{name, newKey(tb)}
	if _, err := d.client(tb).Register(tb.Context(), name, []byte("right"), p.key); err != nil {
		tb.Fatalf("register %s: %v", name, err)
	}
	return p
}

// as are the credentials of a session of the account that is bound.
func (p *person) as() client.Credentials {
	return client.Credentials{Username: p.name, Password: []byte("right"), Account: p.public(), Key: p.key}
}

// login opens a client with a session.
func (d accountDoor) login(tb testing.TB, who client.Credentials) *client.Conn {
	tb.Helper()
	c := d.client(tb)
	session, _, err := c.Login(tb.Context(), who)
	if err == nil && session.Seen == 0 {
		err = errors.New("the session does not say what a node must have seen to know it")
	}
	if err != nil {
		tb.Fatalf("log in %s: %v", who.Username, err)
	}
	return c
}

// wantCode fails unless err is the code.
func wantCode(tb testing.TB, what string, err error, want schemas.Code) {
	tb.Helper()
	if got := client.CodeOf(err); got != want {
		tb.Errorf("%s: got %s %s (%v), want %s %s", what, got.ID(), got.Doc().Name, err, want.ID(), want.Doc().Name)
	}
}

// raw is a response as it came, and the struct of its results.
type raw struct {
	frame   []byte
	failure answer // code ok for results
	results capnp.Struct
}

// callRaw makes a call below the client library.
func callRaw[P ~capnp.StructKind](
	tb testing.TB, qc *quic.Conn, method uint16, id []byte, newParams func(*capnp.Segment) (P, error), fill func(P) error,
) raw {
	tb.Helper()
	s := openStream(tb, qc, frameWith(tb, method, id, newParams, fill))
	defer s.CancelRead(0)
	must(tb, s.Close())
	frame, err := schemas.ReadFrame(s, schemas.MaxResponse, nil)
	if err != nil {
		tb.Fatalf("method %d: no response: %v", method, err)
	}
	return parseRaw(tb, frame)
}

func frameWith[P ~capnp.StructKind](
	tb testing.TB, method uint16, id []byte, newParams func(*capnp.Segment) (P, error), fill func(P) error,
) []byte {
	tb.Helper()
	return frameMarked(tb, false, method, id, newParams, fill)
}

// frameMarked is frameWith for a request that may say that it is the first of its
// id.
func frameMarked[P ~capnp.StructKind](
	tb testing.TB, first bool, method uint16, id []byte, newParams func(*capnp.Segment) (P, error), fill func(P) error,
) []byte {
	tb.Helper()
	return frameOf(tb, method, func(r schemas.Request) {
		must(tb, r.SetRequestId(id))
		r.SetFirst(first && len(id) != 0)
		params, err := newParams(r.Segment())
		must(tb, err)
		must(tb, fill(params))
		must(tb, r.SetParams(capnp.Struct(params).ToPtr()))
	})
}

func parseRaw(tb testing.TB, frame []byte) raw {
	tb.Helper()
	msg, err := schemas.Unmarshal(frame)
	must(tb, err)
	response, err := schemas.ReadRootResponse(msg)
	must(tb, err)
	r := raw{frame: frame}
	if response.Which() == schemas.Response_Which_error {
		failure, err := response.Error()
		must(tb, err)
		message, err := failure.Message_()
		must(tb, err)
		r.failure = answer{code: failure.Code(), message: message, value: failure.Value(), after: failure.RetryAfterMs()}
		return r
	}
	ptr, err := response.Results()
	must(tb, err)
	r.results = ptr.Struct()
	return r
}

// started is the answer to a login's start.
type started struct {
	raw
	response, handshake []byte
}

func startLogin(tb testing.TB, qc *quic.Conn, name string, ke1, id []byte) started {
	tb.Helper()
	s := started{raw: callRaw(tb, qc, 10, id, schemas.NewOpaqueLoginStartParams, func(p schemas.OpaqueLoginStartParams) error {
		return errors.Join(p.SetUsername(name), p.SetRequest(ke1))
	})}
	if s.failure.code == schemas.Code_ok {
		var err error
		s.response, err = schemas.OpaqueLoginStartResults(s.results).Response()
		must(tb, err)
		s.handshake, err = schemas.OpaqueLoginStartResults(s.results).Handshake()
		must(tb, err)
		s.response, s.handshake = bytes.Clone(s.response), bytes.Clone(s.handshake)
	}
	return s
}

// finish is what a login ends with.
type finish struct {
	name                    string
	finalization, handshake []byte
	key, device             []byte
}

func (f *finish) fill(p schemas.OpaqueLoginFinishParams) error {
	return errors.Join(p.SetUsername(f.name), p.SetFinalization(f.finalization), p.SetIdentityKey(f.key),
		p.SetHandshake(f.handshake), p.SetDeviceId(f.device))
}

func (f *finish) call(tb testing.TB, qc *quic.Conn, id []byte) raw {
	tb.Helper()
	return callRaw(tb, qc, 11, id, schemas.NewOpaqueLoginFinishParams, f.fill)
}

func tokenIn(tb testing.TB, r raw) []byte {
	tb.Helper()
	token, err := schemas.OpaqueLoginFinishResults(r.results).SessionToken()
	must(tb, err)
	return bytes.Clone(token)
}

// begun is a login whose client has yet to send its end.
func begun(tb testing.TB, qc *quic.Conn, p *person, password string) finish {
	tb.Helper()
	run, ke1, err := account.StartLogin(mustName(tb, p.name), []byte(password))
	must(tb, err)
	s := startLogin(tb, qc, p.name, ke1, nil)
	if s.failure.code != schemas.Code_ok {
		tb.Fatalf("start login of %s: %s", p.name, s.failure.code)
	}
	finalization, _, _, err := run.Finish(s.response)
	must(tb, err)
	public := p.public()
	return finish{name: p.name, finalization: finalization, handshake: s.handshake, key: public[:]}
}

func mustName(tb testing.TB, s string) account.Username {
	tb.Helper()
	name, err := account.ParseUsername(s)
	must(tb, err)
	return name
}

// ke1 is a start with some password; nobody finishes it.
func ke1(tb testing.TB, name string) []byte {
	tb.Helper()
	run, request, err := account.StartLogin(mustName(tb, name), []byte("guess"))
	must(tb, err)
	run.Close()
	return request
}
