package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/client/vault"
)

// pair are two people's clients, with a conversation of theirs.
type pair struct {
	said  *client.Conversation // the first one's
	heard chan string          // what the second one's program got
}

// prepareTalk gives each worker a pair. Texts have --size characters, at most 16,384.
func prepareTalk(ctx context.Context, w *world) (operation, error) {
	pairs := make([]*pair, w.options.InFlight)
	setup, cancel := context.WithTimeout(ctx, enrollTime)
	defer cancel()
	for i := range pairs {
		p, err := w.newPair(ctx, setup, i)
		if err != nil {
			return nil, err
		}
		pairs[i] = p
	}
	filler := strings.Repeat("x", min(w.options.Size, maxText))
	return func(ctx context.Context, worker int) (int, error) { return 1, pairs[worker].exchange(ctx, filler) }, nil
}

// maxText bounds texts.
const maxText = 16 << 10

// exchange says something and waits until the other has it.
func (p *pair) exchange(ctx context.Context, filler string) error {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	text := hex.EncodeToString(id[:])
	text += filler[min(len(text), len(filler)):]
	if _, err := p.said.Send(ctx, content.Text{Text: text}); err != nil {
		return err
	}
	for {
		select {
		case got := <-p.heard:
			if got == text {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// newPair registers two people, whose clients run until the measurement ends.
func (w *world) newPair(ctx, setup context.Context, number int) (*pair, error) {
	one, err := w.newPerson(setup, fmt.Sprint(number, "-a"))
	if err != nil {
		return nil, err
	}
	other, err := w.newPerson(setup, fmt.Sprint(number, "-b"))
	if err != nil {
		return nil, err
	}
	p := &pair{heard: make(chan string, 64)}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e, err := range other.Events(ctx, "bench") {
			if err != nil {
				return
			}
			if e.Kind == client.EventMessage && e.Entry != nil {
				select {
				case p.heard <- e.Entry.Text:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	w.closers = append(w.closers, func() error {
		cancel()
		<-ended
		return nil
	})
	if p.said, err = one.DM(setup, other.name); err != nil {
		return nil, fmt.Errorf("open a conversation: %w", err)
	}
	if err := p.exchange(setup, ""); err != nil {
		return nil, fmt.Errorf("say the first word: %w", err)
	}
	return p, nil
}

// person has a client of its own.
type person struct {
	*client.Client
	name string
}

func (w *world) newPerson(ctx context.Context, label string) (*person, error) {
	options, err := w.reach()
	if err != nil {
		return nil, err
	}
	var secret, password [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	_, _ = rand.Read(password[:])
	p := &person{name: "bench-" + hex.EncodeToString(password[:6])}
	if p.Client, err = client.Create(client.Profile{
		Dir: filepath.Join(w.options.Dir, "clients", label), Key: vault.Raw(secret[:]), Options: options,
		Settings: client.Settings{Invitations: client.FromEverybody}, // nobody is there to be asked
	}); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, p.Close)
	if err := p.Register(ctx, p.name, password[16:]); err != nil {
		return nil, fmt.Errorf("register %s: %w", p.name, err)
	}
	return p, p.Start()
}
