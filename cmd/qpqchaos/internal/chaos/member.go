package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls/rogue"
	"quicproquo/testcluster/roguemember"
)

// members are whole clients of whom one goes bad: two honest people and a rogue are in
// one group after another, and in each of them the rogue makes an attack (package rogue)
// through the real server. The honest then say something, there and to each other. In
// the end each group has gone on or says that it is broken, their own conversation has
// everything once and in order, and both receive and have a list of all.
type members struct {
	w       *world
	honest  [2]*person
	bad     *person
	updates []rogue.Kind // attacks that any member can make without ending an epoch
	kinds   []rogue.Kind
	struck  []struckGroup
	said    []string // in the conversation of the honest
}

// struckGroup is a group in which an attack was made.
type struckGroup struct {
	title, said string
	by, to      *person
	mine, its   string // the ids that by and to have of it: a rogue can change a title
	kind        rogue.Kind
}

// Every second attack is one of those that wait for the next commit: nothing about them
// shows until somebody honest wants something.
func newMembers(ctx context.Context, w *world) (m *members, err error) {
	m = &members{w: w, kinds: rogue.Kinds()}
	for _, k := range m.kinds {
		if k.Family == "private proposal" && len(k.Name) > 6 && k.Name[:6] == "update" {
			m.updates = append(m.updates, k)
		}
	}
	rng := rand.New(rand.NewPCG(w.options.Seed, 600))
	rng.Shuffle(len(m.updates), func(i, j int) { m.updates[i], m.updates[j] = m.updates[j], m.updates[i] })
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	for i, name := range []string{"dave", "erin", "ivan"} {
		p := &person{name: name, profile: client.Profile{
			Dir: filepath.Join(w.options.Dir, "people", name), Settings: client.Settings{Invitations: client.FromEverybody},
		}}
		if err := w.openPerson(p, i, client.Create); err != nil {
			return nil, err
		}
		if m.bad = p; i < len(m.honest) {
			m.honest[i] = p
		}
		if err := p.client.Register(ctx, name, append([]byte(nil), password...)); err != nil {
			return nil, fmt.Errorf("register %s: %w", name, err)
		}
		if err := p.client.Start(); err != nil {
			return nil, fmt.Errorf("start %s's client: %w", name, err)
		}
	}
	if err := w.hurry(ctx); err != nil {
		return nil, err
	}
	if _, err := m.honest[0].client.DM(ctx, m.honest[1].name); err != nil {
		return nil, fmt.Errorf("make a conversation of the honest: %w", err)
	}
	return m, nil
}

func (m *members) name() string { return "member" }

func (m *members) run(ctx, _ context.Context) {
	rng := rand.New(rand.NewPCG(m.w.options.Seed, 601))
	for ctx.Err() == nil {
		if err := m.round(ctx, rng); err != nil && !isTransient(err) && ctx.Err() == nil {
			m.w.violation(m.name(), "%v", err)
			return
		}
		sleep(ctx, time.Duration(rng.IntN(20*int(m.w.options.Pace))))
	}
}

// round makes a group, has the rogue strike, and has the honest talk on.
func (m *members) round(ctx context.Context, rng *rand.Rand) error {
	at := len(m.struck) / 2 % 2 // who founds the group: claims of key packages are few for each
	one, two := m.honest[at], m.honest[1-at]
	title := fmt.Sprintf("group %d", len(m.struck))
	short, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	group, err := one.client.CreateGroup(short, title, two.name, m.bad.name)
	if err != nil {
		return fmt.Errorf("make a group: %w", err)
	}
	its, err := two.enters(short, title)
	if err != nil {
		return err
	}
	if _, err := m.bad.enters(short, title); err != nil {
		return err
	}
	kind := m.updates[len(m.struck)/2%len(m.updates)]
	if len(m.struck)%2 == 1 {
		kind = m.kinds[rng.IntN(len(m.kinds))]
	}
	m.w.tell("the rogue member: %s: %s", kind.Family, kind.Name)
	if err := m.strike(short, title, kind, rng); err != nil {
		return fmt.Errorf("%s: %s: %w", kind.Family, kind.Name, err)
	}
	g := struckGroup{title, fmt.Sprintf("after the attack on %s", title), one, two, group.ID(), its, kind}
	// A group that says that it is broken takes nothing any more.
	if _, err := group.Send(ctx, content.Text{Text: g.said}); err != nil && !errors.Is(err, client.ErrBroken) {
		return fmt.Errorf("say something after %s: %s: %w", kind.Family, kind.Name, err)
	}
	m.struck = append(m.struck, g)
	dm, err := m.honest[0].client.Find(m.honest[1].name)
	if err != nil {
		return err
	}
	if _, err := dm.Send(ctx, content.Text{Text: title}); err != nil {
		return err
	}
	m.said = append(m.said, title)
	m.w.wrote()
	return nil
}

