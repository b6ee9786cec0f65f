package chat

import (
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textarea"
	"charm.land/lipgloss/v2"

	"quicproquo/client"
)

// screen is all that is shown.
type screen struct {
	me            string // username
	width, height int
	now           time.Time
	zone          *time.Location // of the times that are shown

	rows    []client.Info // conversations, the latest activity first
	current string        // id of the one that is shown, empty for none
	entries []client.Entry
	whole   bool   // entries has the conversation's beginning
	fresh   uint64 // the first entry that was unread when it was opened, 0 for none
	scroll  int    // lines that are hidden below
	chosen  uint64 // the entry that a reply, reaction or change is for, 0 for none

	input  textarea.Model
	note   string // what a command said
	bad    bool   // and that it failed
	panel  *panel // shown in the place of the history
	typing map[string]map[string]time.Time

	online   bool
	node     string // address, or the id once it is known
	round    time.Duration
	waiting  int // messages and changes that wait for the cluster
	problem  string
	loggedIn bool
}

// panel is a text that was asked for.
type panel struct {
	title string
	lines []string
	top   int
}

// maxInputLines is how high the input grows.
const maxInputLines = 5

func newScreen(me string) screen {
	in := textarea.New()
	in.Prompt, in.Placeholder, in.ShowLineNumbers = "› ", "Write a message, or /help", false
	in.CharLimit = 64 << 10
	in.MaxHeight = 200
	in.SetVirtualCursor(false)
	in.KeyMap.InsertNewline = key.NewBinding(key.WithKeys("alt+enter", "ctrl+j", "shift+enter"))
	in.SetStyles(plainStyles())
	in.SetHeight(1)
	return screen{me: me, input: in, now: time.Now(), zone: time.Local, typing: map[string]map[string]time.Time{}, width: 80, height: 24}
}

// plainStyles keeps the input in the terminal's own colours.
func plainStyles() textarea.Styles {
	s := textarea.StyleState{
		Base: lipgloss.NewStyle(), Text: lipgloss.NewStyle(), CursorLine: lipgloss.NewStyle(),
		Placeholder: lipgloss.NewStyle().Faint(true), Prompt: lipgloss.NewStyle().Bold(true), EndOfBuffer: lipgloss.NewStyle(),
	}
	return textarea.Styles{Focused: s, Blurred: s}
}

// resize fits everything into a window.
func (s *screen) resize(width, height int) {
	s.width, s.height = max(width, 1), max(height, 1)
	s.fitInput()
	s.scroll = min(s.scroll, s.maxScroll())
}

// fitInput makes the input as high as its text, within bounds.
func (s *screen) fitInput() {
	s.input.SetWidth(max(s.width, 4))
	lines := 0
	for line := range strings.SplitSeq(s.input.Value(), "\n") {
		lines += 1 + lipgloss.Width(line)/max(s.width-3, 1)
	}
	s.input.SetHeight(max(1, min(lines, maxInputLines, s.height/4)))
}

// info is the conversation that is shown, nil for none.
func (s *screen) info() *client.Info {
	for i := range s.rows {
		if s.rows[i].ID == s.current {
			return &s.rows[i]
		}
	}
	return nil
}

// entry is an entry by its place, nil if it is not loaded.
func (s *screen) entry(seq uint64) *client.Entry {
	for i := range s.entries {
		if s.entries[i].Seq == seq {
			return &s.entries[i]
		}
	}
	return nil
}

// types notes that somebody types, or no longer does.
func (s *screen) types(conversation, who string, active bool) {
	if s.typing[conversation] == nil {
		s.typing[conversation] = map[string]time.Time{}
	}
	if active {
		s.typing[conversation][who] = s.now.Add(typingLife)
	} else {
		delete(s.typing[conversation], who)
	}
}

// fade forgets who has not typed for a while.
func (s *screen) fade() {
	for conversation, people := range s.typing {
		for who, until := range people {
			if s.now.After(until) {
				delete(people, who)
			}
		}
		if len(people) == 0 {
			delete(s.typing, conversation)
		}
	}
}

// expired reports whether something that is loaded is over.
func (s *screen) expired() bool {
	for i := range s.entries {
		if s.over(s.entries[i].Expires) {
			return true
		}
	}
	return false
}

// told takes what the node said of itself.
func (s *screen) told(status client.Status, err error) {
	s.loggedIn = status.Account.LoggedIn
	s.online = err == nil && status.Receiving
	s.waiting, s.problem = status.Outbox+status.Intents, ""
	if err != nil {
		s.problem = "no node answers"
		return
	}
	s.node, s.round = status.Health.NodeID, status.Round
	if status.Health.Status != "ok" {
		s.problem = status.Health.Status
	}
}

// say shows a note in the last line.
func (s *screen) say(text string, bad bool) { s.note, s.bad = text, bad }

// title is what a conversation is called.
func title(info *client.Info) string {
	if info.Kind == "dm" {
		return info.Peer
	}
	return info.Title
}
