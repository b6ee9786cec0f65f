package rpc

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// storeNode is a cluster of one without raft: a real store, which applies what
// is proposed at once. mu makes proposals one after the other.
type storeNode struct {
	*fsm.Store
	mu sync.Mutex
}

func newStoreNode(tb testing.TB) *storeNode {
	tb.Helper()
	store, err := fsm.Open(fsm.Options{Dir: "store", FS: vfs.NewMem(), CacheBytes: 8 << 20})
	must(tb, err)
	tb.Cleanup(func() { must(tb, store.Close()) })
	return &storeNode{Store: store}
}

func (n *storeNode) WaitSeen(ctx context.Context, index uint64) error { return n.Wait(ctx, index) }

func (*storeNode) Linearize(context.Context) error { return nil }

func (*storeNode) Health() Health {
	return Health{NodeID: "n1", State: StateOK, Leader: true, FeatureLevel: schemas.FeatureLevel}
}

func (n *storeNode) Propose(_ context.Context, entry []byte) (uint64, fsm.Result, error) {
	return n.proposeAt(uint64(time.Now().UnixMilli()), entry)
}

func (n *storeNode) proposeAt(stampMs uint64, entry []byte) (uint64, fsm.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	sealed, err := schemas.SealBatch(stampMs, [][]byte{entry})
	if err != nil {
		return 0, fsm.Result{}, err
	}
	index := n.Index() + 1
	results, err := n.Apply([]fsm.Log{{Index: index, Data: sealed}})
	if err != nil {
		return 0, fsm.Result{}, err
	}
	return index, results[0][0], nil
}

// run proposes a command that must succeed.
func (n *storeNode) run(tb testing.TB, by schemas.Caller, fill func(schemas.Entry_command) error) {
	tb.Helper()
	n.runAt(tb, uint64(time.Now().UnixMilli()), by, fill)
}

func (n *storeNode) runAt(tb testing.TB, stampMs uint64, by schemas.Caller, fill func(schemas.Entry_command) error) {
	tb.Helper()
	entry, err := schemas.BuildEntry(newRequestID(), by, fill)
	must(tb, err)
	_, result, err := n.proposeAt(stampMs, entry)
	must(tb, err)
	if result.Code != schemas.Code_ok {
		tb.Fatalf("the store refuses the test's own command: %s, %d", result.Code.ID(), result.Value)
	}
}

// person is an account made without OPAQUE, straight in the store.
type person struct {
	name    string
	key     fsm.AccountKey
	private ed25519.PrivateKey
	token   []byte
}

var asNode = schemas.Caller{Kind: schemas.Actor_Kind_node} //nolint:gochecknoglobals // a constant of the tests

func (p *person) caller() schemas.Caller {
	return schemas.Caller{Kind: schemas.Actor_Kind_account, Account: p.key[:]}
}

// newPerson registers an account and opens a session without a device. The same
// name gives the same keys.
func (n *storeNode) newPerson(tb testing.TB, name string) *person {
	tb.Helper()
	p := &person{name: name}
	seed := sha256.Sum256([]byte("account " + name))
	p.private = ed25519.NewKeyFromSeed(seed[:])
	copy(p.key[:], p.private[ed25519.SeedSize:])
	n.run(tb, asNode, func(command schemas.Entry_command) error {
		create, err := command.NewCreateAccount()
		must(tb, err)
		must(tb, create.SetUsername(name))
		must(tb, create.SetIdentityKey(p.key[:]))
		return create.SetRecord(recordOf(name))
	})
	p.token = n.newSession(tb, p, nil, uint64(time.Now().UnixMilli()), "1")
	return p
}

func recordOf(name string) []byte { return []byte("record of " + name) }

// newSession opens a session at a time of the log and returns its token.
func (n *storeNode) newSession(tb testing.TB, p *person, device []byte, stampMs uint64, label string) []byte {
	tb.Helper()
	token := sha256.Sum256([]byte("token " + label + " of " + p.name))
	hash, id, proof := sha256.Sum256(token[:]), newRequestID(), sha256.Sum256(recordOf(p.name))
	name := sha256.Sum256([]byte(p.name))
	n.runAt(tb, stampMs, asNode, func(command schemas.Entry_command) error {
		open, err := command.NewOpenSession()
		must(tb, err)
		must(tb, open.SetName(name[:]))
		must(tb, open.SetIdentityKey(p.key[:]))
		must(tb, open.SetUsername(p.name))
		must(tb, open.SetDeviceId(device))
		must(tb, open.SetTokenHash(hash[:]))
		must(tb, open.SetHandshakeId(id))
		open.SetHandshakeExpiresMs(uint64(time.Now().Add(time.Minute).UnixMilli()))
		return open.SetRecordDigest(proof[:])
	})
	return token[:]
}

// newDevice registers a device; key may be empty.
func (n *storeNode) newDevice(tb testing.TB, p *person, id fsm.DeviceID, key []byte) {
	tb.Helper()
	n.run(tb, p.caller(), func(command schemas.Entry_command) error {
		register, err := command.NewRegisterDevice()
		must(tb, err)
		must(tb, register.SetDeviceId(id[:]))
		return register.SetDeviceKey(key)
	})
}

// setAuth puts a person's token into a call's auth.
func setAuth(tb testing.TB, newAuth func() (schemas.Auth, error), token, device []byte) {
	tb.Helper()
	auth, err := newAuth()
	must(tb, err)
	auth.SetVersion(schemas.AuthVersion)
	must(tb, auth.SetAccessToken(token))
	must(tb, auth.SetDeviceId(device))
}
