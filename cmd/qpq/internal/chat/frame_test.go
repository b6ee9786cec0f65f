package chat

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"quicproquo/client"
	"quicproquo/client/content"
)

var update = flag.Bool("update", false, "write the frames anew")

// sample is a screen in the middle of a life.
func sample() screen {
	s := newScreen("bob")
	s.zone = time.UTC
	at := time.Date(2026, 11, 26, 21, 58, 0, 0, time.UTC)
	s.now = at
	s.online, s.node, s.round, s.loggedIn = true, "n2", 1234*time.Microsecond, true
	s.rows = []client.Info{
		{ID: "a", Kind: "group", Title: "book club", State: "active", Members: 3, Timer: 24 * time.Hour},
		{ID: "b", Kind: "dm", Peer: "alice", State: "active", Unread: 2},
		{ID: "c", Kind: "group", Title: "a title that is much too long for the list", State: "removed"},
		{ID: "d", Kind: "dm", Peer: "日本語の名前です長い", State: "active"},
	}
	s.current, s.whole = "a", true
	question := content.ID{1}
	s.entries = []client.Entry{
		{Seq: 1, Kind: "notice", Notice: client.EventInvited, Text: "carol has invited you", Sent: at},
		{Seq: 2, ID: question, Kind: "text", Sender: "carol", Text: "Has anybody read the one about the lighthouse? I liked it a lot, though the middle drags on.", Sent: at.Add(time.Minute)},
		{Seq: 3, Kind: "reply", ReplyTo: &question, Answers: &client.Quote{Seq: 2, Sender: "carol", Text: "Has anybody read the one about the lighthouse? I liked it a lot, though the middle drags on."}, Sender: "bob", Mine: true, Status: "read", Text: "Not yet.", Sent: at.Add(2 * time.Minute), Reactions: []client.Reaction{{Emoji: "👍", By: "carol"}, {Emoji: "👍", By: "alice"}, {Emoji: "❤", By: "dave"}}},
		{Seq: 4, Kind: "text", Sender: "alice", Text: "two\nlines", Edited: true, Sent: at.Add(3 * time.Hour)},
		{Seq: 5, Kind: "text", Sender: "alice", Deleted: true, Sent: at.Add(3 * time.Hour)},
		{Seq: 6, Kind: "unknown", Sender: "alice", Sent: at.Add(3 * time.Hour)},
		{Seq: 7, Kind: "notice", Notice: client.EventLoss, Text: "2 envelopes were lost before they reached this device", Sent: at.Add(3 * time.Hour)},
		{Seq: 8, Kind: "text", Sender: "bob", Mine: true, Status: "waiting", Text: "\x1b[2Jharmless \u202e日本語", Sent: at.Add(4 * time.Hour)},
	}
	s.fresh = 4
	s.types("a", "carol", true)
	return s
}

// The frames that a person sees, without their attributes: what they tell does not
// hang on colour. `go test ./cmd/qpq/internal/chat -update` writes them anew.
func TestFrames(t *testing.T) {
	for name, change := range map[string]func(*screen){
		"80x24":       func(s *screen) { s.resize(80, 24) },
		"120x40":      func(s *screen) { s.resize(120, 40) },
		"50x12":       func(s *screen) { s.resize(50, 12) },
		"20x4":        func(s *screen) { s.resize(20, 4) },
		"help-80x24":  func(s *screen) { s.resize(80, 24); s.panel = helpPanel() },
		"empty-80x24": func(s *screen) { *s = newScreen("bob"); s.resize(80, 24) },
		"offline-80x24": func(s *screen) {
			s.resize(80, 24)
			s.told(client.Status{Outbox: 3}, fmt.Errorf("no node answers"))
			s.say("there is no such conversation. List the conversations, or open one", true)
		},
		"requests-80x24": func(s *screen) {
			s.rows = append(s.rows, client.Info{ID: "e", Kind: "dm", Peer: "eve", State: "request"}, client.Info{ID: "f", Kind: "dm", Peer: "frank", State: "active"})
			requestsLast(s.rows)
			s.resize(80, 24)
		},
		"older-80x24": func(s *screen) { s.whole = false; s.resize(80, 24); s.scroll = s.maxScroll(); s.chosen = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			s := sample()
			change(&s)
			frame := s.draw()
			checkFrame(t, &s, frame)
			var got string
			for line := range strings.SplitSeq(ansi.Strip(frame), "\n") {
				got += strings.TrimRight(line, " ") + "\n"
			}
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("the frame is another (-want +got):\n%s", diff)
			}
		})
	}
}

