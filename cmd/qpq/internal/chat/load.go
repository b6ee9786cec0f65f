package chat

import (
	"context"
	"errors"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"quicproquo/client"
	"quicproquo/client/content"
)

// page is how many entries are loaded at once.
const page = 200

// loadedMsg is what the client has.
type loadedMsg struct {
	rows    []client.Info
	id      string // of entries
	entries []client.Entry
	whole   bool
	err     error
}

// doneMsg is the end of something that the user wanted.
type doneMsg struct {
	note    string // shown if it went well
	err     error
	restore string // put back into the input if it failed
	show    string // the conversation to show
	panel   *panel
	quiet   bool
}

// reload reads the list and the shown conversation. While one reading is under way
// only one more is kept in mind: a burst of changes costs two.
func (m *model) reload() tea.Cmd {
	if m.loading {
		m.again = true
		return nil
	}
	m.loading = true
	return m.load(m.current, max(page, len(m.entries)))
}

// load reads the list and a conversation's last n entries.
func (m *model) load(id string, n int) tea.Cmd {
	open := m.open
	return func() tea.Msg {
		msg := loadedMsg{id: id}
		list, err := m.c.Conversations()
		if err != nil {
			return loadedMsg{err: err}
		}
		for _, v := range list {
			info, err := v.Info()
			if err != nil {
				return loadedMsg{err: err}
			}
			msg.rows = append(msg.rows, info)
		}
		requestsLast(msg.rows)
		if msg.id == "" && open != "" {
			v, err := m.c.Find(open)
			if err != nil {
				msg.err = err
				return msg
			}
			msg.id = v.ID()
		}
		if msg.id == "" && len(msg.rows) > 0 && !asks(&msg.rows[0]) {
			msg.id = msg.rows[0].ID
		}
		if msg.id == "" {
			return msg
		}
		v, err := m.c.Find(msg.id)
		if err != nil {
			msg.err = err
			return msg
		}
		msg.entries, msg.err = v.History(0, n)
		msg.whole = len(msg.entries) < n
		return msg
	}
}

// loaded takes what was read.
func (m *model) loaded(msg loadedMsg) tea.Cmd {
	m.loading = false
	if msg.err != nil {
		m.say(reason(msg.err), true)
		m.open = ""
	} else {
		m.open = ""
	}
	if msg.rows != nil {
		m.rows = msg.rows
	}
	if m.current == "" {
		m.current = msg.id
		m.fresh = firstUnread(m.info(), msg.entries)
	}
	if msg.id == m.current && msg.err == nil {
		m.keepPlace(msg)
	}
	var next tea.Cmd
	if m.again || msg.id != m.current {
		m.again = false
		next = m.reload()
	}
	return tea.Batch(next, m.seen())
}

// keepPlace takes new entries; who reads older ones is not moved.
func (m *model) keepPlace(msg loadedMsg) {
	before := 0
	if m.scroll > 0 {
		before = len(m.lines(m.paneWidth()))
	}
	grown := len(m.entries) > 0 && len(msg.entries) > 0 && m.entries[0].Seq == msg.entries[0].Seq
	m.entries, m.whole = msg.entries, msg.whole
	if before > 0 && grown {
		m.scroll += len(m.lines(m.paneWidth())) - before
	}
	m.scroll = max(0, min(m.scroll, m.maxScroll()))
	if m.chosen != 0 && m.entry(m.chosen) == nil {
		m.chosen = 0
	}
}

// firstUnread is the entry that the line "new" stands above.
func firstUnread(info *client.Info, entries []client.Entry) uint64 {
	if info == nil || info.Unread == 0 {
		return 0
	}
	left := info.Unread
	for _, e := range slices.Backward(entries) {
		if !e.Mine && e.Kind != "notice" {
			if left--; left == 0 {
				return e.Seq
			}
		}
	}
	return 0
}

// older loads more when the top of what is loaded is in sight.
func (m *model) older() tea.Cmd {
	if m.panel != nil || m.whole || m.loading || m.current == "" || m.scroll < m.maxScroll() {
		return nil
	}
	m.loading = true
	return m.load(m.current, len(m.entries)+page)
}

// show turns to a conversation.
func (m *model) show(id string) tea.Cmd {
	if id == m.current {
		return nil
	}
	m.current, m.entries, m.whole, m.scroll, m.chosen, m.panel = id, nil, true, 0, 0, nil
	m.fresh = 0
	if m.loading {
		m.again = true
		return nil
	}
	m.loading = true
	load := m.load(id, page)
	unread := 0
	if info := m.info(); info != nil {
		unread = info.Unread
	}
	return func() tea.Msg {
		msg, ok := load().(loadedMsg)
		if !ok {
			return nil
		}
		return firstMsg{msg, unread}
	}
}

// firstMsg is the first reading of a conversation that was turned to.
type firstMsg struct {
	loadedMsg
	unread int
}

// seen marks what is in sight as read.
func (m *model) seen() tea.Cmd {
	if m.current == "" || m.scroll > 0 || m.panel != nil || len(m.entries) == 0 {
		return nil
	}
	last := m.entries[len(m.entries)-1].Seq
	info := m.info()
	if m.marked[m.current] >= last && (info == nil || info.Unread == 0) {
		return nil
	}
	m.marked[m.current] = last
	return m.quietly(func(ctx context.Context, v *client.Conversation) error { return v.MarkRead(ctx, last) })
}

// quietly does something of no consequence in the shown conversation.
func (m *model) quietly(f func(context.Context, *client.Conversation) error) tea.Cmd {
	id := m.current
	return func() tea.Msg {
		v, err := m.c.Find(id)
		if err == nil {
			ctx, cancel := context.WithTimeout(m.ctx, slowest)
			defer cancel()
			err = f(ctx, v)
		}
		return doneMsg{quiet: true, err: err}
	}
}

// send says something in the shown conversation. It is in the vault when the command
// ends; a text that is refused comes back into the input.
func (m *model) send(body content.Body, text string) tea.Cmd {
	id := m.current
	return func() tea.Msg {
		v, err := m.c.Find(id)
		if err == nil {
			_, err = v.Send(m.ctx, body)
		}
		return doneMsg{err: err, restore: text}
	}
}

// done takes the end of something that the user wanted.
func (m *model) done(msg doneMsg) tea.Cmd {
	if msg.quiet {
		return nil
	}
	if msg.err != nil {
		m.say(reason(msg.err), true)
		if msg.restore != "" && m.input.Value() == "" {
			m.input.SetValue(msg.restore)
			m.fitInput()
		}
		return nil
	}
	m.say(msg.note, false)
	if msg.panel != nil {
		m.panel = msg.panel
	}
	if msg.show != "" && msg.show != m.current {
		return tea.Batch(m.show(msg.show), m.reload())
	}
	return m.reload()
}

// hinted are errors that say what to do.
type hinted interface {
	error
	Hint() string
}

// reason is an error in a line, with what to do about it.
func reason(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if h, ok := errors.AsType[hinted](err); ok {
		text += ". " + h.Hint()
	}
	return text
}
