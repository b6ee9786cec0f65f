package liar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/testcluster"
	"quicproquo/testcluster/liar"
)

// patience is how long a line waits for what it expects.
const patience = time.Minute

// stage is where a script plays: a cluster, a node of it that lies, and people.
type stage struct {
	t         *testing.T
	cluster   *testcluster.Cluster
	front     *liar.Front
	people    map[string]*person
	outsiders map[string]*liar.Outsider
	links     map[string]string
}

// person is somebody with a real client, whose only node is the one that lies.
type person struct {
	*client.Client
	name    string
	profile client.Profile
	honest  bool // knows the honest node instead
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, people: map[string]*person{}, outsiders: map[string]*liar.Outsider{}, links: map[string]string{}}
	s.cluster = testcluster.StartT(t, testcluster.Options{Nodes: 1, MemoryStore: true})
	s.cluster.LeaderT(t)
	// The scripts invite the same people all the time.
	if _, _, err := s.cluster.Node(0).Engine().Propose(t.Context(), testcluster.SettingEntry("key_claim_burst", 10_000)); err != nil {
		t.Fatal(err)
	}
	front, err := liar.Start(t.Context(), liar.Options{Node: func() *testcluster.Node { return s.cluster.Node(0) }})
	if err != nil {
		t.Fatal(err)
	}
	s.front = front
	t.Cleanup(func() {
		if err := front.Close(); err != nil {
			t.Errorf("close the lying node: %v", err)
		}
		if err := front.Faults(); err != nil {
			t.Errorf("lies that were not told: %v", err)
		}
	})
	return s
}

func (s *stage) options(honest bool) (client.Options, error) {
	options, err := s.cluster.ClientOptions()
	if err == nil && !honest {
		options = s.front.ClientOptions(options)
	}
	return options, err
}

// meet registers somebody.
func (s *stage) meet(ctx context.Context, name string, honest bool) error {
	p := &person{name: name, honest: honest}
	p.profile = client.Profile{Dir: filepath.Join(s.t.TempDir(), name), Settings: client.Settings{KeyPackages: 12}}
	if err := s.open(p, client.Create); err != nil {
		return err
	}
	s.people[name] = p
	s.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			s.t.Errorf("close %s's client: %v", name, err)
		}
	})
	if err := p.Register(ctx, name, []byte("password of "+name)); err != nil {
		return err
	}
	return p.Start()
}

func (s *stage) open(p *person, how func(client.Profile) (*client.Client, error)) (err error) {
	if p.profile.Options, err = s.options(p.honest); err != nil {
		return err
	}
	p.profile.Key = vault.Raw(bytes.Repeat([]byte{7}, 32))
	p.Client, err = how(p.profile)
	return err
}

func (s *stage) restart(p *person) error {
	if err := p.Close(); err != nil {
		return err
	}
	if err := s.open(p, client.Open); err != nil {
		return err
	}
	return p.Start()
}

// play runs a script of testdata. See TestAttacks for the lines.
func (s *stage) play(t *testing.T, file string) {
	t.Helper()
	defer func() {
		if err := s.front.Lie(""); err != nil {
			t.Error(err)
		}
	}()
	datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
		t.Helper()
		out, err := s.line(t.Context(), d)
		expected := strings.HasPrefix(d.Expected, "error:")
		if err != nil && (d.Cmd == "person" && !expected || d.Cmd == "outsider" || d.Cmd == "lie") {
			t.Fatalf("%s: %s: %v", d.Pos, d.Cmd, err)
		}
		if err != nil {
			out = "error: " + err.Error()
		}
		out = keys.ReplaceAllString(out, "KEY…")
		if out = strings.TrimSpace(out); out != "" {
			out += "\n"
		}
		return out
	})
}

// keys are accounts that have no name here.
var keys = regexp.MustCompile(`[0-9a-f]{8}…`)

// words are the arguments of a line without a key.
func words(d *datadriven.TestData) (list []string) {
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			list = append(list, a.Key)
		}
	}
	return list
}

func value(d *datadriven.TestData, key string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return ""
}

func (s *stage) line(ctx context.Context, d *datadriven.TestData) (string, error) {
	wait := patience
	if slices.Contains(words(d), "slow") { // clients try again and again before they say it
		wait = 3 * patience
	}
	if text := value(d, "within"); text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	args := words(d)
	switch d.Cmd {
	case "person":
		for _, name := range args {
			if err := s.meet(ctx, name, value(d, "node") == "honest"); err != nil {
				return "", err
			}
		}
		return "", nil
	case "lie":
		return "", s.front.Lie(d.Input)
	case "honest":
		return "", s.front.Lie("")
	}
	if run, known := crafts[d.Cmd]; known {
		return run(ctx, s, d)
	}
	run, known := acts[d.Cmd]
	if !known || len(args) == 0 {
		return "", fmt.Errorf("there is no line %s", d.Cmd)
	}
	p := s.people[args[0]]
	if p == nil {
		return "", fmt.Errorf("nobody is called %s", args[0])
	}
	return run(ctx, s, p, args[1:], d)
}

