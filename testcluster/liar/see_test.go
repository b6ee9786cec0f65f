package liar_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"quicproquo/client"
)

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
