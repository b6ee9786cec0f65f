package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
)

// talks are whole clients: three people in one MLS group, whose vaults are on disk. They
// talk, renew their keys, rename the group and restart. In the end everybody has read
// everything once, each sender's words in order, and all are in one epoch.
type talks struct {
	w      *world
	people []*person
}

// person is somebody with a client. Only its own goroutine uses it while the workload
// runs.
type person struct {
	name    string
	profile client.Profile
	client  *client.Client
	group   string // its id
	said    []string
}

const talkGroup = "all"

func newTalks(ctx context.Context, w *world) (*talks, error) {
	t := &talks{w: w}
	if err := t.begin(ctx); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// begin registers three people and puts them in a group.
func (t *talks) begin(ctx context.Context) error {
	w := t.w
	for i, name := range []string{"alice", "bob", "carol"} {
		p := &person{name: name, profile: client.Profile{
			Dir: filepath.Join(w.options.Dir, "people", name), Settings: client.Settings{Invitations: client.FromEverybody},
		}}
		if err := w.openPerson(p, i, client.Create); err != nil {
			return err
		}
		t.people = append(t.people, p)
		if err := p.client.Register(ctx, name, append([]byte(nil), password...)); err != nil {
			return fmt.Errorf("register %s: %w", name, err)
		}
		if err := p.client.Start(); err != nil {
			return fmt.Errorf("start %s's client: %w", name, err)
		}
	}
	group, err := t.people[0].client.CreateGroup(ctx, talkGroup, "bob", "carol")
	if err != nil {
		return fmt.Errorf("make a group: %w", err)
	}
	for _, p := range t.people[1:] {
		if err := group.Promote(ctx, p.name); err != nil {
			return fmt.Errorf("promote %s: %w", p.name, err)
		}
	}
	for _, p := range t.people {
		v, err := p.client.Find("#" + talkGroup)
		for err != nil && sleep(ctx, 100*time.Millisecond) {
			v, err = p.client.Find("#" + talkGroup)
		}
		if err != nil {
			return fmt.Errorf("%s is not in the group: %w", p.name, err)
		}
		p.group = v.ID()
	}
	return nil
}

// openPerson opens a profile with one of client.Create and client.Open.
func (w *world) openPerson(p *person, first int, how func(client.Profile) (*client.Client, error)) (err error) {
	if p.profile.Options, err = w.target.options(append([]int{first}, w.others(first)...)...); err != nil {
		return err
	}
	p.profile.Key = peopleKey()
	opened, err := how(p.profile)
	if err != nil {
		return fmt.Errorf("open %s's profile: %w", p.name, err)
	}
	p.client = opened
	return nil
}

func (t *talks) name() string { return "talk" }

func (t *talks) run(ctx, _ context.Context) {
	var wg sync.WaitGroup
	for i, p := range t.people {
		rng := rand.New(rand.NewPCG(t.w.options.Seed, uint64(500+i)))
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := t.act(ctx, p, rng); err != nil && !isTransient(err) {
					t.w.violation(t.name(), "%s: %v", p.name, err)
					return
				}
				sleep(ctx, time.Duration(rng.IntN(20*int(t.w.options.Pace))))
			}
		})
	}
	wg.Wait()
}

// act does one thing. What is said counts when Send has returned: it is in the vault.
func (t *talks) act(ctx context.Context, p *person, rng *rand.Rand) error {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	what := rng.IntN(40)
	if what == 0 {
		return t.restart(p, rng.IntN(t.w.target.nodes()))
	}
	v, err := p.client.Find(p.group)
	if err != nil {
		return err
	}
	switch {
	case what < 3:
		return v.Rekey(short)
	case what < 5:
		return v.Rename(short, "all, says "+p.name)
	}
	text := fmt.Sprintf("%s %d", p.name, len(p.said))
	if _, err := v.Send(ctx, content.Text{Text: text}); err != nil {
		return err
	}
	p.said = append(p.said, text)
	t.w.wrote()
	return nil
}

// isTransient reports whether a call of a whole client is only not done yet.
func isTransient(err error) bool {
	var e *client.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &e)
}

func (t *talks) restart(p *person, first int) error {
	if err := p.client.Close(); err != nil {
		return fmt.Errorf("close the client: %w", err)
	}
	if err := t.w.openPerson(p, first, client.Open); err != nil {
		return err
	}
	return p.client.Start()
}

// check waits until everybody has everything.
func (t *talks) check(ctx context.Context, s *Summary) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	for _, p := range t.people {
		if err := p.client.Flush(ctx); err != nil {
			t.w.violation(t.name(), "%s can't send everything: %v", p.name, err)
		}
	}
	var last error
	for {
		if last = t.complete(); last == nil || !sleep(ctx, time.Second) {
			break
		}
	}
	if last != nil {
		s.Lost++
		t.w.violation(t.name(), "%v", last)
	}
	if err := t.close(); err != nil {
		t.w.violation(t.name(), "%v", err)
	}
}

func (t *talks) close() error {
	var errs []error
	for _, p := range t.people {
		if err := p.client.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s's client: %w", p.name, err))
		}
	}
	return errors.Join(errs...)
}

// complete compares what everybody has with what was said, and their epochs.
func (t *talks) complete() error {
	epochs := map[uint64]string{}
	for _, p := range t.people {
		v, err := p.client.Find(p.group)
		if err != nil {
			return err
		}
		info, err := v.Info()
		if err != nil {
			return err
		}
		epochs[info.Epoch] = p.name
		entries, err := v.History(0, 1_000_000)
		if err != nil {
			return err
		}
		got := map[string][]string{}
		for _, e := range entries {
			if e.Kind == "text" {
				got[e.Sender] = append(got[e.Sender], e.Text)
			}
		}
		for _, sender := range t.people {
			if !slices.Equal(got[sender.name], sender.said) {
				return fmt.Errorf("%s has %d lines of %s's %d, or in another order", p.name, len(got[sender.name]), sender.name, len(sender.said))
			}
		}
	}
	if len(epochs) != 1 {
		return errors.New("the members are in several epochs")
	}
	return nil
}
