package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/client/vault"
)

// removeCarol lets alice remove carol, and proves that carol can't read on. Her own
// client deletes its keys when it is removed, so the proof is about a thief: a copy
// of her vault from before, with all keys of the group as it was, is given every
// byte that bob gets afterwards, the commit included.
func (d *demo) removeCarol(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t, err := d.steal(ctx)
	if err != nil {
		return fmt.Errorf("copy carol's vault: %w", err)
	}
	// Bob's client stops receiving, so that what comes for him stays in his queue.
	bob := d.bob()
	if err := bob.Sync(ctx); err != nil {
		return err
	}
	if err := errors.Join(bob.close(), bob.open(client.Open)); err != nil {
		return err
	}
	if bob.group, err = bob.Find("#demo"); err != nil {
		return err
	}
	if bob.dm, err = bob.Find("alice"); err != nil {
		return err
	}
	_, before, err := bob.Conn().Peek(ctx, conn.Read{Limit: 1})
	if err != nil {
		return err
	}
	if err := d.alice().group.Remove(ctx, "carol"); err != nil {
		return fmt.Errorf("remove carol: %w", err)
	}
	if err := d.carol().await(ctx, "the removal", removed(d.carol().group)); err != nil {
		return err
	}
	d.tell("alice removed carol; carol's client knows and has deleted the group's keys")
	if err := d.speak(ctx, d.alice(), d.alice().group, d.afterRemoval(), bob); err != nil {
		return err
	}
	if err := d.everythingIsSent(ctx); err != nil {
		return err
	}
	if err := t.reads(ctx, bob, before); err != nil {
		return err
	}
	if err := bob.Start(); err != nil {
		return err
	}
	return d.everybodyHas(ctx)
}

func removed(v *client.Conversation) func() error {
	return func() error {
		info, err := v.Info()
		if err == nil && info.State != "removed" {
			err = fmt.Errorf("the conversation is %s", info.State)
		}
		return err
	}
}

// thief is a copy of carol's vault from before she was removed.
type thief struct {
	demo *demo
	dir  string
	key  [32]byte
	last uint64 // of her inbox
}

func (d *demo) steal(ctx context.Context) (*thief, error) {
	carol := d.carol()
	if err := carol.Sync(ctx); err != nil {
		return nil, err
	}
	_, last, err := carol.Conn().Peek(ctx, conn.Read{Limit: 1})
	if err != nil {
		return nil, err
	}
	if err := carol.close(); err != nil {
		return nil, err
	}
	t := &thief{demo: d, dir: filepath.Join(d.Dir, "clients", "thief"), key: carol.secret, last: last}
	if err := os.CopyFS(t.dir, os.DirFS(carol.dir())); err != nil {
		return nil, err
	}
	if err := os.Chmod(t.dir, 0o700); err != nil {
		return nil, err
	}
	if err := carol.open(client.Open); err != nil {
		return nil, err
	}
	if carol.group, err = carol.Find("#demo"); err != nil {
		return nil, err
	}
	return t, carol.Start()
}

// reads gives the thief every envelope that bob's inbox got after a place, and counts
// how many of the later messages it can read. To show that the copy does work, it
// must read none of them but know the messages from before.
func (t *thief) reads(ctx context.Context, bob *person, after uint64) error {
	var loot []conn.Envelope
	for {
		page, end, err := bob.Conn().Peek(ctx, conn.Read{After: after})
		if err != nil {
			return fmt.Errorf("copy bob's queue: %w", err)
		}
		loot = append(loot, page...)
		if len(page) == 0 || page[len(page)-1].Seq == end {
			break
		}
		after = page[len(page)-1].Seq
	}
	for i := range loot {
		loot[i].Seq = t.last + 1 + uint64(i) // as if they had come for her
	}
	c, err := client.Open(client.Profile{Dir: t.dir, Key: vault.Raw(bytes.Clone(t.key[:]))})
	if err != nil {
		return fmt.Errorf("open carol's old vault: %w", err)
	}
	err = t.pry(ctx, c, loot)
	return errors.Join(err, c.Close())
}

func (t *thief) pry(ctx context.Context, c *client.Client, loot []conn.Envelope) error {
	group, err := c.Find("#demo")
	if err != nil {
		return err
	}
	was, err := group.Info()
	if err != nil {
		return err
	}
	known, err := group.History(0, MaxMessages*2)
	if err != nil {
		return err
	}
	if err := c.Take(ctx, loot); err != nil {
		return fmt.Errorf("give the copy what bob got: %w", err)
	}
	now, err := group.History(0, MaxMessages*2)
	if err != nil {
		return err
	}
	r := &t.demo.report
	r.tried = len(loot)
	for i := range now {
		if now[i].Kind == "text" && !knew(known, &now[i]) {
			r.opened++
		}
	}
	r.RemovedMemberReadLater = r.opened > 0
	t.demo.tell("a copy of carol's vault from before (epoch %d, %d messages readable) was given the %d later ciphertexts: it read %d",
		was.Epoch, texts(known), r.tried, r.opened)
	return nil
}

func texts(list []client.Entry) (n int) {
	for i := range list {
		if list[i].Kind == "text" {
			n++
		}
	}
	return n
}

func knew(known []client.Entry, e *client.Entry) bool {
	for i := range known {
		if known[i].ID == e.ID {
			return true
		}
	}
	return false
}
