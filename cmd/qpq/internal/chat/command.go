package chat

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/cmd/qpq/internal/plain"
)

// command is a word that begins with a slash.
type command struct {
	name, use, help string
	least           int // arguments
	inside          bool
	run             func(m *model, args []string, rest string) tea.Cmd
}

// commands are all of them, in the order of the help.
func commands() []command {
	return []command{
		{"dm", "NAME", "open the conversation with a person", 1, false, (*model).openDM},
		{"group", "TITLE NAME…", "make a group (quote a long title)", 1, false, (*model).makeGroup},
		{"join", "LINK", "come into a group by its link", 1, false, (*model).join},
		{"reply", "TEXT", "answer the chosen or last message", 1, true, (*model).reply},
		{"react", "EMOJI", "mark the chosen or last message", 1, true, (*model).react},
		{"edit", "TEXT", "replace your chosen or last message", 1, true, (*model).rewrite},
		{"delete", "", "take back your chosen or last message", 0, true, (*model).takeBack},
		{"accept", "", "say yes to the request, or to the new keys, that is shown", 0, true, changesRequest("accepted", accept)},
		{"decline", "", "say no to it", 0, true, changesRequest("declined", (*client.Client).Decline)},
		{"block", "NAME", "let nothing of a person through any more", 1, false, (*model).block},
		{"members", "", "who is here", 0, true, (*model).members},
		{"verify", "NAME", "show your safety number with a person", 1, false, (*model).verify},
		{"verified", "NAME", "note that you have compared it", 1, false, (*model).verified},
		{"invite", "NAME…", "add people to the group", 1, true, changes("invited", func(ctx context.Context, v *client.Conversation, args []string) error { return v.Invite(ctx, args...) })},
		{"remove", "NAME", "remove somebody from the group", 1, true, changes("removed", one((*client.Conversation).Remove))},
		{"promote", "NAME", "make a member an admin", 1, true, changes("promoted", one((*client.Conversation).Promote))},
		{"demote", "NAME", "make an admin an ordinary member", 1, true, changes("demoted", one((*client.Conversation).Demote))},
		{"rename", "TITLE", "give the group another title", 1, true, changes("renamed", func(ctx context.Context, v *client.Conversation, args []string) error {
			return v.Rename(ctx, strings.Join(args, " "))
		})},
		{"timer", "DURATION", "let messages go after 24h, say; 0 keeps them", 1, true, changes("the timer is set", setTimer)},
		{"rekey", "", "renew your keys", 0, true, changes("your keys are renewed", func(ctx context.Context, v *client.Conversation, _ []string) error { return v.Rekey(ctx) })},
		{"link", "", "make a link into the group", 0, true, (*model).link},
		{"leave", "", "leave the group", 0, true, changes("you have left", func(ctx context.Context, v *client.Conversation, _ []string) error { return v.Leave(ctx) })},
		{"rejoin", "", "come back when the thread was lost", 0, true, changes("you are back", func(ctx context.Context, v *client.Conversation, _ []string) error { return v.Rejoin(ctx) })},
		{"search", "WORDS", "find messages in all conversations", 1, false, (*model).search},
		{"help", "", "this list", 0, false, func(m *model, _ []string, _ string) tea.Cmd { m.panel = helpPanel(); return nil }},
		{"quit", "", "leave", 0, false, func(*model, []string, string) tea.Cmd { return tea.Quit }},
	}
}

// helpPanel lists keys and commands.
func helpPanel() *panel {
	p := &panel{title: " Keys and commands", lines: []string{
		" Enter             send",
		" Alt+Enter Ctrl+J  new line",
		" Tab Shift+Tab     next or previous conversation",
		" PgUp PgDn         scroll; also ↑ ↓ with an empty line",
		" Alt+↑ Alt+↓       choose a message, to answer or change it",
		" Esc               close, unchoose, empty the line",
		" Ctrl+C            leave",
		" ✓ sent  ✓✓ delivered  ✗ not sent  # group  (2) unread",
		"",
	}}
	for _, c := range commands() {
		p.lines = append(p.lines, fmt.Sprintf(" %-18s %s", "/"+strings.TrimSpace(c.name+" "+c.use), c.help))
	}
	return p
}

