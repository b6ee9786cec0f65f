package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls/message"
	"quicproquo/testcluster"
	"quicproquo/testcluster/liar"
)

// lies are two whole clients whose only node lies (package liar), and works with
// mallory, who has an account like anybody. In one group after another it lies, and
// becomes honest again. Mallory must never read anything; in the end both are in the same
// epoch of every group, and read what the other says there.
type lies struct {
	w       *world
	front   *liar.Front
	mallory *liar.Outsider
	people  [2]*person
	told    []toldGroup
}

// toldGroup is a group in which the node has lied.
type toldGroup struct {
	title, lie string
	by, to     *person
	mine, its  string // the ids that by and to have of it
}

// maxTold bounds how many groups a run has.
const maxTold = 20

// A lyingTarget has a node that can lie.
type lyingTarget interface {
	lyingNode(ctx context.Context) (*liar.Front, error)
}

// lyingNode puts a front before the first node.
func (p *inProcess) lyingNode(ctx context.Context) (*liar.Front, error) {
	return liar.Start(ctx, liar.Options{
		Node: func() *testcluster.Node { return p.c.Node(0) },
		Listen: func() (net.PacketConn, error) {
			o, err := p.options(0)
			return o.PacketConn, err
		},
	})
}

func newLies(ctx context.Context, w *world) (l *lies, err error) {
	target, able := w.target.(lyingTarget)
	if !able {
		return nil, errNotHere
	}
	made := &lies{w: w}
	l = made
	defer func() {
		if err != nil {
			err = errors.Join(err, made.close())
		}
	}()
	if l.front, err = target.lyingNode(ctx); err != nil {
		return nil, err
	}
	for i, name := range []string{"gina", "hugo"} {
		p := &person{name: name, profile: client.Profile{
			Dir: filepath.Join(w.options.Dir, "people", name), Settings: client.Settings{Invitations: client.FromEverybody},
		}}
		if err := l.open(p); err != nil {
			return nil, err
		}
		l.people[i] = p
		if err := p.client.Register(ctx, name, append([]byte(nil), password...)); err != nil {
			return nil, fmt.Errorf("register %s: %w", name, err)
		}
		if err := p.client.Start(); err != nil {
			return nil, fmt.Errorf("start %s's client: %w", name, err)
		}
	}
	options, err := l.options()
	if err != nil {
		return nil, err
	}
	if l.mallory, err = l.front.Enter(ctx, options, "outsider"); err != nil {
		return nil, err
	}
	return l, w.hurry(ctx)
}

// options are those of somebody who knows the lying node only, which shows the first
// node's certificate.
func (l *lies) options() (conn.Options, error) {
	options, err := l.w.target.options(0)
	if err == nil {
		options.TLS.ServerName, _, err = net.SplitHostPort(options.Endpoints[0])
		options = l.front.ClientOptions(options)
	}
	return options, err
}

func (l *lies) open(p *person) (err error) {
	if p.profile.Options, err = l.options(); err != nil {
		return err
	}
	p.profile.Key = peopleKey()
	if p.client, err = client.Create(p.profile); err != nil {
		return fmt.Errorf("open %s's profile: %w", p.name, err)
	}
	return nil
}

func (l *lies) name() string { return "liar" }

func (l *lies) run(ctx, _ context.Context) {
	rng := rand.New(rand.NewPCG(l.w.options.Seed, 700))
	for ctx.Err() == nil && len(l.told) < maxTold {
		if err := l.round(ctx, rng); err != nil && !isTransient(err) && ctx.Err() == nil {
			l.w.violation(l.name(), "%v", err)
			return
		}
		sleep(ctx, time.Duration(rng.IntN(20*int(l.w.options.Pace))))
	}
}

