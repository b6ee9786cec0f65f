package rpc

import (
	"errors"
	"time"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// The queue topic's reads: this node answers them from its own state, once that
// is as fresh as the caller asks. Reading never removes anything; fetch with drain
// is a write (drainQueue).

// fetch returns the first envelopes of a queue.
func fetch(c *call, p schemas.FetchParams, results schemas.FetchResults) error {
	if p.Drain() {
		// Whose queue it is the log decides, with the answer that it gave before.
		q, err := c.queueNamed(p.Version(), p)
		if err != nil {
			return err
		}
		return c.drainQueue(q, p.Limit())
	}
	q, err := c.ownQueue(p.Version(), p)
	if err != nil {
		return err
	}
	page, err := c.measure(q, 0, p.Limit())
	if err != nil {
		return err
	}
	return c.fill(&page, results.NewPayloads)
}

// peek returns the envelopes behind a cursor, and how far the queue goes.
func peek(c *call, p schemas.PeekParams, results schemas.PeekResults) error {
	q, err := c.ownQueue(p.Version(), p)
	if err != nil {
		return err
	}
	page, err := c.measure(q, p.After(), p.Limit())
	if err != nil {
		return err
	}
	results.SetLastSeq(page.Last)
	return c.fill(&page, results.NewPayloads)
}

// fetchWait is fetch that waits until there is something, or until its time is
// over: then the list is empty. It waits as long as its parameter says, and no longer than
// the call has time, less what the answer needs.
func fetchWait(c *call, p schemas.FetchWaitParams, results schemas.FetchResults) error {
	if limit := uint64(schemas.MaxWait.Milliseconds()); p.TimeoutMs() > limit {
		return &refusal{code: schemas.Code_timeoutTooLarge, value: limit}
	}
	name := c.ownQueue
	if p.Drain() {
		name = c.queueNamed
	}
	q, err := name(p.Version(), p)
	if err != nil {
		return err
	}
	until := time.Now().Add(time.Duration(p.TimeoutMs()) * time.Millisecond)
	if last := c.deadline.Add(-answerTime); last.Before(until) {
		until = last
	}
	if !p.Drain() {
		page, err := c.awaitPage(q, p.Limit(), until)
		if err != nil {
			return err
		}
		return c.fill(&page, results.NewPayloads)
	}
	known, err := c.answered(drainOf(q, p.Limit()))
	if err != nil {
		return err
	}
	if !known {
		// A wait for somebody else's queue would tell when something comes.
		if _, err := c.ownQueue(p.Version(), p); err != nil {
			return err
		}
		if page, err := c.awaitPage(q, 1, until); err != nil || page.Count == 0 {
			return err // nothing is there to be removed: nothing is written
		}
	}
	return c.drainQueue(q, p.Limit())
}

// awaitPage measures a queue's first page. If that is empty it waits for another,
// until the time is over.
func (c *call) awaitPage(q fsm.QueueID, limit uint32, until time.Time) (fsm.Page, error) {
	page, err := c.measure(q, 0, limit)
	if err != nil || page.Count > 0 || !time.Now().Before(until) {
		return page, err
	}
	watch := c.conn.server.node.Watch(q) // before the next read
	defer watch.Stop()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for over := false; ; {
		// The caller's session may have ended while it waited.
		if err := c.recheck(); err != nil {
			return page, err
		}
		if page, err = c.measure(q, 0, limit); err != nil || page.Count > 0 || over {
			return page, err
		}
		c.dropState()
		select {
		case <-watch.C:
		case <-timer.C:
			over = true
		case <-c.stream.Context().Done():
			return page, c.stream.Context().Err()
		case <-c.conn.server.drained:
			return page, stopping()
		}
	}
}

// stopping refuses what the node has no time for any more.
func stopping() *refusal {
	return &refusal{code: schemas.Code_unavailable, detail: "This node is about to stop."}
}

// measure finds out what a read answers.
func (c *call) measure(q fsm.QueueID, after uint64, limit uint32) (fsm.Page, error) {
	view, err := c.state()
	if err != nil {
		return fsm.Page{}, err
	}
	page, err := view.Page(q, after, fetchLimit(limit), schemas.MaxFetchBytes)
	if err != nil {
		return page, storageFault(err)
	}
	return page, nil
}

// fetchLimit is how many envelopes a read that names a limit returns at most.
func fetchLimit(named uint32) int {
	if named == 0 {
		return schemas.DefaultFetch
	}
	return int(min(named, schemas.MaxFetch))
}

// fill writes a page into the response.
func (c *call) fill(page *fsm.Page, newList func(int32) (schemas.Envelope_List, error)) error {
	view, err := c.state()
	if err != nil {
		return err
	}
	if err := c.reserveAnswer(page.Bytes); err != nil {
		return err
	}
	list, err := newList(int32(page.Count))
	if err != nil {
		return err
	}
	if err := view.Fill(page, list, 0); err != nil {
		return storageFault(err)
	}
	return nil
}

// reserveAnswer takes what an answer with so many bytes of envelopes costs from
// the memory for answers, until release. Small ones are free.
func (c *call) reserveAnswer(bytes int) error {
	if bytes <= smallRequest {
		return nil
	}
	c.ownAnswer()
	ok, full := c.conn.server.answers.take(&c.given, 2*int64(bytes)) // as message and as frame
	if !ok {
		return &refusal{code: schemas.Code_rateLimited, retryAfter: retryBusy, detail: fullWords[full]}
	}
	return nil
}

// ownAnswer says whose the answer's memory is, once the caller is known.
func (c *call) ownAnswer() {
	if c.given.bytes == 0 && c.caller.account != (fsm.AccountKey{}) {
		c.given.of(c.conn, ownerOfAccount(c.caller.account))
	}
}

// payAnswer takes the memory of an answer that its handler has not paid for. A read
// for which there is none is refused; a write has happened, and its answer goes.
func (c *call) payAnswer(bytes int) error {
	switch {
	case c.given.bytes > 0:
		return nil
	case !c.wrote && !c.pushes: // what is pushed was counted page by page
		return c.reserveAnswer(bytes)
	case bytes > smallRequest:
		c.ownAnswer()
		c.conn.server.answers.takeAnyway(&c.given, 2*int64(bytes))
	}
	return nil
}

// roomForAnswer refuses a write before it happens when its caller does not take the
// answers that it has: that of a write can't be refused later.
func (c *call) roomForAnswer(bytes int) error {
	if err := c.reserveAnswer(bytes); err != nil {
		return err
	}
	c.conn.server.answers.give(&c.given) // its true size is charged when it is known
	return nil
}

// recheck looks again, in the state as it is now, whether the caller is who it was
// when the call began: sessions and devices end while calls wait.
func (c *call) recheck() error {
	c.dropState()
	acts := c.caller.device
	if err := c.identify(c.caller.token, nil); err != nil {
		return err
	}
	if err := c.checkInstance(); err != nil {
		return err
	}
	return c.actAs(acts)
}

// answered reports whether the call's request id has been used and its outcome is
// known: a call that is repeated for its answer must not wait for anything new.
func (c *call) answered(fill func(schemas.Entry_command) error) (bool, error) {
	id, err := c.request.RequestId()
	if err != nil {
		return false, malformed(err)
	}
	if len(id) == 0 {
		return false, nil
	}
	entry, err := schemas.BuildEntry(id, c.actor(), fill)
	if err != nil {
		return false, err
	}
	view, err := c.state()
	if err != nil {
		return false, err
	}
	known, err := view.Decided(entry)
	if err != nil {
		return false, storageFault(err)
	}
	return known, nil
}

// drainOf is the command of fetch with drain.
func drainOf(q fsm.QueueID, limit uint32) func(schemas.Entry_command) error {
	return func(cmd schemas.Entry_command) error {
		e, err := cmd.NewDrain()
		if err != nil {
			return err
		}
		e.SetVersion(schemas.WireVersion)
		e.SetLimit(limit)
		return errors.Join(
			e.SetRecipientKey(q.Owner[:]),
			e.SetChannelId(q.Channel.Bytes()),
			e.SetDeviceId(deviceField(q.Device)))
	}
}
