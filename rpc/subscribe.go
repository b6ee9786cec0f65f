package rpc

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"time"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// subscription is a subscribe call after its beginning. It holds its stream and
// sends responses on it: first what is there, then what comes. Between two of them
// it has neither buffers nor a view nor a turn: thousands wait on a node.
//
// It belongs to its stream's goroutine. Every response starts from the state as
// it is then: who the caller is, which queues have something behind their cursors.
type subscription struct {
	conn   *conn
	stream stream
	caller caller
	device fsm.DeviceID // whose queues
	limit  int          // envelopes in one response
	watch  *fsm.Watch
	begins time.Time // until when the first response must be on its way: the call's time

	// cursors are what was sent of each queue, where that is more than what was
	// acknowledged when it was last looked at. MaxCursors at most.
	cursors map[fsm.ChannelID]uint64
	// queues are yet to be looked at; scanning: all of them, from queue scan on.
	// Which of the two comes first changes with each response, so that a busy queue
	// does not hold up the others.
	queues    []fsm.ChannelID
	scanning  bool
	scan      fsm.ChannelID
	scanFirst bool
}

// maxQueues is how many queues a subscription remembers to look at; with more it
// looks at all of them.
const maxQueues = 64

// subscribe begins a subscription: nothing is missed from here on. Refusals are
// answers like those of any call, and the stream goes on; what ends a subscription
// later ends its stream.
func subscribe(c *call) error {
	params, err := c.params()
	if err != nil {
		return err
	}
	p := schemas.SubscribeParams(params)
	named, err := p.DeviceId()
	if err != nil {
		return malformed(err)
	}
	if len(named) != 0 && len(named) != schemas.DeviceIDSize {
		return &refusal{code: schemas.Code_keyLength, value: uint64(len(named))}
	}
	s := &subscription{conn: c.conn, stream: c.stream, caller: c.caller, limit: fetchLimit(p.Limit()), scanning: true, begins: c.deadline}
	if s.device, err = c.queueDevice(named); err != nil {
		return err
	}
	if err := s.setCursors(c, p); err != nil {
		return err
	}
	if int(c.conn.subscriptions.Add(1)) > c.conn.server.limits.ConnSubscriptions {
		c.conn.subscriptions.Add(-1)
		return &refusal{
			code: schemas.Code_rateLimited, value: uint64(retrySubscribe.Milliseconds()), retryAfter: retrySubscribe,
			detail: "The connection has as many subscriptions as it may: end one, or use another connection.",
		}
	}
	if !c.conn.server.start() {
		c.conn.subscriptions.Add(-1)
		return stopping()
	}
	c.conn.server.stats.running[subscribeMethod].Add(1)
	s.watch = c.conn.server.node.WatchDevice(s.caller.account, s.device)
	c.subscription = s
	return nil
}

// setCursors takes the cursors of a call. One beyond the end of its queue is of
// another cluster, or of before a restored backup: what comes would be missed.
func (s *subscription) setCursors(c *call, p schemas.SubscribeParams) error {
	list, err := p.Cursors()
	if err != nil {
		return malformed(err)
	}
	if list.Len() > schemas.MaxCursors {
		return &refusal{code: schemas.Code_listTooLong, value: schemas.MaxCursors}
	}
	view, err := c.state()
	if err != nil {
		return err
	}
	for i := range list.Len() {
		id, err := list.At(i).ChannelId()
		if err != nil {
			return malformed(err)
		}
		channel, err := fsm.ParseChannelID(id)
		if err != nil {
			return &refusal{code: schemas.Code_channelIdLength, cause: err}
		}
		stats, err := view.Queue(s.queue(channel))
		if err != nil {
			return storageFault(err)
		}
		after := list.At(i).After()
		if after > stats.Last {
			return &refusal{code: schemas.Code_ackBeyondEnd, value: stats.Last}
		}
		if after >= stats.First {
			s.moveTo(channel, after)
		}
	}
	return nil
}

func (s *subscription) queue(channel fsm.ChannelID) fsm.QueueID {
	return fsm.QueueID{Owner: s.caller.account, Device: s.device, Channel: channel}
}

// moveTo says that a queue was sent up to a sequence number.
func (s *subscription) moveTo(channel fsm.ChannelID, seq uint64) {
	if s.cursors == nil {
		s.cursors = map[fsm.ChannelID]uint64{}
	}
	s.cursors[channel] = seq
}