// checkFrame reports whether a frame fits its window and commands nothing.
func checkFrame(tb testing.TB, s *screen, frame string) {
	tb.Helper()
	lines := strings.Split(frame, "\n")
	if len(lines) != s.height {
		tb.Fatalf("a window of %d lines got %d", s.height, len(lines))
	}
	for i, line := range lines {
		if w := ansi.StringWidth(line); w > s.width {
			tb.Fatalf("line %d has %d columns in a window of %d: %q", i, w, s.width, line)
		}
		if !utf8.ValidString(line) {
			tb.Fatalf("line %d is not UTF-8: %q", i, line)
		}
		for _, r := range ansi.Strip(line) {
			if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
				tb.Fatalf("line %d lets %U through: %q", i, r, line)
			}
		}
	}
}

// FuzzFrame: no text, name or window breaks the frame.
func FuzzFrame(f *testing.F) {
	f.Add("hello", "alice", "title", 80, 24)
	f.Add("\x1b[31m\x1b]0;x\a\u202e", "日本", "👩‍👩‍👧\n", 61, 7)
	f.Add("a\u0300\u0301 \t\r\n\u200b", "\xff\xfe", "\x9b2J", 1, 1)
	f.Fuzz(func(t *testing.T, text, name, titled string, width, height int) {
		s := sample()
		for i := range s.entries {
			s.entries[i].Text, s.entries[i].Sender = text, name
			s.entries[i].Reactions = []client.Reaction{{Emoji: text, By: name}}
		}
		for i := range s.rows {
			s.rows[i].Title, s.rows[i].Peer, s.rows[i].Reason = titled, titled, text
		}
		s.node, s.me = name, name
		s.types("a", name, true)
		s.say(text, true)
		s.resize(1+abs(width)%200, 1+abs(height)%80)
		checkFrame(t, &s, s.draw())
		s.chosen, s.scroll = 3, s.maxScroll()
		checkFrame(t, &s, s.draw())
		s.panel = &panel{title: titled, lines: []string{name}}
		s.panel.title = title(&client.Info{Kind: "dm", Peer: "x"})
		checkFrame(t, &s, s.draw())
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}

// Keys that need no cluster: choosing, scrolling, commands that are refused, and what
// stands in the input.
func TestKeys(t *testing.T) {
	m := &model{screen: sample(), marked: map[string]uint64{}, loading: true}
	m.input.Focus()
	m.resize(80, 10)
	press := func(keys ...tea.KeyPressMsg) {
		for _, k := range keys {
			m.key(k)
		}
	}
	typed := func(text string) {
		for _, r := range text {
			press(tea.KeyPressMsg{Text: string(r), Code: r})
		}
	}
	m.typed = m.now // nothing is sent to others
	up := tea.KeyPressMsg{Code: tea.KeyUp, Mod: tea.ModAlt}
	press(up)
	if m.chosen != 8 {
		t.Errorf("Alt+Up chose %d, expected the last message, 8", m.chosen)
	}
	press(up, up)
	if m.chosen != 4 {
		t.Errorf("Alt+Up twice more chose %d, expected 4: notices and deleted ones are passed over", m.chosen)
	}
	press(tea.KeyPressMsg{Code: tea.KeyEscape})
	if m.chosen != 0 {
		t.Error("Esc did not take the choice back")
	}
	press(tea.KeyPressMsg{Code: tea.KeyPgUp})
	if m.scroll == 0 {
		t.Error("PgUp did not scroll")
	}
	press(tea.KeyPressMsg{Code: tea.KeyEnd})
	if m.scroll != 0 {
		t.Error("End did not come back to the latest")
	}
	typed("/nonsense")
	press(tea.KeyPressMsg{Code: tea.KeyEnter})
	if !m.bad || !strings.Contains(m.note, "no command /nonsense") || m.input.Value() != "" {
		t.Errorf("an unknown command says %q and leaves %q", m.note, m.input.Value())
	}
	typed("/rename")
	press(tea.KeyPressMsg{Code: tea.KeyEnter})
	if !m.bad || !strings.Contains(m.note, "/rename TITLE") {
		t.Errorf("a command without its argument says %q", m.note)
	}
	typed("one")
	press(tea.KeyPressMsg{Code: tea.KeyEnter, Mod: tea.ModAlt})
	typed("two")
	if m.input.Value() != "one\ntwo" || m.input.Height() != 2 {
		t.Errorf("the input is %q, %d lines high", m.input.Value(), m.input.Height())
	}
	m.Update(tea.PasteMsg{Content: "\x1b[31m\r\nthree"})
	if m.input.Value() != "one\ntwo␛[31m\nthree" {
		t.Errorf("after pasting the input is %q", m.input.Value())
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "a b": {"a", "b"}, `"book club" bob`: {"book club", "bob"}, ` a  "" `: {"a", ""}, `open "end`: {"open", "end"},
	} {
		if got := words(text); !cmp.Equal(got, want) {
			t.Errorf("words(%q) = %q, expected %q", text, got, want)
		}
	}
}
