package liar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
		if err != nil && (d.Cmd == "person" || d.Cmd == "outsider" || d.Cmd == "lie") {
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
	"accept": func(ctx context.Context, _ *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
		for {
			list, err := p.Requests()
			for _, r := range list {
				if r.Title == args[0] || r.By == args[0] {
					_, err := p.Accept(ctx, r.ID)
					return "", err
				}
			}
			if err != nil || !pause(ctx) {
				return "", errors.Join(err, errors.New("nobody has asked for that"))
			}
		}
	},
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

// looking is a line that waits until it sees what is expected. Where expectations are
// being written (-rewrite) it takes what is there after a while.
func looking(see func(p *person, args []string, want string) (string, error)) act {
	return func(ctx context.Context, _ *stage, p *person, args []string, d *datadriven.TestData) (string, error) {
		if slices.Contains(os.Args, "-rewrite") {
			var cancel context.CancelFunc
			settle := 4 * time.Second
			if slices.Contains(words(d), "slow") {
				settle = 45 * time.Second
			}
			ctx, cancel = context.WithTimeout(ctx, settle)
			defer cancel()
		}
		for {
			out, err := see(p, args, strings.TrimSpace(d.Expected))
			out = keys.ReplaceAllString(out, "KEY…")
			if err == nil && strings.TrimSpace(out) == strings.TrimSpace(d.Expected) && !slices.Contains(os.Args, "-rewrite") || !pause(ctx) {
				return out, err
			}
		}
	}
}

func entries(p *person, name string) ([]client.Entry, error) {
	v, err := p.named(name)
	if err != nil {
		return nil, err
	}
	return v.History(0, 10_000)
}

// lines are what was said in a conversation, and when it is said to have come where
// that is far off.
func lines(p *person, args []string, _ string) (string, error) {
	list, err := entries(p, args[0])
	var out []string
	for _, e := range list {
		if e.Kind != "notice" {
			out = append(out, e.Sender+": "+e.Text)
		}
	}
	return strings.Join(out, "\n"), err
}

// notices are the sentences that stand in a conversation. Those that are wanted are
// enough.
func notices(p *person, args []string, want string) (string, error) {
	list, err := entries(p, args[0])
	var out []string
	for _, e := range list {
		if e.Kind == "notice" {
			out = append(out, e.Text)
		}
	}
	if want != "" && err == nil && !slices.ContainsFunc(strings.Split(want, "\n"), func(line string) bool { return !stands(out, line) }) {
		return want, nil
	}
	return strings.Join(out, "\n"), err
}

// stands reports whether a notice is among those that are there. N at its beginning
// is any number: what else the inbox held at that moment is not the script's.
func stands(there []string, line string) bool {
	rest, counted := strings.CutPrefix(line, "N ")
	return slices.ContainsFunc(there, func(text string) bool {
		number, after, _ := strings.Cut(text, " ")
		n, err := strconv.Atoi(number)
		return text == line || counted && err == nil && n > 0 && after == rest
	})
}

// state is what `qpq list` says of a conversation.
func state(p *person, args []string, _ string) (string, error) {
	v, err := p.named(args[0])
	if err != nil {
		return "", err
	}
	info, err := v.Info()
	out := info.Kind + " " + info.Title + ": " + info.State
	if info.Reason != "" {
		out += " (" + info.Reason + ")"
	}
	return out, err
}

// members are the accounts of a conversation with their devices.
func members(p *person, args []string, _ string) (string, error) {
	v, err := p.named(args[0])
	if err != nil {
		return "", err
	}
	list, err := v.Members()
	var out []string
	for _, m := range list {
		out = append(out, fmt.Sprintf("%s: %d", m.Username, len(m.Devices)))
	}
	return strings.Join(out, "\n"), err
}

// sent is what became of one's own messages.
func sent(p *person, args []string, _ string) (string, error) {
	list, err := entries(p, args[0])
	var out []string
	for _, e := range list {
		if e.Mine && e.Kind != "notice" {
			out = append(out, e.Text+": "+e.Status)
		}
	}
	return strings.Join(out, "\n"), err
}

// list are the conversations that there are.
func list(p *person, _ []string, _ string) (string, error) {
	all, err := p.Conversations()
	if err != nil {
		return "", err
	}
	var out []string
	for _, v := range all {
		info, err := v.Info()
		if err != nil {
			return "", err
		}
		out = append(out, info.Kind+" "+info.Title+": "+info.State)
	}
	slices.Sort(out)
	return strings.Join(out, "\n"), nil
}

// numbers compares the safety numbers that two people have of each other.
func numbers(ctx context.Context, s *stage, p *person, args []string, _ *datadriven.TestData) (string, error) {
	other := s.people[args[0]]
	if other == nil {
		return "", fmt.Errorf("nobody is called %s", args[0])
	}
	mine, err := p.Contact(ctx, other.name)
	if err != nil {
		return "", err
	}
	theirs, err := other.Contact(ctx, p.name)
	if err != nil {
		return "", err
	}
	if mine.SafetyNumber != theirs.SafetyNumber {
		return "different", nil
	}
	return "equal", nil
}

// times are when messages are said to have been sent and received: now, or how it is.
func times(p *person, args []string, _ string) (string, error) {
	list, err := entries(p, args[0])
	var out []string
	say := func(at time.Time) string {
		if off := time.Since(at); off > -time.Hour && off < time.Hour {
			return "now"
		}
		return at.UTC().Format(time.DateOnly)
	}
	for _, e := range list {
		if e.Kind != "notice" {
			out = append(out, fmt.Sprintf("%s: sent %s, received %s", e.Text, say(e.Sent), say(e.Received)))
		}
	}
	return strings.Join(out, "\n"), err
}

// requests are the invitations that nobody has answered.
func requests(p *person, _ []string, _ string) (string, error) {
	all, err := p.Requests()
	var out []string
	for _, r := range all {
		if strings.HasPrefix(r.Title, "friends of ") {
			continue // of the beginning
		}
		out = append(out, fmt.Sprintf("%s %s by %s", r.Kind, r.Title, r.By))
	}
	return strings.Join(out, "\n"), err
}
