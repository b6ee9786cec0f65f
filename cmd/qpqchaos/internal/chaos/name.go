package chaos

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"quicproquo/client/conn"
	"quicproquo/schemas"
)

// names are races for usernames: several register one at once, on different nodes.
// One of them gets it; everybody, on every node, says who.
type names struct {
	w     *world
	conns []*conn.Conn

	mu    sync.Mutex
	races []*nameRace
}

type nameRace struct {
	name    string
	mu      sync.Mutex
	winners []conn.AccountKey
	unknown []conn.AccountKey // nobody heard whether they have it
	refused int
}

func newNames(_ context.Context, w *world) (*names, error) {
	n := &names{w: w}
	for i := range w.target.nodes() {
		c, err := w.connect(i)
		if err != nil {
			return nil, err
		}
		n.conns = append(n.conns, c)
	}
	return n, nil
}

func (n *names) name() string { return "name" }

func (n *names) run(ctx, _ context.Context) {
	for i := 0; ; i++ {
		race := &nameRace{name: fmt.Sprintf("wanted%d", i)}
		var wg sync.WaitGroup
		for _, caller := range n.conns {
			wg.Go(func() { n.register(ctx, caller, race) })
		}
		wg.Wait()
		n.mu.Lock()
		n.races = append(n.races, race)
		n.mu.Unlock()
		if !sleep(ctx, 30*n.w.options.Pace) {
			return
		}
	}
}

func (n *names) register(ctx context.Context, caller *conn.Conn, race *nameRace) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		n.w.violation(n.name(), "make a key: %v", err)
		return
	}
	me := conn.AccountKey(key.Public().(ed25519.PublicKey))
	short, cancel := context.WithTimeout(ctx, 2*callTime)
	defer cancel()
	done := n.w.call("register", race.name)
	_, err = caller.Register(short, race.name, append([]byte(nil), password...), key)
	n.w.ops.Add(1)
	done(err)
	race.mu.Lock()
	defer race.mu.Unlock()
	var e *conn.Error
	switch {
	case err == nil:
		n.w.wrote()
		race.winners = append(race.winners, me)
	case errors.As(err, &e) && e.Code == schemas.Code_usernameTaken:
		race.refused++
	default:
		race.unknown = append(race.unknown, me)
	}
}

// check asks every node who has each name.
func (n *names) check(ctx context.Context, s *Summary) {
	for _, race := range n.races {
		if len(race.winners) > 1 {
			s.Linearizable = false
			n.w.violation(n.name(), "%d accounts were given the name %s", len(race.winners), race.name)
		}
		if race.refused > 0 && len(race.winners)+len(race.unknown) == 0 {
			s.Linearizable = false
			n.w.violation(n.name(), "the name %s was refused to all", race.name)
		}
		for i, caller := range n.conns {
			for _, other := range n.conns {
				caller.Observe(other.Seen())
			}
			short, cancel := context.WithTimeout(ctx, callTime)
			key, err := caller.ResolveUser(short, race.name)
			cancel()
			switch {
			case conn.Is(err, schemas.Code_tokenMissing):
				return // this cluster tells nobody without a session
			case conn.Is(err, schemas.Code_accountNotFound):
				if len(race.winners) > 0 {
					s.Lost++
					n.w.violation(n.name(), "%s was registered, and node %s does not know it", race.name, n.w.target.name(i))
				}
			case err != nil:
				n.w.violation(n.name(), "ask node %s for %s: %v", n.w.target.name(i), race.name, err)
			case len(race.winners) == 1 && key != race.winners[0]:
				s.Linearizable = false
				n.w.violation(n.name(), "node %s gives %s to another than who was told to have it", n.w.target.name(i), race.name)
			}
		}
	}
}
