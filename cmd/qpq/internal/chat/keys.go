package chat

import (
	"context"
	"strings"

	tea "charm.land/bubbletea/v2"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/cmd/qpq/internal/plain"
)

// key does what a key stands for.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "ctrl+c", "ctrl+q":
		return tea.Quit
	case "esc":
		m.escape()
		return nil
	case "tab", "ctrl+n":
		return m.turnTo(1)
	case "shift+tab", "ctrl+p":
		return m.turnTo(-1)
	case "pgup":
		m.scrollBy(m.bodyHeight() / 2)
		return m.older()
	case "pgdown":
		m.scrollBy(-m.bodyHeight() / 2)
		return m.seen()
	case "alt+up":
		m.choose(-1)
		return m.older()
	case "alt+down":
		m.choose(1)
		return nil
	case "enter":
		return m.enter()
	}
	if m.input.Value() == "" || m.panel != nil {
		switch k.String() {
		case "up":
			m.scrollBy(1)
			return m.older()
		case "down":
			m.scrollBy(-1)
			return m.seen()
		case "home":
			m.scrollBy(m.maxScroll())
			return m.older()
		case "end":
			m.scrollBy(-m.scroll)
			return m.seen()
		}
	}
	return m.edit(k)
}

// escape closes what is open, the innermost first.
func (m *model) escape() {
	switch {
	case m.note != "":
		m.say("", false)
	case m.panel != nil:
		m.panel = nil
	case m.chosen != 0:
		m.chosen = 0
	case m.scroll > 0:
		m.scroll = 0
	default:
		m.input.Reset()
		m.fitInput()
	}
}

// edit gives a key to the input, and tells the others that we type.
func (m *model) edit(k tea.KeyPressMsg) tea.Cmd {
	before := m.input.Value()
	var cmd tea.Cmd
	m.input, cmd = m.input.Update(k)
	m.fitInput()
	if m.input.Value() == before {
		return cmd
	}
	m.say("", false)
	if m.current == "" || strings.HasPrefix(m.input.Value(), "/") || m.now.Sub(m.typed) < typingPause {
		return cmd
	}
	m.typed = m.now
	return tea.Batch(cmd, m.quietly(func(ctx context.Context, v *client.Conversation) error { return v.Typing(ctx, true) }))
}

// scrollBy moves the history, or the panel.
func (m *model) scrollBy(lines int) {
	if m.panel != nil {
		m.panel.top = max(0, m.panel.top-lines)
		return
	}
	m.scroll = max(0, min(m.scroll+lines, m.maxScroll()))
}

// turnTo shows the next conversation of the list, or the one before.
func (m *model) turnTo(step int) tea.Cmd {
	if len(m.rows) == 0 {
		return nil
	}
	at := 0
	for i := range m.rows {
		if m.rows[i].ID == m.current {
			at = (i + step + len(m.rows)) % len(m.rows)
		}
	}
	return m.show(m.rows[at].ID)
}

// choose moves the choice over the messages.
func (m *model) choose(step int) {
	at := len(m.entries)
	for i := range m.entries {
		if m.entries[i].Seq == m.chosen {
			at = i
		}
	}
	for at += step; at >= 0 && at < len(m.entries); at += step {
		if e := &m.entries[at]; e.Kind != "notice" && !e.Deleted {
			m.chosen = e.Seq
			return
		}
	}
	if step > 0 {
		m.chosen = 0
	}
}

// enter sends the input, or runs it as a command.
func (m *model) enter() tea.Cmd {
	text := strings.TrimRight(m.input.Value(), " \n\t")
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") {
		m.clearInput()
		return m.command(text[1:])
	}
	text = strings.Replace(text, "//", "/", map[bool]int{true: 1}[strings.HasPrefix(text, "//")])
	if m.current == "" {
		m.say("Open a conversation first: /dm NAME", true)
		return nil
	}
	var body content.Body = content.Text{Text: text}
	if e := m.entry(m.chosen); e != nil {
		body = content.Reply{To: e.ID, Text: text}
	}
	m.clearInput()
	m.chosen, m.scroll, m.fresh = 0, 0, 0
	return m.send(body, text)
}

func (m *model) clearInput() {
	m.input.Reset()
	m.fitInput()
}

// paste makes a pasted text one that can be sent: its lines stay, nothing else that
// commands a terminal.
func paste(text string) string { return plain.Text(strings.ReplaceAll(text, "\r\n", "\n")) }