// command runs what was typed behind a slash.
func (m *model) command(text string) tea.Cmd {
	name, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	for _, c := range commands() {
		if c.name != strings.ToLower(name) {
			continue
		}
		args := words(rest)
		switch {
		case len(args) < c.least:
			m.say(fmt.Sprintf("/%s %s: %s", c.name, c.use, c.help), true)
			return nil
		case c.inside && m.current == "":
			m.say("Open a conversation first: /dm NAME", true)
			return nil
		}
		m.say("", false)
		return c.run(m, args, rest)
	}
	m.say(fmt.Sprintf("There is no command /%s: /help lists them; // sends a text that begins with a slash", name), true)
	return nil
}

// words splits at spaces, but not inside double quotes.
func words(text string) (list []string) {
	var word strings.Builder
	quoted, any := false, false
	flush := func() {
		if any {
			list = append(list, word.String())
		}
		word.Reset()
		any = false
	}
	for _, r := range text {
		switch {
		case r == '"':
			quoted, any = !quoted, true
		case r == ' ' && !quoted:
			flush()
		default:
			word.WriteRune(r)
			any = true
		}
	}
	flush()
	return list
}

// within runs a call that may take its time beside the screen.
func (m *model) within(f func(ctx context.Context) doneMsg) tea.Cmd {
	m.say("…", false)
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, slowest)
		defer cancel()
		return f(ctx)
	}
}

// changes makes a command of a change to the shown conversation.
func changes(note string, f func(context.Context, *client.Conversation, []string) error) func(*model, []string, string) tea.Cmd {
	return func(m *model, args []string, _ string) tea.Cmd {
		id := m.current
		return m.within(func(ctx context.Context) doneMsg {
			v, err := m.c.Find(id)
			if err == nil {
				err = f(ctx, v, args)
			}
			return doneMsg{note: note, err: err}
		})
	}
}

// changesRequest makes a command of an answer to the shown request.
func changesRequest(note string, f func(*client.Client, context.Context, string) error) func(*model, []string, string) tea.Cmd {
	return func(m *model, _ []string, _ string) tea.Cmd {
		id := m.current
		return m.within(func(ctx context.Context) doneMsg { return doneMsg{note: note, err: f(m.c, ctx, id)} })
	}
}

func accept(c *client.Client, ctx context.Context, id string) error { //nolint:revive // the shape of a method of Client
	_, err := c.Accept(ctx, id)
	return err
}

func (m *model) block(args []string, _ string) tea.Cmd {
	return m.within(func(ctx context.Context) doneMsg {
		return doneMsg{note: args[0] + " is blocked", err: m.c.Block(ctx, args[0])}
	})
}

func one(f func(*client.Conversation, context.Context, string) error) func(context.Context, *client.Conversation, []string) error {
	return func(ctx context.Context, v *client.Conversation, args []string) error { return f(v, ctx, args[0]) }
}

func setTimer(ctx context.Context, v *client.Conversation, args []string) error {
	after, err := time.ParseDuration(args[0])
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 24h, 30m or 0", args[0])
	}
	return v.SetTimer(ctx, after)
}

func (m *model) openDM(args []string, _ string) tea.Cmd {
	return m.within(func(ctx context.Context) doneMsg {
		v, err := m.c.DM(ctx, args[0])
		if err != nil {
			return doneMsg{err: err}
		}
		return doneMsg{show: v.ID()}
	})
}

func (m *model) makeGroup(args []string, _ string) tea.Cmd {
	return m.within(func(ctx context.Context) doneMsg {
		v, err := m.c.CreateGroup(ctx, args[0], args[1:]...)
		if err != nil {
			return doneMsg{err: err}
		}
		return doneMsg{show: v.ID()}
	})
}

func (m *model) join(args []string, _ string) tea.Cmd {
	return m.within(func(ctx context.Context) doneMsg {
		v, err := m.c.JoinLink(ctx, args[0])
		if err != nil {
			return doneMsg{err: err}
		}
		return doneMsg{show: v.ID()}
	})
}

// subject is the chosen message, or else the last one that fits.
func (m *model) subject(fits func(*client.Entry) bool) *client.Entry {
	if m.chosen != 0 {
		return m.entry(m.chosen)
	}
	for i := len(m.entries) - 1; i >= 0; i-- {
		if e := &m.entries[i]; e.Kind != "notice" && !e.Deleted && fits(e) {
			return e
		}
	}
	return nil
}

