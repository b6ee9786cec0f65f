package testcluster_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/client/conn"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
	"quicproquo/testcluster"
	"quicproquo/testcluster/keypool"
)

const (
	takers   = 100
	poolSize = 80 // so that some takers go without
	pools    = 5
)

// 100 accounts race for the packages of one pool, through every node, while the
// cluster loses its leader: each package goes to exactly one of them, the oldest
// first, and whoever asks again with the same request id gets the same again.
func TestTakersRaceForPackages(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	ctx := within(t, 4*time.Minute)
	set(t, c, "key_claim_secs", 0)
	set(t, c, "key_taken_secs", 0) // or strangers together would get 20 of them
	owner := newPerson(t, "owner")
	up := connect(t, c)
	register(t, up, owner)
	_, _, err := up.Login(ctx, owner.credentials())
	fatal(t, err)
	who := newTakers(ctx, t, c, takers)
	lost := 0
	rounds := pools
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		packages, err := keypool.Packages(owner.name, owner.key, poolSize)
		fatal(t, err)
		r := poolRace{owner: owner.account(), packages: packages, places: map[[32]byte]int{}}
		for i, data := range r.packages {
			r.places[sha256.Sum256(data)] = i
		}
		remaining, _, err := up.UploadKeyPackages(ctx, r.packages, nil)
		if err != nil || remaining != poolSize {
			t.Fatalf("round %d: %d packages wait, %v; want %d", round, remaining, err, poolSize)
		}
		for _, caller := range who {
			caller.Observe(up.Seen())
		}
		r.run(ctx, t, c, who)
		if !porcupine.CheckOperations(keypool.Model(poolSize), r.history) {
			t.Errorf("round %d: the history is not that of a pool", round)
		}
		lost += r.settle(ctx, t, who)
		k, err := up.KeyPackageCount(ctx)
		if err != nil || k.Remaining != 0 {
			t.Errorf("round %d: %d packages are left, %v", round, k.Remaining, err)
		}
	}
	c.SameT(t)
	t.Logf("%d pools of %d packages, %d takers each, %d leaders killed, %d answers lost", rounds, poolSize, takers, rounds, lost)
}

// poolRace is one pool and its takers. mu guards history and answers.
type poolRace struct {
	owner    conn.AccountKey
	packages [][]byte
	places   map[[32]byte]int

	mu      sync.Mutex
	history []porcupine.Operation
	ids     [takers][]byte
	answers [takers]int
}

