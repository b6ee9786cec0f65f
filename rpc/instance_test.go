package rpc

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"

	client "quicproquo/client/conn"
	"quicproquo/cluster"
	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// copied is a device whose keys exist more than once.
type copied struct {
	accountDoor
	t     *testing.T
	key   ed25519.PrivateKey // the device's
	who   client.AccountKey
	id    client.DeviceID
	token []byte
}

func newCopied(t *testing.T, d accountDoor) *copied {
	t.Helper()
	alice := d.register(t, "alice")
	c := &copied{accountDoor: d, t: t, key: newKey(t), who: alice.public(), id: client.DeviceID{7}}
	owner := d.login(t, alice.as())
	_, err := owner.RegisterDevice(t.Context(), client.Device{ID: c.id, Key: c.key.Public().(ed25519.PublicKey)}, alice.key)
	must(t, err)
	as := alice.as()
	as.Device, as.Key = c.id, c.key
	token := d.login(t, as).Session().Token
	c.token = token[:]
	return c
}

// binds names an instance on a connection, signed by a key; the answer's value is the
// one that is remembered then, or the one that is in the way.
func (c *copied) binds(qc *quic.Conn, by ed25519.PrivateKey, instance uint64, held ...uint64) answer {
	c.t.Helper()
	signature, err := identity.Instance(c.who, c.id[:], instance, held).Sign(by)
	must(c.t, err)
	got := callRaw(c.t, qc, 27, nil, schemas.NewBindSessionParams, func(p schemas.BindSessionParams) error {
		p.SetInstance(instance)
		list, err := p.NewHeld(int32(len(held)))
		must(c.t, err)
		for i, h := range held {
			list.Set(i, h)
		}
		return errors.Join(p.SetSessionToken(c.token), p.SetSignature(signed(c.t, qc, c.token, c.key)), p.SetInstanceSignature(signature))
	})
	if got.failure.code == schemas.Code_ok {
		got.failure.value = schemas.BindSessionResults(got.results).Instance()
	}
	return got.failure
}

func (c *copied) wants(what string, got answer, code schemas.Code, value uint64) {
	c.t.Helper()
	if got.code != code || got.value != value {
		c.t.Errorf("%s: got %s, value %d; want %s, %d", what, got.code.ID(), got.value, code.ID(), value)
	}
}

// Of two copies of a device's keys the second to begin is told so at its first call, and
// the first at its next one, if the other goes on in its place.
func TestOneCopyOfADevicesKeys(t *testing.T) {
	c := newCopied(t, openAccounts(t))
	first, more, second := c.dial(t), c.dial(t), c.dial(t)
	c.wants("the first instance of a device", c.binds(first, c.key, 5), schemas.Code_ok, 5)
	c.wants("a further connection of it", c.binds(more, c.key, 5), schemas.Code_ok, 5)
	before := c.node.digest()
	c.wants("a copy that holds another", c.binds(second, c.key, 6, 3, 4), schemas.Code_instanceReplaced, 5)
	c.wants("a copy that holds none", c.binds(second, c.key, 6), schemas.Code_instanceReplaced, 5)
	if got := bind(t, second, c.token, signed(t, second, c.token, c.key)); got.code != schemas.Code_instanceReplaced || got.value != 5 {
		t.Errorf("a copy that says nothing: got %s, value %d; want E077, 5", got.code.ID(), got.value)
	}
	if c.node.digest() != before {
		t.Error("a copy that is refused fills the log")
	}
	c.wants("the refused copy's connection", whoamiRaw(t, second, nil), schemas.Code_tokenMissing, 0)
	c.node.set(t, "bearer_tokens", 2)
	c.wants("its session by the token alone", whoamiRaw(t, second, bearer(t, c.token)), schemas.Code_instanceReplaced, 5)
	c.wants("the first, meanwhile", whoamiRaw(t, first, nil), schemas.Code_ok, 0)

	c.wants("a copy that holds it", c.binds(second, c.key, 6, 4, 5), schemas.Code_ok, 6)
	c.wants("the first, then", whoamiRaw(t, first, nil), schemas.Code_instanceReplaced, 6)
	c.wants("its further connection", whoamiRaw(t, more, nil), schemas.Code_instanceReplaced, 6)
	c.wants("and a new one", c.binds(c.dial(t), c.key, 5, 4), schemas.Code_instanceReplaced, 6)
	c.wants("the second", whoamiRaw(t, second, nil), schemas.Code_ok, 0)
	c.wants("the second's connection, with its next one", c.binds(second, c.key, 8, 6), schemas.Code_ok, 8)
	c.wants("a call on it", whoamiRaw(t, second, nil), schemas.Code_ok, 0)
}