// round makes a group, lies about it, and has both talk on.
func (l *lies) round(ctx context.Context, rng *rand.Rand) (err error) {
	at := len(l.told) / 2 % 2
	g := toldGroup{title: fmt.Sprintf("told%d", len(l.told)), by: l.people[at], to: l.people[1-at]}
	short, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	v, err := g.by.client.CreateGroup(short, g.title, g.to.name)
	if err != nil {
		return fmt.Errorf("make a group: %w", err)
	}
	l.front.Book().Call(g.by.name, g.title)
	g.mine = v.ID()
	if g.its, err = g.to.enters(short, g.title); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.front.Lie("")) }()
	switch len(l.told) % 3 {
	case 0:
		g.lie, err = "a way back into mallory's group", l.wayBack(short, &g)
	case 1:
		g.lie, err = "a welcome into mallory's group", l.welcome(short, &g)
	default:
		g.lie = invented[rng.IntN(len(invented))]
		err = l.front.Lie(strings.NewReplacer("$BY", g.by.name, "$TO", g.to.name, "$GROUP", g.title).Replace(g.lie))
	}
	if err != nil {
		return err
	}
	l.w.tell("the lying node: %s", g.lie)
	l.talk(ctx, &g)
	l.told = append(l.told, g)
	l.w.wrote()
	return l.overheard(&g)
}

// invented are lies about the group $GROUP, which $BY and $TO are in.
var invented = []string{ //nolint:gochecknoglobals // a table
	"first 3 * *: index +1000000000",
	"first 2 $TO subscribe: seq +1000000",
	"$TO publishCommit $GROUP: swallow\n$BY publishCommit $GROUP: drop $TO",
	"* fetchGroup $GROUP: refuse GROUP_NOT_FOUND\n* publishCommit $GROUP: refuse GROUP_NOT_FOUND",
	"* publishCommit $GROUP: refuse EPOCH_CONFLICT +1",
	"* publishCommit $GROUP: refuse EPOCH_CONFLICT",
	"$BY publishCommit $GROUP: drop $TO\n$TO fetchGroup $GROUP: empty",
	"$TO fetchGroup $GROUP: junk 500\nfirst 2 $TO subscribe: junk 200",
	"* listDevices: empty\n* fetchKeyPackages: empty",
	"first 3 $TO subscribe: gap",
	"first 3 $TO subscribe: lost",
	"first 3 $BY batchEnqueue: twice",
	"first 2 $BY batchEnqueue: later",
	"first 4 * *: refuse SEEN_TOO_FAR_AHEAD",
}

// trapped founds a group of mallory's that has a group's id.
func (l *lies) trapped(ctx context.Context, g *toldGroup, fresh bool) (liar.Trap, error) {
	data := &groupstate.Data{Kind: groupstate.KindGroup, Title: g.title}
	data.SetAdmin(l.mallory.Key, true)
	return l.mallory.Trap(ctx, liar.TrapOptions{Group: g.title, Data: data, Epochs: trapEpoch - 1, With: []string{g.to.name}, Fresh: fresh})
}

// trapEpoch is the epoch of a trap.
const trapEpoch = 9

// wayBack shows somebody a message of an epoch that there is not, and offers a way back
// into mallory's group.
func (l *lies) wayBack(ctx context.Context, g *toldGroup) error {
	t, err := l.trapped(ctx, g, false)
	if err != nil {
		return err
	}
	l.front.Book().Keep(g.title, t.Return)
	of := g.to.name + " fetchGroup " + g.title
	if err := l.front.Lie(of + ": with " + g.title + "\n" + of + ": epoch 9\n" + g.to.name + " publishCommit " + g.title + ": swallow"); err != nil {
		return err
	}
	junk, err := l.front.Ahead(g.title, trapEpoch, message.ContentApplication)
	if err != nil {
		return err
	}
	return l.enqueue(ctx, g.by.client.Account().Key, g, junk)
}

// welcome invites somebody into mallory's group in the place of a group that he is in.
func (l *lies) welcome(ctx context.Context, g *toldGroup) error {
	t, err := l.trapped(ctx, g, true)
	if err != nil {
		return err
	}
	return l.enqueue(ctx, l.mallory.Key, g, t.Welcome)
}

func (l *lies) enqueue(ctx context.Context, as conn.AccountKey, g *toldGroup, payload []byte) error {
	err := l.front.Enqueue(ctx, as, g.to.client.Account().Key, conn.ChannelID{}, payload)
	if err != nil {
		return fmt.Errorf("%w: %w", errDown, err) // the node may be down, or no leader there
	}
	return nil
}

// talk has both say something, and renew their keys, while the node lies. They may be
// refused: what they said is not what is judged.
func (l *lies) talk(ctx context.Context, g *toldGroup) {
	for _, pause := range []time.Duration{5 * time.Second, 5 * time.Second} {
		sleep(ctx, pause)
		for _, p := range []*person{g.to, g.by} {
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			if v, err := p.client.Find(g.id(p)); err == nil {
				_, _ = v.Send(short, content.Text{Text: "between us"})
				_ = v.Rekey(short)
			}
			cancel()
		}
	}
}

