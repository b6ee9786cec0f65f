// Package chat is the full screen of `qpq chat`: the conversations on the left, one of
// them on the right, an input line, and how it stands with the cluster.
//
// The screen is a function of a state (type screen), which knows no client: what is
// shown can be tested as text. Everything that reads or changes a conversation runs
// as a command beside the screen and comes back as a message, so nothing blocks the
// keys. What is sent is in the vault before the input line is empty.
//
// Texts of others go through package plain before they are measured: nobody's text can
// break the frame. Nothing is told by colour alone.
//
// Reading order: chat.go (Run, the bubbletea model), state.go (the screen's state),
// layout.go, list.go, history.go (from state to lines), keys.go (what keys do),
// command.go (slash commands), load.go (the client's side).
package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"quicproquo/client"
)

// Options say what the screen shows and where.
type Options struct {
	Client *client.Client
	// Conversation is what to open: a name as client.Find takes it; empty: the one with
	// the latest activity.
	Conversation string
	In           io.Reader
	Out          io.Writer
	Environment  []string // NO_COLOR, TERM and the like
}

// Run shows the screen until the user leaves it or ctx ends.
func Run(ctx context.Context, o Options) error {
	if err := o.Client.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newModel(ctx, o.Client, o.Conversation)
	program := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithEnvironment(o.Environment))
	signals := make(chan struct{})
	go func() {
		defer close(signals)
		for s := range o.Client.Watch(ctx) {
			program.Send(signalMsg(s))
		}
	}()
	_, err := program.Run()
	left := ctx.Err() != nil || errors.Is(err, tea.ErrProgramKilled) || errors.Is(err, tea.ErrInterrupted)
	cancel()
	<-signals
	if err != nil && !left {
		return fmt.Errorf("run the screen: %w", err)
	}
	return nil
}

// model is the bubbletea model: the state and what changes it.
type model struct {
	screen
	ctx  context.Context //nolint:containedctx // bubbletea's commands take none
	c    *client.Client
	open string // the conversation to open when the list is there

	loading, again bool // the client is being read; it has changed since
	typed          time.Time
	marked         map[string]uint64 // how far conversations are marked as read
}

// Pauses of the screen.
const (
	tickPause   = time.Second      // between two looks at what fades
	statusPause = 10 * time.Second // between two questions to the node
	typingPause = 4 * time.Second  // between two notes that the user types
	typingLife  = 6 * time.Second  // of a note that another types
	slowest     = 20 * time.Second // for a command to the cluster
)

// Messages of the screen to itself.
type (
	signalMsg client.Signal
	tickMsg   time.Time
	statusMsg struct {
		status client.Status
		err    error
	}
)

func newModel(ctx context.Context, c *client.Client, open string) *model {
	m := &model{ctx: ctx, c: c, open: open, marked: map[string]uint64{}}
	m.screen = newScreen(c.Account().Username)
	return m
}

// Init starts the clocks and the first look at the client.
func (m *model) Init() tea.Cmd {
	return tea.Batch(m.reload(), m.askStatus(), tick(), m.input.Focus())
}

func tick() tea.Cmd { return tea.Tick(tickPause, func(t time.Time) tea.Msg { return tickMsg(t) }) }

// askStatus asks the node how it is, now and then.
func (m *model) askStatus() tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, statusPause)
		defer cancel()
		s, err := m.c.Status(ctx)
		return statusMsg{s, err}
	}
}

// Update is where everything that happens arrives.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.resize(msg.Width, msg.Height)
		return m, nil
	case tea.KeyPressMsg:
		return m, m.key(msg)
	case tea.PasteMsg:
		m.input.InsertString(paste(msg.Content))
		m.fitInput()
		return m, nil
	case tea.MouseWheelMsg:
		m.scrollBy(map[tea.MouseButton]int{tea.MouseWheelUp: 3, tea.MouseWheelDown: -3}[msg.Button])
		return m, m.older()
	case signalMsg:
		return m, m.signal(client.Signal(msg))
	case tickMsg:
		m.now = time.Time(msg)
		m.fade()
		if m.expired() {
			return m, tea.Batch(tick(), m.reload())
		}
		return m, tick()
	case statusMsg:
		m.told(msg.status, msg.err)
		return m, tea.Tick(statusPause, func(time.Time) tea.Msg { return askMsg{} })
	case extraStatusMsg:
		m.told(msg.status, msg.err)
		return m, nil
	case askMsg:
		return m, m.askStatus()
	case loadedMsg:
		return m, m.loaded(msg)
	case firstMsg:
		if msg.id == m.current {
			m.fresh = firstUnread(&client.Info{Unread: msg.unread}, msg.entries)
		}
		return m, m.loaded(msg.loadedMsg)
	case doneMsg:
		return m, m.done(msg)
	}
	var cmd tea.Cmd
	m.input, cmd = m.input.Update(msg)
	return m, cmd
}

type askMsg struct{}

// signal takes what the client says has changed.
func (m *model) signal(s client.Signal) tea.Cmd {
	switch s.Kind {
	case client.SignalTyping:
		m.types(s.Conversation, s.Who, s.Active)
	case client.SignalConnection:
		m.online, m.node = s.Active, s.Note
		return m.askStatusOnce()
	case client.SignalConversation:
		return m.reload()
	}
	return nil
}

// askStatusOnce asks beside the clock.
func (m *model) askStatusOnce() tea.Cmd {
	ask := m.askStatus()
	return func() tea.Msg {
		if s, ok := ask().(statusMsg); ok {
			return extraStatusMsg(s)
		}
		return nil
	}
}

type extraStatusMsg statusMsg

// View draws the screen.
func (m *model) View() tea.View {
	v := tea.NewView(m.draw())
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "qpq " + m.me
	v.Cursor = m.cursor()
	return v
}