// A device's instance is what its key has signed, and nothing else.
func TestInstanceIsSigned(t *testing.T) {
	c := newCopied(t, openAccounts(t))
	qc := c.dial(t)
	before := c.node.digest()
	c.wants("signed by another key", c.binds(qc, newKey(t), 5), schemas.Code_signatureInvalid, 0)
	c.wants("17 of them", c.binds(qc, c.key, 5, make([]uint64, 17)...), schemas.Code_listTooLong, 16)
	if c.node.digest() != before {
		t.Error("what is refused at the door was written")
	}
}

// laggingNode answers from a state that follows the log when it is asked to only. mu
// guards what stands under it.
type laggingNode struct {
	*accountNode              // what it has applied
	log          *accountNode // what all have written

	mu      sync.Mutex
	lags    bool
	missing [][]byte
	fails   error
}

// will sets whether the node lags, and how proposals fail.
func (n *laggingNode) will(lag bool, fail error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lags, n.fails = lag, fail
}

func (n *laggingNode) Propose(ctx context.Context, entry []byte) (uint64, fsm.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails != nil {
		return 0, fsm.Result{}, n.fails
	}
	index, result, err := n.log.Propose(ctx, entry)
	n.missing = append(n.missing, entry)
	if !n.lags {
		err = errors.Join(err, n.follow(ctx))
	}
	return index, result, err
}

func (n *laggingNode) Linearize(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.follow(ctx)
}

// follow applies what is missing. Callers hold mu.
func (n *laggingNode) follow(ctx context.Context) error {
	for _, entry := range n.missing {
		if _, _, err := n.accountNode.Propose(ctx, entry); err != nil {
			return err
		}
	}
	n.missing = nil
	return nil
}

func openLagging(t *testing.T) (*laggingNode, accountDoor) {
	t.Helper()
	n := &laggingNode{accountNode: newAccountNode(t), log: newAccountNode(t)}
	return n, accountDoor{openDoor(t, NewServer(n, Options{ClusterKey: accountKEK, Limits: Limits{Rates: Off}})), n.log}
}

// A node that lags refuses nobody on what it has applied: the log decides.
func TestInstanceOnALaggingNode(t *testing.T) {
	n, door := openLagging(t)
	c := newCopied(t, door)
	c.wants("the first", c.binds(c.dial(t), c.key, 5), schemas.Code_ok, 5)
	n.will(true, nil)
	c.wants("its next, unseen here", c.binds(c.dial(t), c.key, 6, 5), schemas.Code_ok, 6)
	c.wants("the one after that", c.binds(c.dial(t), c.key, 7, 6), schemas.Code_ok, 7)
	c.wants("a copy of the first, whose place here seems free", c.binds(c.dial(t), c.key, 8, 5), schemas.Code_instanceReplaced, 7)
}

// A cluster whose nodes do not all know instances lets a session be bound as before, and
// says that it remembers nothing; an unknown outcome is no binding.
func TestInstanceOnAnOldCluster(t *testing.T) {
	n, door := openLagging(t)
	c := newCopied(t, door)
	qc := c.dial(t)
	n.will(false, cluster.ErrUnknownOutcome)
	c.wants("an unknown outcome", c.binds(qc, c.key, 5), schemas.Code_unavailable, 0)
	c.wants("a call afterwards", whoamiRaw(t, qc, nil), schemas.Code_tokenMissing, 0)
	n.will(false, cluster.ErrFeatureLevel)
	c.wants("a node that does not know", c.binds(qc, c.key, 5), schemas.Code_ok, 0)
	c.wants("a call then", whoamiRaw(t, qc, nil), schemas.Code_ok, 0)
}
