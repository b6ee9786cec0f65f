package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// call is one request and its response, with the memory for both. It belongs to
// its stream's goroutine and goes back to a pool when the response is written:
// nothing may keep a part of it.
type call struct {
	conn   *conn
	stream stream

	frame    []byte // the request as it came
	reader   schemas.Reader
	request  schemas.Request
	message  capnp.Message // the response
	response schemas.Response
	out      []byte // the response as it goes

	method   *method // nil until it is known
	deadline time.Time
	ctx      context.Context // made by context()
	cancel   context.CancelFunc
	caller   caller    // set by authenticate
	sure     bool      // whether there is the caller's session is not asked again
	view     *fsm.View // opened by state()
	// index is what the answer reflects. It is sampled before the handler
	// reads; a handler that knows better raises it.
	index   uint64
	counted bool // the server waits for this call when it drains
	// taken and given are what the request and the response hold of the server's
	// memory; memory is the pool that taken is of.
	taken, given hold
	memory       *pool
	charged      bool // the request's arrival is charged to its sender (chargeArrival)
	wrote        bool // something was proposed: the call must not end as if it was not
	// subscription is what a subscribe call leaves behind: it answers from then on.
	subscription *subscription
	pushes       bool // it is a response of a subscription, without a request
}

// callPool holds calls between requests, so that an idle stream holds none.
var callPool = sync.Pool{New: func() any { return new(call) }}

func newCall(c *conn, s stream) *call {
	one, ok := callPool.Get().(*call)
	if !ok {
		panic("the pool of calls holds calls only")
	}
	one.conn, one.stream = c, s
	one.given.of(c, nil)
	return one
}

// release gives the call's memory back.
func (c *call) release() {
	c.dropState()
	if c.cancel != nil {
		c.cancel()
	}
	if c.counted {
		c.conn.server.stats.running[c.ordinal()].Add(-1)
		c.conn.server.finish()
	}
	if c.memory != nil {
		c.memory.give(&c.taken)
	}
	c.conn.server.answers.give(&c.given)
	c.message.Release()
	frame, out := c.frame, c.out
	if cap(frame) > keptBuffer {
		frame = nil
	}
	if cap(out) > keptBuffer {
		out = nil
	}
	c.conn, c.stream, c.method, c.ctx, c.cancel, c.subscription = nil, nil, nil, nil, nil, nil
	c.request, c.response, c.caller = schemas.Request{}, schemas.Response{}, caller{}
	c.frame, c.out, c.index, c.counted = frame[:0], out[:0], 0, false
	c.pushes, c.wrote, c.charged, c.sure, c.memory = false, false, false, false, nil
	c.taken.forget()
	c.given.forget()
	callPool.Put(c)
}

// answer runs the request in c.frame and returns the framed response, which is
// good until release. There is none when the call left a subscription.
func (c *call) answer() ([]byte, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	if err := c.perform(); err != nil {
		return c.fail(c.refusalOf(err))
	}
	if c.subscription != nil {
		c.conn.server.stats.answered(c.ordinal(), schemas.Code_ok)
		return nil, nil
	}
	return c.finish()
}

// finish returns the framed response of results.
func (c *call) finish() ([]byte, error) {
	c.response.SetIndex(c.index)
	frame, err := c.encode()
	if err != nil {
		return c.fail(c.internal(err))
	}
	if err := c.payAnswer(len(frame)); err != nil {
		return c.fail(c.refusalOf(err))
	}
	if !c.pushes { // a subscription was counted when it began
		c.conn.server.stats.answered(c.ordinal(), schemas.Code_ok)
	}
	return frame, nil
}

// fail returns the framed response of a refusal. Its index covers what the refusal
// is about: the log may have refused at an index that this node has not reached yet.
func (c *call) fail(r *refusal) ([]byte, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	c.response.SetIndex(max(c.index, c.conn.server.node.Index()))
	if err := r.write(c.response); err != nil {
		return nil, fmt.Errorf("write refusal: %w", err)
	}
	c.conn.server.stats.answered(c.ordinal(), r.code)
	return c.encode()
}

// begin starts the response anew.
func (c *call) begin() error {
	seg, err := c.message.Reset(capnp.SingleSegment(nil))
	if err != nil {
		return fmt.Errorf("begin response: %w", err)
	}
	if c.response, err = schemas.NewRootResponse(seg); err != nil {
		return fmt.Errorf("begin response: %w", err)
	}
	return nil
}