// run lets every taker ask once; when a quarter of them has its answer, the leader
// dies.
func (r *poolRace) run(ctx context.Context, tb testing.TB, c *testcluster.Cluster, who []*conn.Conn) {
	tb.Helper()
	leader := c.LeaderT(tb)
	var running sync.WaitGroup
	begin, quarter, started := make(chan struct{}), make(chan struct{}), time.Now()
	for i, caller := range who {
		r.ids[i] = make([]byte, schemas.RequestIDSize)
		rand.Read(r.ids[i])
		running.Go(func() {
			<-begin
			op := porcupine.Operation{ClientId: i, Call: time.Since(started).Nanoseconds()}
			got, err := r.claim(ctx, caller, r.ids[i])
			op.Output, op.Return = got, time.Since(started).Nanoseconds()
			if err != nil {
				tb.Errorf("taker %d: %v", i, err)
				return
			}
			if got == keypool.Unknown {
				op.Return = time.Hour.Nanoseconds()
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.answers[i] = got
			if r.history = append(r.history, op); len(r.history) == takers/4 {
				close(quarter)
			}
		})
	}
	running.Go(func() {
		select {
		case <-quarter:
			if err := leader.Restart(); err != nil {
				tb.Error(err)
			}
		case <-ctx.Done():
		}
	})
	close(begin)
	running.Wait()
}

// claim returns which package a taker got.
func (r *poolRace) claim(ctx context.Context, caller *conn.Conn, id []byte) (int, error) {
	list, err := caller.FetchKeyPackages(ctx, r.owner, conn.DeviceID{}, id)
	switch {
	case conn.Is(err, schemas.Code_unknownOutcome):
		return keypool.Unknown, nil
	case err != nil:
		return 0, err
	case len(list) != 1 || list[0].LastResort:
		return 0, fmt.Errorf("got %d packages", len(list))
	case conn.Is(list[0].Err, schemas.Code_keyPackageNone):
		return keypool.Empty, nil
	}
	place, ok := r.places[sha256.Sum256(list[0].Package)]
	if !ok {
		return 0, errors.New("got a package that is not of this pool")
	}
	return place, nil
}

// settle lets every taker ask again with its request id, mostly through another node: who
// had an answer gets the same, and then each package has one taker. It returns how
// many answers were lost.
func (r *poolRace) settle(ctx context.Context, t *testing.T, who []*conn.Conn) (lost int) {
	t.Helper()
	takenBy, without := map[int]int{}, 0
	for i := range who {
		again := who[(i+1)%len(who)]
		session := again.Session()
		again.SetSession(who[i].Session())
		again.Observe(who[i].Seen())
		got, err := r.claim(ctx, again, r.ids[i])
		again.SetSession(session)
		if err != nil {
			t.Errorf("taker %d again: %v", i, err)
			continue
		}
		if r.answers[i] == keypool.Unknown {
			lost++
		} else if got != r.answers[i] {
			t.Errorf("taker %d got %d and then, for the same request, %d", i, r.answers[i], got)
		}
		if got == keypool.Empty {
			without++
			continue
		}
		if other, twice := takenBy[got]; twice {
			t.Errorf("takers %d and %d have package %d", other, i, got)
		}
		takenBy[got] = i
	}
	if len(takenBy) != poolSize || without != takers-poolSize {
		t.Errorf("%d packages were taken and %d takers went without, want %d and %d", len(takenBy), without, poolSize, takers-poolSize)
	}
	return lost
}

// newTakers makes accounts with a client each, one after the other at each node.
// They come without OPAQUE, which would take a tenth of a second each.
func newTakers(ctx context.Context, tb testing.TB, c *testcluster.Cluster, n int) (who []*conn.Conn) {
	tb.Helper()
	leader := c.LeaderT(tb)
	for i := range n {
		caller, err := c.Nodes()[i%len(c.Nodes())].Client()
		fatal(tb, err)
		tb.Cleanup(func() {
			if err := caller.Close(); err != nil {
				tb.Error(err)
			}
		})
		caller.SetSession(directAccount(ctx, tb, leader, fmt.Sprint("taker", i)))
		caller.Observe(leader.Engine().Index())
		who = append(who, caller)
	}
	return who
}

// directAccount makes an account and a session that is used by its token alone,
// straight in the log.
func directAccount(ctx context.Context, tb testing.TB, n *testcluster.Node, name string) *conn.Session {
	tb.Helper()
	s := &conn.Session{}
	rand.Read(s.Token[:])
	_, key, err := ed25519.GenerateKey(nil)
	fatal(tb, err)
	s.Account = conn.AccountKey(key.Public().(ed25519.PublicKey))
	var server [32]byte
	proof, err := identity.Register(server, s.Account, name, []byte(name)).Sign(key)
	fatal(tb, err)
	handshake := make([]byte, 16)
	rand.Read(handshake)
	record, token := sha256.Sum256([]byte(name)), sha256.Sum256(s.Token[:])
	propose := func(fill func(schemas.Entry_command) error) {
		id := make([]byte, schemas.RequestIDSize)
		rand.Read(id)
		entry, err := schemas.BuildEntry(id, schemas.Caller{Kind: schemas.Actor_Kind_node}, fill)
		fatal(tb, err)
		_, result, err := n.Engine().Propose(ctx, entry)
		if err != nil || result.Code != schemas.Code_ok {
			tb.Fatalf("make account %s: %s, %v", name, result.Code.ID(), err)
		}
	}
	propose(func(to schemas.Entry_command) error {
		p, err := to.NewCreateAccount()
		answers := make([]byte, 16)
		rand.Read(answers)
		p.SetHandshakeExpiresMs(uint64(time.Now().Add(time.Minute).UnixMilli()))
		return errors.Join(err, p.SetUsername(name), p.SetIdentityKey(s.Account[:]), p.SetRecord([]byte(name)),
			p.SetServer(server[:]), p.SetProof(proof), p.SetHandshakeId(answers))
	})
	propose(func(to schemas.Entry_command) error {
		p, err := to.NewOpenSession()
		p.SetHandshakeExpiresMs(uint64(time.Now().Add(time.Minute).UnixMilli()))
		return errors.Join(err, p.SetName(record[:]), p.SetUsername(name), p.SetIdentityKey(s.Account[:]),
			p.SetTokenHash(token[:]), p.SetHandshakeId(bytes.Clone(handshake)), p.SetRecordDigest(record[:]))
	})
	return s
}