type act func(ctx context.Context, s *stage, p *person, args []string, d *datadriven.TestData) (string, error)

// acts are what people do and see. Those that look wait until they see what is
// expected.
//
//nolint:gochecknoglobals // a table
var acts = map[string]act{
	"dm": func(ctx context.Context, s *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		_, err := p.DM(ctx, args[0])
		s.front.Book().Call(p.name, p.name+"+"+args[0])
		return "", err
	},
	"group": func(ctx context.Context, s *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		_, err := p.CreateGroup(ctx, args[0], args[1:]...)
		s.front.Book().Call(p.name, args[0])
		return "", err
	},
	"say": func(ctx context.Context, _ *stage, p *person, args []string, d *datadriven.TestData) (string, error) {
		v, err := p.find(ctx, args[0])
		if err != nil {
			return "", err
		}
		_, err = v.Send(ctx, content.Text{Text: d.Input})
		return "", err
	},
	"typing": func(ctx context.Context, _ *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		v, err := p.find(ctx, args[0])
		if err != nil {
			return "", err
		}
		return "", v.Typing(ctx, true)
	},
	"accept": answer(func(ctx context.Context, p *person, id string) error {
		_, err := p.Accept(ctx, id)
		return err
	}),
	"decline":  answer(func(ctx context.Context, p *person, id string) error { return p.Decline(ctx, id) }),
	"requests": looking(requests),
	"invite":   aboutGroup(func(v *client.Conversation, ctx context.Context, arg string) error { return v.Invite(ctx, arg) }),
	"remove":   aboutGroup(func(v *client.Conversation, ctx context.Context, arg string) error { return v.Remove(ctx, arg) }),
	"rename":   aboutGroup(func(v *client.Conversation, ctx context.Context, arg string) error { return v.Rename(ctx, arg) }),
	"rekey":    aboutGroup(func(v *client.Conversation, ctx context.Context, _ string) error { return v.Rekey(ctx) }),
	"rejoin":   aboutGroup(func(v *client.Conversation, ctx context.Context, _ string) error { return v.Rejoin(ctx) }),
	"link": func(ctx context.Context, s *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		v, err := p.find(ctx, args[0])
		if err != nil {
			return "", err
		}
		s.links[args[1]], err = v.Link(ctx, true)
		return "", err
	},
	"join": func(ctx context.Context, s *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		_, err := p.JoinLink(ctx, s.links[args[0]])
		return "", err
	},
	"sync": func(ctx context.Context, _ *stage, p *person, _ []string, _ *datadriven.TestData) (string, error) {
		return "", p.Sync(ctx)
	},
	"flush": func(ctx context.Context, _ *stage, p *person, _ []string, _ *datadriven.TestData) (string, error) {
		return "", p.Flush(ctx)
	},
	"restart": func(_ context.Context, s *stage, p *person, _ []string, _ *datadriven.TestData) (string, error) {
		return "", s.restart(p)
	},
	"stop": func(_ context.Context, _ *stage, p *person, _ []string, _ *datadriven.TestData) (string, error) {
		return "", p.Close()
	},
	"start": func(_ context.Context, s *stage, p *person, _ []string, _ *datadriven.TestData) (string, error) {
		return "", errors.Join(s.open(p, client.Open), p.Start())
	},
	"contact": func(ctx context.Context, _ *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		c, err := p.Contact(ctx, args[0])
		return c.Username, err
	},
	"devices": func(ctx context.Context, _ *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		v, err := p.find(ctx, args[0])
		if err != nil {
			return "", err
		}
		return "", v.SyncDevices(ctx)
	},
	"numbers": numbers,
	"times":   looking(times),
	"reads":   looking(lines),
	"notices": looking(notices),
	"state":   looking(state),
	"members": looking(members),
	"sent":    looking(sent),
	"list":    looking(list),
}

func aboutGroup(do func(v *client.Conversation, ctx context.Context, arg string) error) act {
	return func(ctx context.Context, _ *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		v, err := p.find(ctx, args[0])
		if err != nil {
			return "", err
		}
		return "", do(v, ctx, strings.Join(args[1:], " "))
	}
}

// find awaits a conversation of a name.
func (p *person) find(ctx context.Context, name string) (v *client.Conversation, err error) {
	for {
		if v, err = p.named(name); err == nil || !pause(ctx) {
			return v, err
		}
	}
}

// named returns a conversation, whoever has given it the name.
func (p *person) named(name string) (*client.Conversation, error) {
	v, err := p.Find(name)
	if errors.Is(err, client.ErrNamedByOther) {
		return p.Find("#" + name)
	}
	return v, err
}

func pause(ctx context.Context) bool {
	select {
	case <-time.After(20 * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

// answer waits until somebody asks for what is named, and answers.
func answer(with func(ctx context.Context, p *person, id string) error) act {
	return func(ctx context.Context, _ *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		for {
			list, err := p.Requests()
			for _, r := range list {
				if r.Title == args[0] || r.By == args[0] {
					return "", with(ctx, p, r.ID)
				}
			}
			if err != nil || !pause(ctx) {
				return "", errors.Join(err, errors.New("nobody has asked for that"))
			}
		}
	}
}
