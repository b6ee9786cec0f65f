package chat

import (
	"fmt"
	"slices"

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
	var lines []string
	for i := range s.rows {
		if asks(&s.rows[i]) && (i == 0 || !asks(&s.rows[i-1])) {
			lines = append(lines, faint(pad("─ requests ", width)))
		}
		if s.rows[i].ID == s.current {
			at = len(lines)
		}
		lines = append(lines, s.listLine(&s.rows[i], width))
	}
	first := max(0, min(at-height/2, len(lines)-height))
	return fill(lines[first:min(first+height, len(lines))], height)
}

// asks reports whether a conversation waits for the user's yes or no: those stand in a
// list of their own, below the others.
func asks(info *client.Info) bool { return info.State == "request" || info.State == "unproven" }

// requestsLast puts what waits for a yes or no behind the rest.
func requestsLast(rows []client.Info) {
	slices.SortStableFunc(rows, func(a, b client.Info) int {
		switch {
		case asks(&a) == asks(&b):
			return 0
		case asks(&b):
			return -1
		}
		return 1
	})
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
	name := plain.Line(title(info))
	if info.Warning != "" {
		name = "⚠ " + name
	}
	left := mark + kind + name
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
