package chat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"quicproquo/client"
	"quicproquo/cmd/qpq/internal/plain"
)

// indent is what the further lines of a message are indented by.
const indent = 6

// head is the conversation's title line.
func (s *screen) head(width int) []string {
	if s.height < smallestTop+2 {
		return nil
	}
	info := s.info()
	if info == nil {
		return []string{pad("", width)}
	}
	text := " " + plain.Line(title(info))
	if info.Kind == "group" {
		text = fmt.Sprintf(" # %s · %d members", plain.Line(info.Title), info.Members)
	}
	if info.Warning != "" {
		text += " · ⚠ " + plain.Line(info.Warning)
	}
	if info.Timer > 0 {
		text += " · messages go after " + info.Timer.String()
	}
	if info.State != "active" {
		text += " · " + strings.ToUpper(info.State)
		if info.Reason != "" {
			text += ": " + plain.Line(info.Reason)
		}
	}
	return []string{bold(pad(text, width))}
}

// foot is who types.
func (s *screen) foot(width int) []string {
	if s.height < smallestTop+2 {
		return nil
	}
	var who []string
	for name := range s.typing[s.current] {
		who = append(who, plain.Line(name))
	}
	slices.Sort(who)
	switch len(who) {
	case 0:
		return []string{pad("", width)}
	case 1:
		return []string{faint(pad(" "+who[0]+" is typing…", width))}
	}
	return []string{faint(pad(" "+strings.Join(who, ", ")+" are typing…", width))}
}

// visible is the part of the history that fits, the latest below.
func (s *screen) visible(width, height int) []string {
	if s.current == "" {
		return fill([]string{"", faint(pad(" Open a conversation: /dm NAME, or /group TITLE NAMES", width))}, height)
	}
	lines := s.lines(width)
	s.scroll = max(0, min(s.scroll, len(lines)-height))
	end := len(lines) - s.scroll
	lines = lines[max(0, end-height):end]
	return append(make([]string, height-len(lines)), lines...)
}

// maxScroll is how far back the loaded history goes.
func (s *screen) maxScroll() int {
	room := max(s.bodyHeight()-len(s.head(1))-len(s.foot(1)), 0)
	return max(0, len(s.lines(s.paneWidth()))-room)
}

// lines is the whole loaded history.
func (s *screen) lines(width int) (lines []string) {
	if !s.whole {
		lines = append(lines, faint(pad("  ↑ older messages: PgUp", width)))
	}
	day := ""
	for i := range s.entries {
		e := &s.entries[i]
		if s.over(e.Expires) {
			continue
		}
		if d := e.Sent.In(s.zone).Format("Monday 2 January 2006"); d != day {
			day = d
			lines = append(lines, rule(d, width))
		}
		if e.Seq == s.fresh {
			lines = append(lines, rule("new", width))
		}
		lines = append(lines, s.entryLines(e, width)...)
	}
	return lines
}

func rule(text string, width int) string {
	return faint(ansi.Truncate("── "+text+" "+strings.Repeat("─", max(width-len(text)-4, 0)), width, ""))
}

// entryLines is one entry: "15:04 name: text ✓".
func (s *screen) entryLines(e *client.Entry, width int) []string {
	clock := e.Sent.In(s.zone).Format("15:04")
	if e.Kind == "notice" {
		return append(s.styled(e, alarming(e.Notice), hanging(clock+" * "+plain.Line(e.Text), width)), warned(e.Warning, width)...)
	}
	name := plain.Line(e.Sender)
	if e.Mine {
		name = "you"
	}
	var lines []string
	if e.ReplyTo != nil {
		lines = append(lines, faint(pad(strings.Repeat(" ", indent)+"↪ "+s.quoted(e.Answers), width)))
	}
	text := plain.Text(e.Text)
	switch {
	case e.Deleted:
		text = "(deleted)"
	case e.Kind == "unknown":
		text = "(a message that a newer version can show)"
	}
	if e.Edited {
		text += " (edited)"
	}
	lines = append(lines, s.styled(e, false, hanging(clock+" "+name+": "+text+statusMark(e), width))...)
	lines = append(lines, warned(e.Warning, width)...)
	for _, name := range e.UnreadableBy {
		lines = append(lines, s.styled(e, true, hanging(strings.Repeat(" ", indent)+plain.Line(name)+"'s device could not read this", width))...)
	}
	if marks := reactions(e); marks != "" {
		lines = append(lines, pad(strings.Repeat(" ", indent)+marks, width))
	}
	return lines
}