// enters waits until somebody is in a group that another has named, and returns its id.
func (p *person) enters(ctx context.Context, title string) (id string, err error) {
	if err := p.client.Start(); err != nil {
		return "", err
	}
	for {
		v, err := p.client.Find("#" + title)
		if err == nil {
			if info, e := v.Info(); e == nil && info.State == "active" {
				return v.ID(), nil
			}
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return "", fmt.Errorf("%s is not in %s: %w", p.name, title, errors.Join(err, ctx.Err()))
		}
	}
}

// strike makes one attack on a group.
func (m *members) strike(ctx context.Context, title string, kind rogue.Kind, rng *rand.Rand) error {
	bad := &roguemember.Member{Client: m.bad.client, Dir: m.bad.profile.Dir, Key: peopleKey, Open: func() (*client.Client, error) {
		err := m.w.openPerson(m.bad, rng.IntN(m.w.target.nodes()), client.Open)
		return m.bad.client, err
	}}
	grips, err := bad.Take()
	if err != nil {
		return err
	}
	for _, g := range grips {
		if g.Row.Title != title {
			continue
		}
		_, err := g.Strike(ctx, roguemember.Blow{
			Kind: kind, Dice: rng, How: roguemember.How(rng.IntN(2)), Victim: m.honest[rng.IntN(2)].client.Account().Key,
		})
		return err
	}
	return fmt.Errorf("the rogue has no keys of %s", title)
}

// check waits until everything has come to its end.
func (m *members) check(ctx context.Context, s *Summary) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	for _, p := range m.honest {
		if err := p.client.Sync(ctx); err != nil {
			m.w.violation(m.name(), "%s receives nothing any more: %v", p.name, err)
		}
		if err := p.lists(); err != nil {
			m.w.violation(m.name(), "%v", err)
		}
	}
	for i := range m.struck {
		if err := m.struck[i].sayMore(ctx); err != nil {
			m.w.violation(m.name(), "%v", err)
		}
	}
	var last error
	for {
		if last = m.complete(); last == nil || !sleep(ctx, time.Second) {
			break
		}
	}
	if last != nil {
		s.Lost++
		m.w.violation(m.name(), "%v", last)
	}
	if err := m.close(); err != nil {
		m.w.violation(m.name(), "%v", err)
	}
}

// sayMore says something once everything has arrived that holds a conversation up.
func (g *struckGroup) sayMore(ctx context.Context) error {
	v, err := g.by.client.Find(g.mine)
	if err == nil {
		_, err = v.Send(ctx, content.Text{Text: finalLine})
	}
	if err != nil && !errors.Is(err, client.ErrBroken) {
		return fmt.Errorf("say something in %s, after %s: %s: %w", g.title, g.kind.Family, g.kind.Name, err)
	}
	return nil
}

// finalLine are said in every group at the end.
const finalLine = "still here"

// lists checks that somebody can see all conversations.
func (p *person) lists() error {
	list, err := p.client.Conversations()
	if err != nil {
		return fmt.Errorf("%s has no list of conversations: %w", p.name, err)
	}
	for _, v := range list {
		if _, err := v.Info(); err != nil {
			return fmt.Errorf("%s can't see what a conversation is: %w", p.name, err)
		}
	}
	return nil
}

// complete compares what was said with what has come.
func (m *members) complete() error {
	one, two := m.honest[0], m.honest[1]
	got, err := two.lines(one.name)
	if err != nil {
		return err
	}
	if !slices.Equal(got, m.said) {
		return fmt.Errorf("%s has %d of %d lines in the conversation with %s, or in another order", two.name, len(got), len(m.said), one.name)
	}
	for _, g := range m.struck {
		if got, err := g.to.lines(g.its); err == nil && slices.Contains(got, g.said) && slices.Contains(got, finalLine) {
			continue
		}
		if !g.by.shown(g.mine) && !g.to.shown(g.its) {
			return fmt.Errorf("after %s: %s, %s neither goes on nor says that it is broken", g.kind.Family, g.kind.Name, g.title)
		}
	}
	return nil
}

// lines are the texts of a conversation.
func (p *person) lines(name string) (list []string, err error) {
	v, err := p.client.Find(name)
	if err != nil {
		return nil, err
	}
	entries, err := v.History(0, 1_000_000)
	for _, e := range entries {
		if e.Kind == "text" {
			list = append(list, e.Text)
		}
	}
	return list, err
}

// shown reports whether a conversation says that it is broken.
func (p *person) shown(name string) bool {
	v, err := p.client.Find(name)
	if err != nil {
		return false
	}
	info, err := v.Info()
	return err == nil && info.State == "broken" && info.Reason != ""
}

func (m *members) close() error {
	var errs []error
	for _, p := range append(m.honest[:], m.bad) {
		if p != nil && p.client != nil {
			errs = append(errs, p.client.Close())
		}
	}
	return errors.Join(errs...)
}

// peopleKey opens everybody's vault; it serves one call.
func peopleKey() vault.Key { return vault.Raw(bytes.Repeat([]byte{1}, 32)) }
