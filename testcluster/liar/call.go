package liar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"capnproto.org/go/capnp/v3"
	"github.com/quic-go/quic-go"

	"quicproquo/schemas"
)

// Call is a client's call on its way to the node and back. Lies change Request before
// it is sent on, and Response before it is given to the client.
type Call struct {
	patron *patron
	up     *quic.Stream

	Method   string // by name, as in node.capnp
	Who      string // the caller's username, empty for a stranger
	Request  schemas.Request
	params   capnp.Ptr
	Response schemas.Response
	answer   []byte   // the response as the client gets it, framed
	done     bool     // a lie has answered: nothing is sent on
	after    []func() // runs when the answer is made
}

// errUnreadable ends the stream of a client that speaks another language.
var errUnreadable = errors.New("a call can't be read")

// newCall reads a client's request and gives it the client's token, if its session
// was bound.
func (p *patron) newCall(frame []byte, up *quic.Stream) (*Call, error) {
	msg, err := schemas.Unmarshal(frame)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	from, err := schemas.ReadRootRequest(msg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return p.newRequest(up, from.Method(), func(r schemas.Request) error {
		id, err := from.RequestId()
		if err != nil {
			return err
		}
		params, err := from.Params()
		if err != nil {
			return err
		}
		r.SetSeen(from.Seen())
		r.SetTimeoutMs(from.TimeoutMs())
		r.SetLinearizable(from.Linearizable())
		r.SetFirst(from.First())
		return errors.Join(r.SetRequestId(id), r.SetParams(params))
	})
}

// newRequest makes a call of the front's own in the name of the client.
func (p *patron) newRequest(up *quic.Stream, method uint16, fill func(schemas.Request) error) (*Call, error) {
	_, seg := schemas.NewMessage()
	r, err := schemas.NewRootRequest(seg)
	if err != nil {
		return nil, err
	}
	r.SetMethod(method)
	if err := fill(r); err != nil {
		return nil, err
	}
	c := &Call{patron: p, up: up, Request: r, Method: methodName(method)}
	p.mu.Lock()
	c.Who = p.name
	p.mu.Unlock()
	c.params, err = r.Params()
	return c, err
}

// lieError means that a lie could not be told.
type lieError struct {
	text string
	err  error
}

func (e *lieError) Error() string { return fmt.Sprintf("lie %q: %v", e.text, e.err) }

func (e *lieError) Unwrap() error { return e.err }

// run has the call answered: by the lies that apply to it, by the node, or both.
func (c *Call) run() error {
	if c.done {
		return c.finish()
	}
	if c.Method == "bindSession" {
		if err := c.patron.bind(c); err != nil {
			return err
		}
		return c.finish()
	}
	lies := c.patron.front.applicable(c)
	for _, lie := range lies {
		if lie.before != nil {
			if err := lie.before(c); err != nil {
				return &lieError{lie.text, err}
			}
		}
	}
	if !c.done {
		if err := c.forward(); err != nil {
			return err
		}
	}
	if err := c.lieAfter(lies); err != nil {
		return err
	}
	for _, then := range c.after {
		then()
	}
	return c.finish()
}

// finish makes the bytes of the response.
func (c *Call) finish() error {
	if w := c.patron.front.watch; w != nil {
		if err := w.After(c); err != nil {
			return err
		}
	}
	return c.encode()
}

// Context ends when the client's connection does.
func (c *Call) Context() context.Context { return c.patron.down.Context() }

// Connection is the client's.
func (c *Call) Connection() *quic.Conn { return c.patron.down }

// Refuse answers the call with an error, in the place of what it had for an answer.
func (c *Call) Refuse(code schemas.Code, value uint64, wait time.Duration) error {
	index := uint64(0)
	if c.Response.IsValid() {
		index = c.Response.Index()
	}
	return c.give(index, func(seg *segment) error {
		failure, err := seg.response.NewError()
		if err != nil {
			return err
		}
		failure.SetCode(code)
		failure.SetValue(value)
		failure.SetRetryAfterMs(uint32(wait.Milliseconds()))
		return failure.SetMessage_(code.Doc().Meaning)
	})
}

// Answer answers the call with a response that another had.
func (c *Call) Answer(frame []byte) (err error) {
	c.Response, err = readResponse(frame)
	c.done = err == nil
	return err
}

// Frame is the response as it would be sent now.
func (c *Call) Frame() ([]byte, error) { return c.Response.Message().Marshal() }

// lieAfter changes the response.
func (c *Call) lieAfter(lies []*rule) error {
	for _, lie := range lies {
		if lie.response != nil {
			lie.response(c)
		}
		if lie.results == nil || !c.results() {
			continue
		}
		if err := lie.results(c); err != nil {
			return &lieError{lie.text, err}
		}
	}
	return nil
}

// forward sends the request to the node and reads its response.
func (c *Call) forward() error {
	err := c.pass()
	if err == nil {
		c.patron.front.book.note(c)
	}
	return err
}

// pass is forward without a note.
func (c *Call) pass() error {
	if err := c.send(); err != nil {
		return err
	}
	return c.receive()
}

func (c *Call) send() error {
	c.patron.mu.Lock()
	token := c.patron.token
	c.patron.mu.Unlock()
	if len(token) > 0 {
		if err := authorize(c.Request.Method(), c.params, token); err != nil {
			return err
		}
	}
	frame, err := c.Request.Message().Marshal()
	if err != nil {
		return err
	}
	_, err = c.up.Write(frame)
	return err
}

// receive reads a response of the node, as something that can be changed.
func (c *Call) receive() error {
	frame, err := schemas.ReadFrame(c.up, schemas.MaxResponse, nil)
	if err != nil {
		return err
	}
	c.Response, err = readResponse(frame)
	return err
}

func readResponse(frame []byte) (schemas.Response, error) {
	msg, err := schemas.Unmarshal(frame)
	if err != nil {
		return schemas.Response{}, err
	}
	from, err := schemas.ReadRootResponse(msg)
	if err != nil {
		return schemas.Response{}, err
	}
	_, seg := schemas.NewMessage()
	to, err := schemas.NewRootResponse(seg)
	if err != nil {
		return to, err
	}
	to.SetIndex(from.Index())
	if from.Which() == schemas.Response_Which_error {
		failure, err := from.Error()
		if err != nil {
			return to, err
		}
		return to, to.SetError(failure)
	}
	results, err := from.Results()
	if err != nil {
		return to, err
	}
	return to, to.SetResults(results)
}

// results tells whether the response brings results, and no error.
func (c *Call) results() bool {
	return c.Response.IsValid() && c.Response.Which() == schemas.Response_Which_results
}

func (c *Call) encode() (err error) {
	c.answer, err = c.Response.Message().Marshal()
	return err
}

// segment is where a made-up response is built.
type segment struct {
	*capnp.Segment
	response schemas.Response
}

func (s *segment) results(ptr capnp.Ptr) error { return s.response.SetResults(ptr) }

// give makes up the response. Nothing is sent on.
func (c *Call) give(index uint64, fill func(*segment) error) error {
	_, seg := schemas.NewMessage()
	response, err := schemas.NewRootResponse(seg)
	if err != nil {
		return err
	}
	response.SetIndex(index)
	c.Response, c.done = response, true
	if err := fill(&segment{seg, response}); err != nil {
		return err
	}
	return c.encode()
}

// refuse makes up an error.
func (c *Call) refuse(code schemas.Code, value uint64) error {
	c.Response = schemas.Response{}
	return c.Refuse(code, value, 0)
}
