package rpc

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"quicproquo/schemas"
)

// pace judges whether a transfer goes on: it may stand still for as long as stall, and
// must move rate bytes a second on the average after that.
type pace struct {
	began time.Time
	stall time.Duration
	rate  int64 // bytes a second
}

// deadline is until when the transfer must have moved to byte number upto.
func (p *pace) deadline(upto int64) time.Time {
	average := p.began.Add(p.stall + time.Duration(upto)*time.Second/time.Duration(p.rate))
	if still := time.Now().Add(p.stall); still.Before(average) {
		return still
	}
	return average
}

func (c *call) pace(stall time.Duration) pace {
	return pace{time.Now(), stall, c.conn.server.limits.MinRate}
}

// errDropped ends a transfer whose memory somebody else needed.
var errDropped = errors.New("the transfer was slow and its memory was needed")

// send writes a framed response. A client that takes it too slowly loses the stream.
func (c *call) send(frame []byte) error {
	answers, h := c.conn.server.answers, &c.given
	answers.begin(h, func() { _ = c.stream.SetWriteDeadline(time.Unix(1, 0)) }) // one that is gone needs no end
	defer answers.done(h)
	pace := c.pace(c.conn.server.limits.Write)
	for sent := 0; sent < len(frame); {
		step := frame[sent:min(len(frame), sent+transferStep)]
		if err := c.stream.SetWriteDeadline(pace.deadline(int64(sent + len(step)))); err != nil {
			return err
		}
		if h.lost.Load() { // its end may have been overwritten
			return errDropped
		}
		n, err := c.stream.Write(step)
		if err != nil {
			return err
		}
		sent += n
		h.moved.Store(int64(sent))
	}
	c.conn.server.stats.bytesOut.Add(uint64(len(frame)))
	return nil
}

// arrival reads a request at the pace that it must have.
type arrival struct {
	*call
	pace pace
	got  int64
}

func (a *arrival) Read(buf []byte) (int, error) {
	buf = buf[:min(len(buf), transferStep)]
	for {
		by := a.pace.deadline(a.got + int64(len(buf)))
		if err := a.stream.SetReadDeadline(by); err != nil {
			return 0, err
		}
		if a.taken.lost.Load() { // its end may have been overwritten
			return 0, errDropped
		}
		n, err := a.stream.Read(buf)
		a.got += int64(n)
		a.taken.moved.Store(a.got)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(by) && !a.taken.lost.Load() {
			continue // woken: the node is about to stop, and says so when it knows what is asked
		}
		return n, err
	}
}

// read fetches the request that head begins. It may refuse it, by its size alone, or
// for want of memory, for which it asks as bytes arrive.
func (c *call) read(head []byte) (*refusal, error) {
	const limit = schemas.MaxRequest
	if frameClaim(head) > limit {
		return tooLarge(limit), nil
	}
	c.conn.revouch(frameClaim(head))
	c.memory = c.conn.requests()
	c.taken.of(c.conn, c.conn.account())
	c.memory.begin(&c.taken, func() { _ = c.stream.SetReadDeadline(time.Unix(1, 0)) })
	in := &arrival{call: c, pace: c.pace(c.conn.server.limits.Read), got: int64(len(head))}
	frame, err := schemas.ReadFrameAsking(&replay{head: head, rest: in}, limit, c.frame, smallRequest, c.grow)
	c.memory.done(&c.taken)
	if c.taken.lost.Load() {
		return &refusal{
			code: schemas.Code_rateLimited, retryAfter: retryBusy, cause: errDropped,
			detail: "The request came too slowly while the node was short of memory.",
		}, nil
	}
	if err == nil {
		c.arrived()
		c.frame = frame
		c.conn.server.stats.bytesIn.Add(uint64(len(frame)))
		return nil, nil
	}
	if r, is := errors.AsType[*refusal](err); is {
		return r, nil
	}
	if errors.Is(err, schemas.ErrTooLarge) {
		return tooLarge(limit), nil
	}
	return nil, err
}

func tooLarge(limit int) *refusal {
	return &refusal{code: schemas.Code_messageTooLarge, value: uint64(limit)}
}

// grow takes the memory for a request's buffer of so many bytes, and waits for it if
// there is none.
func (c *call) grow(size int) error {
	need := int64(size) - c.taken.bytes
	if size <= smallRequest || need <= 0 {
		return nil
	}
	if c.taken.bytes == 0 {
		if err := c.chargeArrival(); err != nil {
			return err
		}
	}
	timer := time.NewTimer(roomPatience)
	defer timer.Stop()
	for {
		room := c.memory.room() // before the look
		ok, full := c.memory.take(&c.taken, need)
		if ok {
			return nil
		}
		refused := &refusal{code: schemas.Code_rateLimited, retryAfter: retryBusy, detail: fullWords[full]}
		if c.taken.lost.Load() {
			return refused
		}
		select {
		case <-room:
		case <-time.After(slowAfter): // somebody may be slow by now
		case <-timer.C:
			c.arrived() // it is not the caller who stalls
			return refused
		case <-c.stream.Context().Done():
			return c.stream.Context().Err()
		}
	}
}

// chargeArrival charges a large request that begins to arrive to its account, or while
// that is not known to its address. It gets the token back when it has arrived.
func (c *call) chargeArrival() error {
	g := c.conn.server.gate
	key, rate, at := c.stallKey()
	if wait := at.take(key, rate, 1, time.Now()); wait > 0 {
		if at == g.devices {
			g.refusedDevice[ClassStall].Add(1)
		} else {
			g.refusedAddress[ClassStall].Add(1)
		}
		return tooFast(wait)
	}
	c.charged = true
	return nil
}

// arrived says that the request does not stall.
func (c *call) arrived() {
	if !c.charged {
		return
	}
	c.charged = false
	key, rate, at := c.stallKey()
	at.giveBack(key, rate)
}

func (c *call) stallKey() (bucketKey, Rate, *limiter) {
	g := c.conn.server.gate
	if c.taken.count > int(ownAccount) {
		return bucketKey{ClassStall, c.taken.owners[ownAccount].who}, g.rates[ClassStall].Device, g.devices
	}
	return bucketKey{ClassStall, c.conn.address}, g.rates[ClassStall].Address, g.addresses
}

// discard reads what is left of a request that was refused, and keeps nothing of it: a
// client that is still writing would see its write fail, and not why.
func (c *call) discard() {
	buf := c.frame[:cap(c.frame)]
	if len(buf) < smallRequest {
		buf = make([]byte, smallRequest)
	}
	buf = buf[:smallRequest]
	if c.memory != nil {
		c.memory.give(&c.taken)
	}
	c.taken.lost.Store(false)
	in := &arrival{call: c, pace: c.pace(c.conn.server.limits.Read)}
	for in.got < schemas.MaxRequest {
		if _, err := in.Read(buf); err != nil {
			return
		}
	}
}

// late tells that a transfer did not keep its pace.
func late(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errDropped)
}

// frameClaim is how many bytes a frame of one segment says it has; of one with several,
// whose table has not been read yet, it is the head.
func frameClaim(head []byte) int {
	if binary.LittleEndian.Uint32(head) != 0 {
		return len(head)
	}
	return frameHead + 8*int(binary.LittleEndian.Uint32(head[4:]))
}