func (g *toldGroup) id(p *person) string {
	if p == g.by {
		return g.mine
	}
	return g.its
}

// overheard is the safety that is judged: mallory reads nothing.
func (l *lies) overheard(g *toldGroup) error {
	if texts := l.mallory.Overheard(); len(texts) > 0 {
		l.w.unauthorized.Add(int64(len(texts)))
		return fmt.Errorf("after %q mallory, who is in no group of theirs, reads %q", g.lie, texts[0])
	}
	return nil
}

// check has both talk in every group now that the node is honest.
func (l *lies) check(ctx context.Context, s *Summary) {
	ctx = context.WithoutCancel(ctx)
	for i := range l.told {
		g := &l.told[i]
		short, stop := context.WithTimeout(ctx, finishTime)
		err := g.goesOn(short)
		stop()
		if err != nil {
			s.Lost++
			l.w.violation(l.name(), "after %q %s does not go on: %v", g.lie, g.title, err)
		}
		if err := l.overheard(g); err != nil {
			l.w.violation(l.name(), "%v", err)
		}
	}
	for _, p := range l.people {
		if err := p.lists(); err != nil {
			l.w.violation(l.name(), "%v", err)
		}
	}
	if err := l.close(); err != nil {
		l.w.violation(l.name(), "%v", err)
	}
}

// goesOn renews the keys until both are in one epoch, and has each read the other.
func (g *toldGroup) goesOn(ctx context.Context) error {
	for together := false; !together; {
		if v, err := g.by.client.Find(g.mine); err == nil {
			short, cancel := context.WithTimeout(ctx, 20*time.Second)
			_ = v.Rekey(short) // the epochs below show what it came to
			cancel()
		}
		var one, two client.Info
		var err error
		for range 5 {
			if one, err = g.info(g.by); err == nil {
				two, err = g.info(g.to)
			}
			if together = err == nil && one.State == "active" && two.State == "active" && one.Epoch == two.Epoch; together {
				break
			}
			if !sleep(ctx, time.Second) {
				return fmt.Errorf("%s is %s in epoch %d (%s), %s is %s in epoch %d (%s): %w", g.by.name, one.State, one.Epoch, one.Reason,
					g.to.name, two.State, two.Epoch, two.Reason, errors.Join(err, ctx.Err()))
			}
		}
	}
	for _, pair := range [][2]*person{{g.by, g.to}, {g.to, g.by}} {
		from, to := pair[0], pair[1]
		line := "still here, says " + from.name
		v, err := from.client.Find(g.id(from))
		if err == nil {
			_, err = v.Send(ctx, content.Text{Text: line})
		}
		if err != nil {
			return err
		}
		for {
			got, err := to.lines(g.id(to))
			if err == nil && slices.Contains(got, line) {
				break
			}
			if !sleep(ctx, 200*time.Millisecond) {
				return fmt.Errorf("%s does not read what %s says: %w", to.name, from.name, errors.Join(err, ctx.Err()))
			}
		}
	}
	return nil
}

func (g *toldGroup) info(p *person) (client.Info, error) {
	v, err := p.client.Find(g.id(p))
	if err != nil {
		return client.Info{}, err
	}
	return v.Info()
}

func (l *lies) close() error {
	var errs []error
	for _, p := range l.people {
		if p != nil && p.client != nil {
			errs = append(errs, p.client.Close())
		}
	}
	if l.mallory != nil {
		errs = append(errs, l.mallory.Close())
	}
	if l.front != nil {
		errs = append(errs, l.front.Close())
	}
	return errors.Join(errs...)
}

// hurry has claims of key packages and new groups cost no waiting, where settings can be
// changed.
func (w *world) hurry(ctx context.Context) error {
	desk, ok := w.target.(settingsDesk)
	if !ok {
		return nil
	}
	for _, pause := range []string{"key_claim_secs", "group_found_secs"} {
		if err := desk.proposeOn(ctx, 0, testcluster.SettingEntry(pause, 0)); err != nil {
			return fmt.Errorf("change the setting %s: %w", pause, err)
		}
	}
	return nil
}
