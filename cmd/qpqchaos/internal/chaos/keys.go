package chaos

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"quicproquo/client/conn"
	"quicproquo/schemas"
	"quicproquo/testcluster/keypool"
)

// pools are races for key packages: somebody new uploads a few, and more takers than
// there are ask for one, on all nodes at once. Each package has one taker at most, the
// oldest goes first, and who asks again with the same request id gets the same again.
type pools struct {
	w      *world
	takers []*account

	mu    sync.Mutex
	races []*poolRace
}

const (
	poolSize  = 4
	poolTakes = 2 // of each taker
)

// poolRace is one pool.
type poolRace struct {
	owner   *account
	places  map[[32]byte]int // by the package's hash
	takes   []*take
	history history
}

// take is a taker's one request.
type take struct {
	by    *account
	id    []byte
	place int
}

func newPools(ctx context.Context, w *world) (*pools, error) {
	p := &pools{w: w}
	for i := range 3 {
		taker, err := w.enroll(ctx, fmt.Sprintf("taker%d", i))
		if err != nil {
			return nil, err
		}
		p.takers = append(p.takers, taker)
	}
	return p, nil
}

func (p *pools) name() string { return "keys" }

func (p *pools) run(ctx, finish context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		owner := fmt.Sprintf("pool%d", i)
		if err := p.race(ctx, finish, owner); err != nil {
			p.w.tell("no race for %s's key packages: %v", owner, err)
		}
		sleep(ctx, 50*p.w.options.Pace)
	}
}

// race is one pool from its upload to its last package. It returns why there was none:
// faults keep owners from registering.
func (p *pools) race(ctx, finish context.Context, owner string) error {
	r, err := p.fill(ctx, owner)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for i, taker := range p.takers {
		for again := range poolTakes {
			t := &take{by: taker, id: requestID()}
			process := len(r.takes)
			r.takes = append(r.takes, t)
			wg.Go(func() { p.take(ctx, r, t, process, i+again) })
		}
	}
	wg.Wait()
	p.settle(finish, r)
	p.w.disconnect(r.owner)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.races = append(p.races, r)
	return nil
}

// fill registers the owner and uploads the packages.
func (p *pools) fill(ctx context.Context, name string) (*poolRace, error) {
	short, cancel := context.WithTimeout(ctx, 4*callTime)
	defer cancel()
	owner, err := p.w.enrollOn(short, name, 1)
	if err != nil {
		return nil, err
	}
	caller := owner.conns[0]
	packages, err := keypool.Packages(owner.name, owner.key, poolSize)
	if err == nil {
		_, _, err = caller.UploadKeyPackages(short, packages, nil)
	}
	if err != nil {
		p.w.disconnect(owner)
		return nil, fmt.Errorf("upload key packages: %w", err)
	}
	p.w.wrote()
	r := &poolRace{owner: owner, places: map[[32]byte]int{}}
	for i, data := range packages {
		r.places[sha256.Sum256(data)] = i
	}
	for _, taker := range p.takers {
		taker.conn(0).Observe(caller.Seen())
	}
	return r, nil
}

func (p *pools) take(ctx context.Context, r *poolRace, t *take, process, node int) {
	from := time.Since(p.w.began)
	var err error
	t.place, err = p.ask(ctx, r, t, node)
	r.history.add(p.w, process, from, err == nil, nil, t.place)
}

// ask returns which package a taker got, keypool.Unknown with an error.
func (p *pools) ask(ctx context.Context, r *poolRace, t *take, node int) (int, error) {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	done := p.w.call(t.by.name, "take a key package of "+r.owner.name)
	list, err := t.by.conn(node).FetchKeyPackages(short, r.owner.id(), conn.DeviceID{}, t.id)
	p.w.ops.Add(1)
	done(err)
	switch {
	case err != nil:
		return keypool.Unknown, err
	case len(list) != 1 || list[0].LastResort:
		p.w.violation(p.name(), "%s asked for a key package of %s and got %d", t.by.name, r.owner.name, len(list))
		return keypool.Unknown, errors.New("not one package")
	}
	p.w.wrote()
	if conn.Is(list[0].Err, schemas.Code_keyPackageNone) {
		return keypool.Empty, nil
	}
	place, ok := r.places[sha256.Sum256(list[0].Package)]
	if !ok {
		p.w.violation(p.name(), "%s got a key package that %s has not uploaded", t.by.name, r.owner.name)
		return keypool.Unknown, errors.New("an unknown package")
	}
	return place, nil
}

// settle lets everybody ask once more, on another node, until he knows.
func (p *pools) settle(ctx context.Context, r *poolRace) {
	by := map[int]string{}
	for i, t := range r.takes {
		place, err := p.ask(ctx, r, t, i+1)
		for err != nil && sleep(ctx, time.Second) {
			place, err = p.ask(ctx, r, t, i+1)
		}
		if err != nil {
			continue
		}
		if t.place != keypool.Unknown && place != t.place {
			p.w.violation(p.name(), "%s got package %d of %s and, for the same request, %d", t.by.name, t.place, r.owner.name, place)
		}
		if other, twice := by[place]; twice && place != keypool.Empty {
			p.w.violation(p.name(), "%s and %s have package %d of %s", other, t.by.name, place, r.owner.name)
		}
		by[place] = t.by.name
	}
}

func (p *pools) check(_ context.Context, s *Summary) {
	model := keypool.Model(poolSize)
	for _, r := range p.races {
		r.history.judge(p.w, s, p.name(), "claims of "+r.owner.name+"'s key packages", model)
	}
}
