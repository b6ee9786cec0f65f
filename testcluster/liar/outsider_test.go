package liar_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/datadriven"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls/message"
	"quicproquo/testcluster/liar"
)

// enter registers an outsider.
func (s *stage) enter(ctx context.Context, name string) error {
	options, err := s.options(false)
	if err != nil {
		return err
	}
	o, err := s.front.Enter(ctx, options, name)
	if err != nil {
		return err
	}
	s.outsiders[name] = o
	s.t.Cleanup(func() {
		if err := o.Close(); err != nil {
			s.t.Errorf("close %s's connection: %v", name, err)
		}
	})
	return nil
}

// crafts are what the node and outsiders prepare.
//
//nolint:gochecknoglobals // a table
var crafts = map[string]func(ctx context.Context, s *stage, d *datadriven.TestData) (string, error){
	"outsider": func(ctx context.Context, s *stage, d *datadriven.TestData) (string, error) {
		return "", s.enter(ctx, words(d)[0])
	},
	"craft-future": craftFuture,
	"craft-group":  craftGroup,
	"enqueue":      enqueue,
	"replay":       replay,
	"overheard":    overheard,
	"keep-key":     keepKey,
	"keep-record":  keepRecord,
	"pretend":      pretend,
	"flood":        flood,
}

func whole(d *datadriven.TestData, key string, otherwise int) int {
	if n, err := strconv.Atoi(value(d, key)); err == nil {
		return n
	}
	return otherwise
}

// craftFuture keeps a private message of an epoch far ahead:
//
//	craft-future NAME group=GROUP epoch=N [sort=commit]
func craftFuture(_ context.Context, s *stage, d *datadriven.TestData) (string, error) {
	sort := message.ContentApplication
	if value(d, "sort") == "commit" {
		sort = message.ContentCommit
	}
	b, err := s.front.Ahead(value(d, "group"), uint64(whole(d, "epoch", 9)), sort)
	if err == nil {
		s.front.Book().Keep(words(d)[0], b)
	}
	return "", err
}

// craftGroup has an outsider make a trap, and keeps its way back and its welcome as
// NAME.return and NAME.welcome:
//
//	craft-group NAME by=OUTSIDER group=GROUP with=PERSON [kind=group title=T] [epochs=N] [fresh]
func craftGroup(ctx context.Context, s *stage, d *datadriven.TestData) (string, error) {
	o := s.outsiders[value(d, "by")]
	if o == nil {
		return "", errors.New("by whom?")
	}
	data := &groupstate.Data{Kind: groupstate.KindDM}
	if value(d, "kind") == "group" {
		data.Kind, data.Title = groupstate.KindGroup, value(d, "title")
		data.SetAdmin(o.Key, true)
	}
	t, err := o.Trap(ctx, liar.TrapOptions{
		Group: value(d, "group"), Data: data, Epochs: whole(d, "epochs", 0),
		With: strings.Split(value(d, "with"), "+"), Fresh: slices.Contains(words(d), "fresh"),
	})
	if err == nil {
		s.front.Book().Keep(words(d)[0]+".return", t.Return)
		s.front.Book().Keep(words(d)[0]+".welcome", t.Welcome)
	}
	return "", err
}

// enqueue has the node put what was kept into somebody's queue, in another's name:
//
//	enqueue NAME to=PERSON [as=PERSON] [channel=GROUP]
func enqueue(ctx context.Context, s *stage, d *datadriven.TestData) (string, error) {
	data, known := s.front.Book().Kept(words(d)[0])
	to, there := s.front.Book().Account(value(d, "to"))
	if !known || !there {
		return "", errors.New("what, and to whom?")
	}
	as := to
	if name := value(d, "as"); name != "" {
		as, _ = s.front.Book().Account(name)
	}
	var channel conn.ChannelID
	if g, known := s.front.Book().Group(value(d, "channel")); known {
		channel = conn.ChannelID(g.ID)
	}
	return "", s.front.Enqueue(ctx, as, to, channel, data)
}

// replay has the node put everything that somebody was sent into his queues once more.
func replay(ctx context.Context, s *stage, d *datadriven.TestData) (string, error) {
	to, known := s.front.Book().Account(words(d)[0])
	if !known {
		return "", fmt.Errorf("nobody is called %s", words(d)[0])
	}
	n := 0
	for _, p := range s.front.Book().Payloads() {
		from, _ := s.front.Book().Account(p.From)
		for _, r := range p.To {
			if r.Account != to {
				continue
			}
			if err := s.front.Enqueue(ctx, from, to, p.Channel, p.Payload); err != nil {
				return "", err
			}
			n++
		}
	}
	if n == 0 {
		return "", errors.New("nothing was sent that could be replayed")
	}
	return "", nil
}

// flood puts N payloads like the one that was kept, each a little different, into
// somebody's queue.
func flood(ctx context.Context, s *stage, d *datadriven.TestData) (string, error) {
	data, known := s.front.Book().Kept(words(d)[0])
	to, there := s.front.Book().Account(value(d, "to"))
	if !known || !there {
		return "", errors.New("what, and to whom?")
	}
	for i := range whole(d, "n", 100) {
		one := slices.Clone(data)
		one[len(one)-1] ^= byte(i)
		one[len(one)-2] ^= byte(i >> 8)
		if err := s.front.Enqueue(ctx, to, to, conn.ChannelID{}, one); err != nil {
			return "", err
		}
	}
	return "", nil
}

func overheard(_ context.Context, s *stage, d *datadriven.TestData) (string, error) {
	o := s.outsiders[words(d)[0]]
	if o == nil {
		return "", errors.New("who?")
	}
	return strings.Join(o.Overheard(), "\n"), nil
}

// keepKey keeps an outsider's account key: keep-key NAME of=OUTSIDER keeps NAME.seed
// and NAME.public.
func keepKey(_ context.Context, s *stage, d *datadriven.TestData) (string, error) {
	o := s.outsiders[value(d, "of")]
	if o == nil {
		return "", errors.New("whose?")
	}
	s.front.Book().Keep(words(d)[0]+".seed", o.Seed())
	s.front.Book().Keep(words(d)[0]+".public", o.Key[:])
	return "", nil
}

// keepRecord keeps the present record of a group: keep-record NAME group=GROUP.
func keepRecord(_ context.Context, s *stage, d *datadriven.TestData) (string, error) {
	g, known := s.front.Book().Group(value(d, "group"))
	if !known {
		return "", errors.New("of which group?")
	}
	s.front.Book().Keep(words(d)[0], g.Records[len(g.Records)-1].GroupInfo)
	return "", nil
}

// pretend has an outsider make a key package of another's account: pretend NAME
// by=OUTSIDER of=PERSON.
func pretend(_ context.Context, s *stage, d *datadriven.TestData) (string, error) {
	o := s.outsiders[value(d, "by")]
	of, known := s.front.Book().Account(value(d, "of"))
	if o == nil || !known {
		return "", errors.New("who, and of whom?")
	}
	b, err := o.Pretend(of)
	if err == nil {
		s.front.Book().Keep(words(d)[0], b)
	}
	return "", err
}