func others(e *client.Entry) bool { return !e.Mine }
func mine(e *client.Entry) bool   { return e.Mine }

// about sends something that speaks of another message.
func (m *model) about(e *client.Entry, restore string, body func(content.ID) content.Body) tea.Cmd {
	if e == nil {
		m.say("There is no message that this could be for", true)
		return nil
	}
	m.chosen = 0
	return m.send(body(e.ID), restore)
}

func (m *model) reply(_ []string, rest string) tea.Cmd {
	return m.about(m.subject(others), "/reply "+rest, func(to content.ID) content.Body { return content.Reply{To: to, Text: rest} })
}

func (m *model) react(args []string, rest string) tea.Cmd {
	return m.about(m.subject(others), "/react "+rest, func(to content.ID) content.Body { return content.Reaction{To: to, Emoji: args[0]} })
}

func (m *model) rewrite(_ []string, rest string) tea.Cmd {
	e := m.subject(mine)
	if e != nil && !e.Mine {
		m.say("Only messages of your own can be edited", true)
		return nil
	}
	return m.about(e, "/edit "+rest, func(to content.ID) content.Body { return content.Edit{To: to, Text: rest} })
}

func (m *model) takeBack([]string, string) tea.Cmd {
	e := m.subject(mine)
	if e != nil && !e.Mine {
		m.say("Only messages of your own can be taken back", true)
		return nil
	}
	return m.about(e, "", func(to content.ID) content.Body { return content.Delete{To: to} })
}

func (m *model) members([]string, string) tea.Cmd {
	id := m.current
	return m.within(func(context.Context) doneMsg {
		v, err := m.c.Find(id)
		if err != nil {
			return doneMsg{err: err}
		}
		list, err := v.Members()
		p := &panel{title: " Members"}
		for _, member := range list {
			line := " " + plain.Line(member.Username)
			for _, mark := range []struct {
				is   bool
				text string
			}{{member.Self, "you"}, {member.Admin, "admin"}, {member.Verified, "verified"}} {
				if mark.is {
					line += " · " + mark.text
				}
			}
			if member.Warning != "" {
				line += " · ⚠ " + plain.Line(member.Warning)
			}
			p.lines = append(p.lines, fmt.Sprintf("%s · %d devices", line, len(member.Devices)))
		}
		return doneMsg{err: err, panel: p}
	})
}

func (m *model) verify(args []string, _ string) tea.Cmd {
	return m.within(func(ctx context.Context) doneMsg {
		found, err := m.c.Contact(ctx, args[0])
		if err != nil {
			return doneMsg{err: err}
		}
		state := "You have not compared it yet: when you have, /verified " + plain.Line(found.Username)
		if found.Verified {
			state = "You have compared it."
		}
		return doneMsg{panel: &panel{title: " Safety number with " + plain.Line(found.Username), lines: []string{
			"", " " + found.SafetyNumber, "", " It must be the same on both sides. Compare it face to face or by phone.", " " + state,
		}}}
	})
}

func (m *model) verified(args []string, _ string) tea.Cmd {
	return m.within(func(context.Context) doneMsg {
		return doneMsg{note: "noted: " + args[0] + " is verified", err: m.c.SetVerified(args[0], true)}
	})
}

func (m *model) link([]string, string) tea.Cmd {
	id := m.current
	return m.within(func(ctx context.Context) doneMsg {
		v, err := m.c.Find(id)
		if err != nil {
			return doneMsg{err: err}
		}
		link, err := v.Link(ctx, true)
		return doneMsg{err: err, panel: &panel{title: " Link into the group", lines: []string{
			"", " " + link, "", " Whoever has it can come in: treat it as a secret. Another /link ends it.",
		}}}
	})
}

// found is how many messages a search shows.
const found = 100

func (m *model) search(_ []string, rest string) tea.Cmd {
	return m.within(func(context.Context) doneMsg {
		list, err := m.c.Search(rest, found)
		p := &panel{title: fmt.Sprintf(" %d messages with “%s”", len(list), plain.Line(rest))}
		for i := range list {
			e := &list[i]
			p.lines = append(p.lines, fmt.Sprintf(" %s [%s] %s: %s", e.Sent.Local().Format("2006-01-02 15:04"),
				plain.Line(e.Title), plain.Line(e.Sender), plain.Line(e.Text)))
		}
		return doneMsg{err: err, panel: p}
	})
}