// encode frames the response. It is one segment, so the frame is its head and
// the segment's bytes.
func (c *call) encode() ([]byte, error) {
	seg, err := c.message.Segment(0)
	if err != nil {
		return nil, fmt.Errorf("encode response: %w", err)
	}
	data := seg.Data()
	if len(data)+frameHead > schemas.MaxResponse {
		return nil, fmt.Errorf("encode response: %d bytes are over the limit of %d", len(data), schemas.MaxResponse)
	}
	c.out = binary.LittleEndian.AppendUint32(c.out[:0], 0)
	c.out = binary.LittleEndian.AppendUint32(c.out, uint32(len(data)/8))
	c.out = append(c.out, data...)
	return c.out, nil
}

// frameHead is the size of the segment table of a message of one segment.
const frameHead = 8

// perform does what the request asks. A panic is a fault of this one call: a
// request that finds a bug must not walk from node to node and stop them all
// (docs/decisions/0041).
func (c *call) perform() (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.index = 0 // what a broken handler left counts for nothing
			err = c.internal(fmt.Errorf("panic: %v", p), slog.String("stack", string(debug.Stack())))
		}
	}()
	needsSession, err := c.open()
	if err != nil {
		return c.chargeNonsense(err)
	}
	if c.counted = c.conn.server.start(); !c.counted && !c.method.draining {
		return stopping()
	}
	if c.counted {
		c.conn.server.stats.running[c.ordinal()].Add(1)
	}
	if err := c.limitAddress(); err != nil {
		return err
	}
	if needsSession {
		err = c.authenticate()
	} else {
		err = c.freshen()
	}
	if err != nil {
		return err
	}
	if needsSession {
		if err := c.limitCaller(); err != nil {
			return err
		}
	}
	c.index = c.conn.server.node.Index()
	if c.method.handle == nil {
		return &refusal{code: schemas.Code_unknownMethod, value: uint64(c.request.Method())}
	}
	return c.method.handle(c)
}

// open reads the request's head and holds it against its method's row. It tells
// whether the method needs a session.
func (c *call) open() (needsSession bool, err error) {
	msg, err := c.reader.Open(c.frame)
	if err != nil {
		return false, malformed(err)
	}
	root, err := msg.Root()
	if err != nil {
		return false, malformed(err)
	}
	if c.request = schemas.Request(root.Struct()); !c.request.IsValid() {
		return false, malformed(errors.New("root is not a struct"))
	}
	ordinal := c.request.Method()
	if c.method = c.conn.server.open.find(ordinal); c.method == nil {
		c.method, needsSession = c.conn.server.authenticated.find(ordinal), true
	}
	if c.method == nil {
		return false, &refusal{code: schemas.Code_unknownMethod, value: uint64(ordinal)}
	}
	if len(c.frame) > c.method.maxBytes {
		return false, &refusal{code: schemas.Code_messageTooLarge, value: uint64(c.method.maxBytes)}
	}
	return needsSession, c.checkHead()
}

// checkHead checks what every request carries and sets the deadline.
func (c *call) checkHead() error {
	id, err := c.request.RequestId()
	if err != nil {
		return malformed(err)
	}
	if len(id) != 0 && len(id) != schemas.RequestIDSize {
		return &refusal{code: schemas.Code_requestIdLength, value: uint64(len(id))}
	}
	timeout := c.method.timeout
	if ms := c.request.TimeoutMs(); ms != 0 {
		if timeout = time.Duration(ms) * time.Millisecond; timeout > schemas.MaxCallTimeout {
			return &refusal{code: schemas.Code_timeoutTooLarge, value: uint64(schemas.MaxCallTimeout.Milliseconds())}
		}
	}
	c.deadline = time.Now().Add(timeout)
	return nil
}

// params returns the method's parameter struct. None at all is the struct of
// defaults, as Cap'n Proto has it; anything but a struct is refused.
func (c *call) params() (capnp.Struct, error) {
	ptr, err := c.request.Params()
	if err != nil {
		return capnp.Struct{}, malformed(err)
	}
	params := ptr.Struct()
	if ptr.IsValid() && !params.IsValid() {
		return capnp.Struct{}, malformed(errors.New("params are not a struct"))
	}
	return params, nil
}

// ordinal is the method's, noMethod while that is not known.
func (c *call) ordinal() int {
	switch {
	case c.pushes:
		return subscribeMethod
	case c.method == nil:
		return noMethod
	}
	return int(c.request.Method())
}

// name is the method's, for the log.
func (c *call) name() string {
	if c.method == nil {
		return "unknown"
	}
	return c.method.name
}