// run answers until either side ends it. The error ends the stream.
func (s *subscription) run() error {
	defer s.end()
	if err := s.dropRequest(); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for must := true; ; {
		more, err := s.push(must)
		if err != nil {
			return err
		}
		must, s.begins = false, time.Time{}
		if more {
			continue
		}
		timer.Reset(keepAliveIn(s.conn.server.limits.KeepAlive))
		select {
		case <-s.watch.C:
		case <-timer.C:
			must = true // a sign that both sides are there
			s.conn.server.renewals.note(s.caller.token, s.caller.session.RenewedMs)
		case <-s.stream.Context().Done():
			return s.stream.Context().Err()
		case <-s.conn.server.drained:
		}
	}
}

// dropRequest lets go of the packet that the request came in: a stream of quic-go keeps
// it until the next Read, also one that has no time to wait and so reads nothing.
func (s *subscription) dropRequest() error {
	if err := s.stream.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	_, err := s.stream.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// keepAliveIn spreads subscriptions that began together.
func keepAliveIn(d time.Duration) time.Duration { return d - d/5 + rand.N(2*d/5+1) }

func (s *subscription) end() {
	s.watch.Stop()
	s.conn.subscriptions.Add(-1)
	s.conn.server.stats.running[subscribeMethod].Add(-1)
	s.conn.server.finish()
}

// push sends one response, if there is something or one must be sent, and tells
// whether more is there already.
func (s *subscription) push(must bool) (more bool, err error) {
	one := newCall(s.conn, s.stream)
	defer one.release()
	one.method, one.caller, one.pushes, one.sure = s.conn.server.authenticated.find(subscribeMethod), s.caller, true, true
	if one.deadline = s.begins; one.deadline.IsZero() {
		one.deadline = time.Now().Add(schemas.DefaultCallTimeout)
	}
	pages, err := s.prepare(one)
	switch {
	case err != nil:
		frame, failed := one.fail(one.refusalOf(err))
		if failed != nil {
			return false, failed
		}
		if err := one.send(frame); err != nil {
			return false, err
		}
		return false, errStreamDone
	case len(pages) == 0 && !must:
		return s.more(), nil
	}
	frame, err := one.finish()
	if err != nil {
		return false, err
	}
	one.dropState()
	return s.more(), one.send(frame)
}

// more reports whether queues are left to be looked at.
func (s *subscription) more() bool { return s.scanning || len(s.queues) > 0 }

// prepare makes the next response of what the queues have, and says of what.
func (s *subscription) prepare(c *call) (pages []fsm.Page, err error) {
	defer func() {
		if p := recover(); p != nil { // as in call.perform
			err = c.internal(fmt.Errorf("panic: %v", p), slog.String("stack", string(debug.Stack())))
		}
	}()
	if s.conn.server.draining.Load() {
		return nil, stopping()
	}
	if err := c.begin(); err != nil {
		return nil, err
	}
	// First what was touched, then the state: what comes after that touches again.
	touched, all := s.watch.Take(s.queues)
	if s.queues = touched; all || len(touched) > maxQueues {
		s.queues, s.scanning, s.scan = nil, true, fsm.ChannelID{}
	}
	if err := s.recheck(c); err != nil {
		return nil, err
	}
	if err := s.forget(c); err != nil {
		return nil, err
	}
	if pages, err = s.gather(c); err != nil {
		return nil, err
	}
	return pages, s.write(c, pages)
}

// recheck looks the session up in the state that the response is made of: nothing
// from after its end is sent.
func (s *subscription) recheck(c *call) error {
	if err := c.recheck(); err != nil {
		return err
	}
	s.caller.session = c.caller.session
	if s.device == (fsm.DeviceID{}) || s.device == c.caller.device {
		return nil
	}
	_, err := c.queueDevice(s.device[:])
	return err
}

// gather measures what the next response has room for, and moves the cursors
// behind it: a response that does not arrive ends the subscription.
func (s *subscription) gather(c *call) (pages []fsm.Page, err error) {
	room := room{envelopes: s.limit, bytes: pushBytes}
	if s.scanFirst = !s.scanFirst && s.scanning; s.scanFirst {
		if pages, err = s.gatherAll(c, pages, &room); err != nil {
			return nil, err
		}
		return s.gatherTouched(c, pages, &room)
	}
	if pages, err = s.gatherTouched(c, pages, &room); err != nil {
		return nil, err
	}
	return s.gatherAll(c, pages, &room)
}

// gatherTouched looks at the queues that are known to have something.
func (s *subscription) gatherTouched(c *call, pages []fsm.Page, room *room) ([]fsm.Page, error) {
	for n := len(s.queues); n > 0 && !room.full(); n-- {
		channel := s.queues[0]
		s.queues = s.queues[1:]
		page, err := s.page(c, channel, room)
		if err != nil {
			return nil, err
		}
		if page.Count > 0 {
			pages = append(pages, page)
		}
		if page.Upto < page.Last {
			s.queues = append(s.queues, channel) // behind the others
		}
	}
	if len(s.queues) == 0 {
		s.queues = nil
	}
	return pages, nil
}

// gatherAll looks at the device's queues from s.scan on.
func (s *subscription) gatherAll(c *call, pages []fsm.Page, room *room) ([]fsm.Page, error) {
	if !s.scanning || room.full() {
		return pages, nil
	}
	view, err := c.state()
	if err != nil {
		return nil, err
	}
	var failed error
	s.scanning = false
	err = view.Queues(s.queue(s.scan), func(channel fsm.ChannelID, stats fsm.QueueStats) bool {
		if stats.Last < stats.First || stats.Last <= s.cursors[channel] {
			return true
		}
		if room.full() {
			s.scanning, s.scan = true, channel
			return false
		}
		var page fsm.Page
		if page, failed = s.page(c, channel, room); failed != nil {
			return false
		}
		if page.Count > 0 {
			pages = append(pages, page)
		}
		if page.Upto < page.Last {
			s.scanning, s.scan = true, channel
			return false
		}
		return true
	})
	if failed == nil && err != nil {
		failed = storageFault(err)
	}
	return pages, failed
}

// room is what a response can still take.
type room struct{ envelopes, bytes int }

func (r *room) full() bool { return r.envelopes <= 0 || r.bytes <= 0 }

// page measures what a queue has behind its cursor. A queue of a channel that the
// account may not read is passed over.
func (s *subscription) page(c *call, channel fsm.ChannelID, room *room) (fsm.Page, error) {
	view, err := c.state()
	if err != nil {
		return fsm.Page{}, err
	}
	page, err := view.Page(s.queue(channel), s.cursors[channel], room.envelopes, room.bytes)
	if err != nil {
		return page, storageFault(err)
	}
	if page.Count == 0 {
		return page, nil
	}
	no, err := view.MayUse(s.caller.account, channel)
	if err != nil {
		return page, storageFault(err)
	}
	if no.Code != schemas.Code_ok {
		return fsm.Page{}, nil
	}
	room.envelopes -= page.Count
	room.bytes -= page.Bytes
	s.moveTo(channel, page.Upto)
	return page, nil
}

// write fills the response.
func (s *subscription) write(c *call, pages []fsm.Page) error {
	results, err := schemas.NewSubscribeResults(c.response.Segment())
	if err != nil {
		return err
	}
	if err := c.response.SetResults(results.ToPtr()); err != nil {
		return err
	}
	results.SetCaughtUp(!s.more())
	count, bytes := 0, 0
	for i := range pages {
		count, bytes = count+pages[i].Count, bytes+pages[i].Bytes
	}
	if count == 0 {
		return nil
	}
	if err := s.reserve(c, bytes); err != nil {
		return err
	}
	list, err := results.NewPayloads(int32(count))
	if err != nil {
		return err
	}
	at := 0
	for i := range pages {
		if err := c.view.Fill(&pages[i], list, at); err != nil {
			return storageFault(err)
		}
		at += pages[i].Count
	}
	return nil
}

// reserve waits until the node has the memory for a response: a subscription that
// ended for want of it would only come back.
func (s *subscription) reserve(c *call, bytes int) error {
	for {
		err := c.reserveAnswer(bytes)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(retryBusy/2 + rand.N(retryBusy)):
		case <-c.context().Done():
			return err
		}
	}
}

// forget drops cursors that have no use any more, when there are too many: those
// of queues whose owner has acknowledged what was sent. Whoever acknowledges
// nothing of that many queues is cut off.
func (s *subscription) forget(c *call) error {
	if len(s.cursors) <= schemas.MaxCursors {
		return nil
	}
	view, err := c.state()
	if err != nil {
		return err
	}
	for channel, sent := range s.cursors {
		stats, err := view.Queue(s.queue(channel))
		if err != nil {
			return storageFault(err)
		}
		if sent < stats.First {
			delete(s.cursors, channel)
		}
	}
	if len(s.cursors) > schemas.MaxCursors {
		return &refusal{code: schemas.Code_listTooLong, value: schemas.MaxCursors, detail: "Acknowledge what was received."}
	}
	return nil
}
