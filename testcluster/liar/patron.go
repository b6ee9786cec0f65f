package liar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/client"
	"quicproquo/schemas"
)

// patron is somebody who is connected. mu guards token, who and name.
type patron struct {
	front    *Front
	down, up *quic.Conn
	tasks    sync.WaitGroup

	mu    sync.Mutex
	token []byte // of the session that was bound
	who   client.AccountKey
	name  string
}

func (p *patron) serve() {
	defer p.tasks.Wait()
	for {
		s, err := p.down.AcceptStream(p.down.Context())
		if err != nil {
			return
		}
		p.tasks.Go(func() { p.stream(s) })
	}
}

// stream answers the calls of one stream, with a stream of its own to the node.
func (p *patron) stream(down *quic.Stream) {
	up, err := p.up.OpenStreamSync(down.Context())
	if err == nil {
		for err == nil {
			err = p.turn(down, up)
		}
		up.CancelRead(0)
		up.CancelWrite(0)
	}
	down.CancelRead(0)
	if errors.Is(err, io.EOF) {
		_ = down.Close()
		return
	}
	down.CancelWrite(4)
}

// turn is one call.
func (p *patron) turn(down, up *quic.Stream) error {
	frame, err := schemas.ReadFrame(down, schemas.MaxRequest, nil)
	if err != nil {
		return err
	}
	c, err := p.newCall(frame, up)
	if err != nil {
		return err
	}
	if p.front.watch != nil {
		if err := p.front.watch.Before(c); err != nil {
			return err
		}
	}
	if c.Method == "subscribe" && !c.done {
		return p.subscribe(c, down)
	}
	if err := c.run(); err != nil {
		p.front.fault(err)
		return err
	}
	_, err = down.Write(c.answer)
	return err
}

// subscribe hands on what the node pushes until either side ends it.
func (p *patron) subscribe(c *Call, down *quic.Stream) error {
	if err := c.send(); err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-down.Context().Done():
			c.up.CancelRead(0)
		case <-ended:
		}
	}()
	for {
		if err := c.receive(); err != nil {
			return err
		}
		if err := c.lieAfter(p.front.applicable(c)); err != nil {
			p.front.fault(err)
			return err
		}
		if err := c.finish(); err != nil {
			return err
		}
		if _, err := down.Write(c.answer); err != nil {
			return err
		}
	}
}

// bind is what the front does instead of the node when a session is bound: it keeps
// the token and asks whose it is.
func (p *patron) bind(c *Call) error {
	params := schemas.BindSessionParams(c.params.Struct())
	token, err := params.SessionToken()
	if err != nil {
		return err
	}
	who, err := p.newRequest(c.up, ordinal("whoami"), func(r schemas.Request) error {
		r.SetSeen(c.Request.Seen()) // a session that was opened on another node
		params, err := schemas.NewWhoamiParams(r.Segment())
		if err != nil {
			return err
		}
		return r.SetParams(params.ToPtr())
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.token = bytes.Clone(token)
	p.mu.Unlock()
	if err := who.forward(); err != nil {
		return fmt.Errorf("ask whose session it is: %w", err)
	}
	if !who.results() {
		p.mu.Lock()
		p.token = nil
		p.mu.Unlock()
		c.Response = who.Response
		return c.encode()
	}
	ptr, err := who.Response.Results()
	if err != nil {
		return err
	}
	results := schemas.WhoamiResults(ptr.Struct())
	key, err := results.IdentityKey()
	if err != nil || len(key) != schemas.AccountKeySize {
		return errors.Join(err, errors.New("the node does not tell whose the session is"))
	}
	name, err := results.Username()
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.who, p.name = client.AccountKey(key), name
	p.mu.Unlock()
	p.front.book.meet(client.AccountKey(key), name)
	return c.give(who.Response.Index(), func(seg *segment) error {
		bound, err := schemas.NewBindSessionResults(seg.Segment)
		if err != nil {
			return err
		}
		bound.SetExpiresAtMs(uint64(time.Now().Add(24 * time.Hour).UnixMilli()))
		return seg.results(bound.ToPtr())
	})
}
