package cluster_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// propose writes a command on a node as if the node had made it up, past every check
// of its door.
func propose(tb testing.TB, n *testcluster.Node, by schemas.Caller, fill func(schemas.Entry_command) error) (schemas.Code, error) {
	tb.Helper()
	id := make([]byte, schemas.RequestIDSize)
	if _, err := rand.Read(id); err != nil {
		tb.Fatal(err)
	}
	entry, err := schemas.BuildEntry(id, by, fill)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), proposeTime)
	defer cancel()
	_, result, err := n.Engine().Propose(ctx, entry)
	return result.Code, err
}

// awaitLevel waits until a node's log is judged by a level.
func awaitLevel(tb testing.TB, n *testcluster.Node, want uint64) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), proposeTime)
	defer cancel()
	err := testcluster.Await(ctx, "the feature level", func() error {
		if got := levelOf(tb, n); got != want {
			return fmt.Errorf("%s is at level %d, want %d", n.ID(), got, want)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func levelOf(tb testing.TB, n *testcluster.Node) uint64 {
	tb.Helper()
	v, err := n.Engine().View()
	if err != nil {
		tb.Fatal(err)
	}
	level, err := v.FeatureLevel()
	if err := errors.Join(err, v.Close()); err != nil {
		tb.Fatal(err)
	}
	return level
}

func raise(level uint64) func(schemas.Entry_command) error {
	return func(c schemas.Entry_command) error {
		p, err := c.NewChangeSettings()
		if err != nil {
			return err
		}
		list, err := p.NewSettings(1)
		if err != nil {
			return err
		}
		list.At(0).SetValue(level)
		return list.At(0).SetName(fsm.SettingFeatureLevel)
	}
}

// forger is an account of the test's cluster, and what a node knows of it.
type forger struct {
	key    fsm.AccountKey
	secret ed25519.PrivateKey
	device fsm.DeviceID
	record []byte
}

func (f *forger) says(tb testing.TB, s identity.Statement) []byte {
	tb.Helper()
	signature, err := s.Sign(f.secret)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

// forgeries are the writes that a node makes up for an account whose key it has not.
// signed is what stands in the place of the account's signature.
func (f *forger) forgeries(signed []byte) map[string]func(schemas.Entry_command) error {
	return map[string]func(schemas.Entry_command) error{
		"revoke a device": func(c schemas.Entry_command) error {
			p, err := c.NewRevokeDevice()
			return errors.Join(err, p.SetDeviceId(f.device[:]), p.SetSignature(signed))
		},
		"delete the account": func(c schemas.Entry_command) error {
			p, err := c.NewDeleteAccount()
			return errors.Join(err, p.SetSignature(signed))
		},
		"change the password": func(c schemas.Entry_command) error {
			p, err := c.NewReplaceRecord()
			handshake, digest := make([]byte, schemas.HandshakeIDSize), sha256.Sum256(f.record)
			p.SetHandshakeExpiresMs(uint64(time.Now().Add(30 * time.Second).UnixMilli()))
			return errors.Join(err, p.SetRecord([]byte("another record")), p.SetHandshakeId(handshake),
				p.SetRecordDigest(digest[:]), p.SetSignature(signed))
		},
		"set the instance of a device": func(c schemas.Entry_command) error {
			p, err := c.NewSetInstance()
			p.SetInstance(1)
			return errors.Join(err, p.SetSignature(signed))
		},
		"add a device with a key": func(c schemas.Entry_command) error {
			p, err := c.NewRegisterDevice()
			return errors.Join(err, p.SetDeviceId([]byte("a device, new id")), p.SetDeviceKey(make([]byte, 32)), p.SetSignature(signed))
		},
	}
}

// A node alone can't revoke a device, delete an account, change a password, add a
// device with a key, register an account for a key, or go back to a feature level that
// would let it: every replica refuses, whichever node makes the write up, the leader
// too.
func TestNodeAloneCannot(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{MemoryStore: true})
	leader := c.LeaderT(t)
	awaitLevel(t, leader, schemas.FeatureLevel)
	seed := sha256.Sum256([]byte("alice"))
	f := &forger{secret: ed25519.NewKeyFromSeed(seed[:]), device: fsm.DeviceID{1}, record: []byte("the record")}
	copy(f.key[:], f.secret[ed25519.SeedSize:])
	asAlice := schemas.Caller{Kind: schemas.Actor_Kind_account, Account: f.key[:]}
	asNode := schemas.Caller{Kind: schemas.Actor_Kind_node}
	create := func(name string, proof []byte) func(schemas.Entry_command) error {
		return func(cmd schemas.Entry_command) error {
			p, err := cmd.NewCreateAccount()
			p.SetHandshakeExpiresMs(uint64(time.Now().Add(30 * time.Second).UnixMilli()))
			return errors.Join(err, p.SetUsername(name), p.SetIdentityKey(f.key[:]), p.SetRecord(f.record),
				p.SetServer(make([]byte, 32)), p.SetProof(proof), p.SetHandshakeId([]byte("handshake of one")))
		}
	}
	must := func(what string, code schemas.Code, err error) {
		t.Helper()
		if err != nil || code != schemas.Code_ok {
			t.Fatalf("%s: %s, %v", what, code.ID(), err)
		}
	}
	for _, n := range c.Nodes() {
		if code, err := propose(t, n, asNode, create("alice", nil)); err != nil || code != schemas.Code_statementRequired {
			t.Errorf("%s registers an account for a key that did not ask: %s, %v; want E074", n.ID(), code.ID(), err)
		}
	}
	code, err := propose(t, leader, asNode, create("alice", f.says(t, identity.Register([32]byte{}, f.key, "alice", f.record))))
	must("register alice", code, err)
	code, err = propose(t, leader, asAlice, func(cmd schemas.Entry_command) error {
		p, err := cmd.NewRegisterDevice()
		return errors.Join(err, p.SetDeviceId(f.device[:]))
	})
	must("register a device", code, err)

	forged := f.says(t, identity.Device(f.key, f.device, f.key)) // a signature that it has seen
	for _, n := range c.Nodes() {
		for what, fill := range f.forgeries(nil) {
			if code, err := propose(t, n, asAlice, fill); err != nil || code != schemas.Code_statementRequired {
				t.Errorf("%s: %s without a signature: %s, %v; want E074", n.ID(), what, code.ID(), err)
			}
		}
		for what, fill := range f.forgeries(forged) {
			if code, err := propose(t, n, asAlice, fill); err != nil || code != schemas.Code_signatureInvalid {
				t.Errorf("%s: %s with another signature: %s, %v; want E055", n.ID(), what, code.ID(), err)
			}
		}
		if code, err := propose(t, n, asNode, raise(1)); err != nil || code != schemas.Code_settingRange {
			t.Errorf("%s goes back to level 1: %s, %v; want E041", n.ID(), code.ID(), err)
		}
	}
	c.SameT(t)
	for _, n := range c.Nodes() {
		v, err := n.Engine().View()
		if err != nil {
			t.Fatal(err)
		}
		a, live, err := v.Account(f.key)
		if err := errors.Join(err, v.Close()); err != nil || !live || len(a.Devices) != 1 || string(a.Record) != "the record" {
			t.Errorf("%s has the account %+v (there: %v, %v) after what was refused", n.ID(), a, live, err)
		}
	}
}

// The log is judged by new rules once every node knows them: not before, not by the
// word of a single node, and then without anybody's doing.
func TestLevelWaitsForEveryNode(t *testing.T) {
	t.Parallel()
	var third atomic.Uint32
	third.Store(1)
	c := testcluster.StartT(t, testcluster.Options{FeatureLevel: func(id tlsid.NodeID) uint32 {
		if id == "n3" {
			return third.Load()
		}
		return 0
	}})
	leader := c.LeaderT(t)
	for _, n := range c.Nodes() {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		id := []byte("0123456789abcde" + string(n.ID()[1]))
		entry, err := schemas.BuildEntry(id, schemas.Caller{Kind: schemas.Actor_Kind_node}, raise(schemas.FeatureLevel))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.Engine().Propose(ctx, entry); !errors.Is(err, cluster.ErrFeatureLevel) {
			t.Errorf("%s raises the level beyond what n3 knows: %v, want ErrFeatureLevel", n.ID(), err)
		}
		cancel()
	}
	if got := levelOf(t, leader); got != 1 {
		t.Fatalf("the level is %d while n3 knows 1", got)
	}
	third.Store(0)
	n3 := c.Node(2)
	if err := errors.Join(n3.Stop(t.Context()), n3.Start()); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		awaitLevel(t, n, schemas.FeatureLevel)
	}
	c.SameT(t)
}

// What the log's level has brought stays in use while a member is away whose word a node
// has never heard since it started.
func TestCommandsOfTheLevelInForce(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	for _, n := range c.Nodes() {
		awaitLevel(t, n, schemas.FeatureLevel)
	}
	if err := c.Node(2).Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes()[:2] {
		if err := n.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	by := schemas.Caller{Kind: schemas.Actor_Kind_account, Account: make([]byte, schemas.AccountKeySize)}
	for _, n := range c.Nodes()[:2] {
		awaitLevel(t, n, schemas.FeatureLevel) // both have read their logs again, whoever leads
	}
	for _, n := range c.Nodes()[:2] {
		code, err := propose(t, n, by, func(cmd schemas.Entry_command) error {
			p, err := cmd.NewSetInstance()
			p.SetInstance(1)
			return err
		})
		if err != nil || code != schemas.Code_tokenInvalid {
			t.Errorf("%s, which has not heard n3 since it started, proposes setInstance: %s, %v; want the store's E003", n.ID(), code.ID(), err)
		}
	}
}
