package chat

import (
	"fmt"

	"github.com/charmbracelet/x/ansi"

	"quicproquo/client"
	"quicproquo/cmd/qpq/internal/plain"
)

// list is the conversations, so that the current one is in sight.
func (s *screen) list(width, height int) []string {
	if len(s.rows) == 0 {
		return fill([]string{faint(pad(" nobody yet", width)), faint(pad(" /dm NAME", width))}, height)
	}
	at := 0
	for i := range s.rows {
		if s.rows[i].ID == s.current {
			at = i
		}
	}
	first := max(0, min(at-height/2, len(s.rows)-height))
	lines := make([]string, 0, height)
	for i := first; i < len(s.rows) && len(lines) < height; i++ {
		lines = append(lines, s.listLine(&s.rows[i], width))
	}
	return fill(lines, height)
}

// listLine is "> name (2)": a mark for the current one, one for groups, the unread
// count, and what is wrong.
func (s *screen) listLine(info *client.Info, width int) string {
	mark, kind := " ", " "
	if info.ID == s.current {
		mark = ">"
	}
	if info.Kind == "group" {
		kind = "#"
	}
	right := ""
	switch {
	case info.Unread > 0:
		right = fmt.Sprintf(" (%d)", info.Unread)
	case info.State != "active":
		right = " " + info.State
	case len(s.typing[info.ID]) > 0:
		right = " …"
	}
	left := mark + kind + plain.Line(title(info))
	room := max(width-ansi.StringWidth(right), 0)
	line := pad(left, room) + right
	line = pad(line, width)
	switch {
	case info.ID == s.current:
		return reverse(line)
	case info.Unread > 0:
		return bold(line)
	}
	return line
}