// styled marks the chosen entry and warnings.
func (s *screen) styled(e *client.Entry, warn bool, lines []string) []string {
	for i := range lines {
		switch {
		case e.Seq == s.chosen:
			lines[i] = reverse(lines[i])
		case warn:
			lines[i] = alarm(lines[i])
		case e.Kind == "notice":
			lines[i] = faint(lines[i])
		}
	}
	return lines
}

// alarming are the notices that a user must not overlook.
func alarming(kind client.EventKind) bool {
	return kind == client.EventLoss || kind == client.EventInvalid || kind == client.EventFailed
}

// statusMark tells what became of our own message, in signs and words.
func statusMark(e *client.Entry) string {
	if !e.Mine || e.Deleted {
		return ""
	}
	switch e.Status {
	case "waiting":
		return " … waiting"
	case "sent":
		return " ✓"
	case "delivered":
		return " ✓✓"
	case "read":
		return " ✓✓ read"
	case "failed":
		return " ✗ not sent"
	}
	return ""
}

// reactions is "👍 bob, carol  ❤ alice".
func reactions(e *client.Entry) string {
	var order []string
	by := map[string][]string{}
	for _, r := range e.Reactions {
		emoji := plain.Line(r.Emoji)
		if by[emoji] == nil {
			order = append(order, emoji)
		}
		by[emoji] = append(by[emoji], plain.Line(r.By))
	}
	parts := make([]string, 0, len(order))
	for _, emoji := range order {
		parts = append(parts, emoji+" "+strings.Join(by[emoji], ", "))
	}
	return strings.Join(parts, "  ")
}

// quoted is the beginning of a message that another answers.
func (s *screen) quoted(q *client.Quote) string {
	switch {
	case q == nil || q.Gone == client.QuoteMissing || s.over(q.Expires):
		return "a message that is not here any more"
	case q.Gone != "":
		return plain.Line(q.Sender) + ": (deleted)"
	}
	return plain.Line(q.Sender) + ": " + plain.Line(q.Text)
}

// over reports whether the time of something is: it is not shown for a second more.
func (s *screen) over(at time.Time) bool { return !at.IsZero() && !s.now.Before(at) }

// warned is the line about a name or text that looks like another's.
func warned(warning string, width int) []string {
	if warning == "" {
		return nil
	}
	lines := wrap("⚠ "+plain.Line(warning), max(width-indent, 1))
	for i := range lines {
		lines[i] = alarm(ansi.Truncate(strings.Repeat(" ", indent)+lines[i], width, ""))
	}
	return lines
}

// hanging wraps a text; its further lines are indented.
func hanging(text string, width int) []string {
	if width <= 2*indent {
		return wrap(text, width)
	}
	lines := wrap(text, width)
	if len(lines) == 1 {
		return lines
	}
	first := lines[0]
	rest := strings.TrimPrefix(text, first)
	rest = strings.TrimLeft(rest, " ")
	rest = strings.TrimPrefix(rest, "\n")
	lines = []string{first}
	for _, line := range wrap(rest, width-indent) {
		lines = append(lines, strings.Repeat(" ", indent)+line)
	}
	return lines
}

// wrap breaks a text into lines of at most width columns, at words where it can.
func wrap(text string, width int) []string {
	if width < 1 {
		return nil
	}
	lines := strings.Split(ansi.Wrap(text, width, ""), "\n")
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], width, "")
	}
	return lines
}
