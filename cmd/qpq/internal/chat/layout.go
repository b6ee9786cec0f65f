package chat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"quicproquo/cmd/qpq/internal/plain"
)

// Sizes of the frame, in columns and lines.
const (
	twoPanes    = 60 // from this width on the list stands beside the history
	minList     = 18
	maxList     = 32
	smallestTop = 5 // from this height on there are title lines
)

// Styles: attributes and marks tell everything, colours only help.
func bold(text string) string    { return lipgloss.NewStyle().Bold(true).Render(text) }
func faint(text string) string   { return lipgloss.NewStyle().Faint(true).Render(text) }
func reverse(text string) string { return lipgloss.NewStyle().Reverse(true).Render(text) }
func alarm(text string) string {
	return lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Yellow).Render(text)
}

// draw returns the frame: exactly height lines of at most width columns.
func (s *screen) draw() string {
	lines := make([]string, 0, s.height)
	if s.titled() {
		lines = append(lines, s.top())
	}
	lines = append(lines, s.middle(s.bodyHeight())...)
	lines = append(lines, strings.Split(s.input.View(), "\n")...)
	if s.titled() {
		lines = append(lines, s.bottom())
	}
	lines = fill(lines, s.height)
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], s.width, "")
	}
	return strings.Join(lines, "\n")
}

// titled reports whether there is room for more than history and input.
func (s *screen) titled() bool { return s.height >= smallestTop }

// bodyHeight is how many lines list and history have.
func (s *screen) bodyHeight() int {
	h := s.height - s.input.Height()
	if s.titled() {
		h -= 2
	}
	return max(h, 0)
}

// listWidth is that of the list, 0 where there is no room for one.
func (s *screen) listWidth() int {
	if s.width < twoPanes {
		return 0
	}
	return min(max(s.width/4, minList), maxList)
}

// paneWidth is that of the history.
func (s *screen) paneWidth() int {
	if w := s.listWidth(); w > 0 {
		return s.width - w - 1
	}
	return s.width
}

// middle is the list beside the history.
func (s *screen) middle(height int) []string {
	right := s.pane(height)
	width := s.listWidth()
	if width == 0 {
		return right
	}
	left := s.list(width, height)
	lines := make([]string, height)
	for i := range lines {
		lines[i] = pad(left[i], width) + faint("│") + right[i]
	}
	return lines
}

// pane is the head of the conversation, its history, and who types.
func (s *screen) pane(height int) []string {
	width := s.paneWidth()
	head, foot := s.head(width), s.foot(width)
	room := max(height-len(head)-len(foot), 0)
	var body []string
	if s.panel != nil {
		body = s.panel.view(width, room)
	} else {
		body = s.visible(width, room)
	}
	return fill(slices.Concat(head, body, foot), height)
}

// fill makes lines exactly n.
func fill(lines []string, n int) []string {
	for len(lines) < n {
		lines = append(lines, "")
	}
	return lines[:n]
}

// pad fills a line with spaces up to a width, or cuts it.
func pad(line string, width int) string {
	line = ansi.Truncate(line, width, "…")
	return line + strings.Repeat(" ", max(width-ansi.StringWidth(line), 0))
}

// top tells who we are and how it stands with the cluster.
func (s *screen) top() string {
	state := "○ offline, what you write waits here"
	switch {
	case s.online && s.problem != "":
		state = fmt.Sprintf("● %s (%s)", plain.Line(s.node), s.problem)
	case s.online:
		state = "● " + plain.Line(s.node)
		if s.round > 0 {
			state += fmt.Sprintf(" %s", s.round.Round(100*time.Microsecond))
		}
	case !s.loggedIn && s.problem == "" && s.node != "":
		state = "○ logged out: run `qpq login`"
	}
	if s.waiting > 0 {
		state += fmt.Sprintf(" · %d waiting", s.waiting)
	}
	left := " qpq · " + plain.Line(s.me) + " · " + state
	unread := 0
	for i := range s.rows {
		unread += s.rows[i].Unread
	}
	right := ""
	if unread > 0 {
		right = fmt.Sprintf("%d unread ", unread)
	}
	return reverse(pad(pad(left, max(s.width-ansi.StringWidth(right), 0))+right, s.width))
}

// bottom is a note, or a reminder of the keys.
func (s *screen) bottom() string {
	switch {
	case s.note != "" && s.bad:
		return alarm(pad("! "+plain.Line(s.note), s.width))
	case s.note != "":
		return pad(plain.Line(s.note), s.width)
	case s.panel != nil:
		return faint(pad("Esc closes · Up/Down scroll", s.width))
	case s.chosen != 0:
		return faint(pad("Enter replies · /react 👍 · /edit TEXT · /delete · Esc", s.width))
	case s.scroll > 0:
		return faint(pad("PgDn or End: back to the latest", s.width))
	}
	return faint(pad("Enter sends · Tab next · Alt+Up choose · PgUp older · /help · Ctrl+C leaves", s.width))
}

// cursor is where the input's cursor stands on the screen.
func (s *screen) cursor() *tea.Cursor {
	c := s.input.Cursor()
	if c == nil {
		return nil
	}
	c.Y += s.bodyHeight()
	if s.titled() {
		c.Y++
	}
	if c.Y >= s.height || c.X >= s.width {
		return nil
	}
	return c
}

// view is the part of a panel that fits.
func (p *panel) view(width, height int) []string {
	var lines []string
	for _, line := range p.lines {
		lines = append(lines, wrap(plain.Line(line), width)...)
	}
	p.top = max(0, min(p.top, len(lines)-height+1))
	return fill(append([]string{bold(pad(plain.Line(p.title), width))}, lines[min(p.top, len(lines)):]...), height)
}
