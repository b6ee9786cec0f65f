package liar

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"quicproquo/client"
	"quicproquo/schemas"
)

// accept answers a write as if it was done for everybody.
func (c *Call) accept() error {
	switch c.Method {
	case "publishCommit":
		p := schemas.PublishCommitParams(c.params.Struct())
		n := 0
		list, err := p.Deliveries()
		for i := 0; err == nil && i < list.Len(); i++ {
			to, err := list.At(i).Recipients()
			if err != nil {
				return err
			}
			n += to.Len()
		}
		proof, _ := p.Proof()
		return c.give(0, func(seg *segment) error {
			results, err := schemas.NewPublishCommitResults(seg.Segment)
			if err != nil {
				return err
			}
			if results.SetEpoch(p.Epoch()); len(proof) > 0 {
				results.SetEpoch(p.Epoch() + 1)
			}
			_, err = results.NewOutcomes(int32(n)) // all of code ok
			return errors.Join(err, seg.results(results.ToPtr()))
		})
	case "batchEnqueue":
		to, err := schemas.BatchEnqueueParams(c.params.Struct()).Recipients()
		if err != nil {
			return err
		}
		return c.give(0, func(seg *segment) error {
			results, err := schemas.NewBatchEnqueueResults(seg.Segment)
			if err != nil {
				return err
			}
			_, err = results.NewOutcomes(int32(to.Len()))
			return errors.Join(err, seg.results(results.ToPtr()))
		})
	}
	return fmt.Errorf("a %s can't be answered without the node", c.Method)
}

func swallow(_ *Front, r *rule, args []string) error {
	r.before = func(c *Call) error {
		if !r.take() {
			return nil
		}
		if err := c.accept(); err != nil {
			return err
		}
		c.patron.front.book.note(c)
		return nil
	}
	return arguments(args, 0, 0, "swallow")
}

// drop takes the recipients of an account out of a write, and the answer is as if they
// were in it.
func drop(f *Front, r *rule, args []string) error {
	r.before = func(c *Call) error {
		key, known := f.book.Account(args[0])
		if !known {
			return fmt.Errorf("nobody is called %s here", args[0])
		}
		if !r.take() {
			return nil
		}
		if err := c.accept(); err != nil {
			return err
		}
		c.patron.front.book.note(c) // with all its recipients
		mine := c.Response
		rest, err := c.without(key)
		if err != nil {
			return err
		}
		if rest {
			if err := c.pass(); err != nil || !c.results() {
				return err
			}
			mine.SetIndex(c.Response.Index())
		}
		c.Response = mine
		return nil
	}
	return arguments(args, 1, 1, "drop NAME")
}

// without removes an account from the recipients, and tells whether there is something
// left to be done.
func (c *Call) without(key client.AccountKey) (rest bool, err error) {
	if c.Method == "batchEnqueue" {
		p := schemas.BatchEnqueueParams(c.params.Struct())
		list, err := p.Recipients()
		if err != nil {
			return false, err
		}
		n, err := keepOthers(list, p.NewRecipients, key)
		return n > 0, err
	}
	list, err := schemas.PublishCommitParams(c.params.Struct()).Deliveries()
	if err != nil {
		return false, err
	}
	for i := range list.Len() {
		d := list.At(i)
		to, err := d.Recipients()
		if err != nil {
			return false, err
		}
		n, err := keepOthers(to, d.NewRecipients, key)
		if err != nil {
			return false, err
		}
		if n == 0 { // a delivery has one recipient at least: the caller himself
			only, err := d.NewRecipients(1)
			c.patron.mu.Lock()
			own := c.patron.who
			c.patron.mu.Unlock()
			if err := errors.Join(err, only.At(0).SetKey(own[:]), d.SetPayload([]byte{0})); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

func keepOthers(list schemas.Recipient_List, newList func(int32) (schemas.Recipient_List, error), key client.AccountKey) (n int, err error) {
	var others []schemas.Recipient
	for i := range list.Len() {
		have, err := list.At(i).Key()
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(have, key[:]) {
			others = append(others, list.At(i))
		}
	}
	next, err := newList(int32(len(others)))
	for i := 0; err == nil && i < len(others); i++ {
		err = next.Set(i, others[i])
	}
	return len(others), err
}

// later does a write after the next one: to the recipients they come in the other order.
func later(_ *Front, r *rule, args []string) error {
	var mu sync.Mutex
	var waiting *Call
	r.before = func(c *Call) error {
		mu.Lock()
		defer mu.Unlock()
		if waiting != nil {
			held := waiting
			waiting = nil
			c.after = append(c.after, func() { held.detached() })
			return nil
		}
		if !r.take() {
			return nil
		}
		waiting = c
		return c.accept()
	}
	return arguments(args, 0, 0, "later")
}

// detached sends a call on by a stream of its own, and drops the answer.
func (c *Call) detached() {
	s, err := c.patron.up.OpenStreamSync(c.patron.up.Context())
	if err != nil {
		return
	}
	again := *c
	again.up = s
	_ = again.forward() // the client has its answer
	s.CancelRead(0)
	s.CancelWrite(0)
}

func twice(_ *Front, r *rule, args []string) error {
	r.before = func(c *Call) error {
		if !r.take() {
			return nil
		}
		c.after = append(c.after, func() {
			id := make([]byte, schemas.RequestIDSize)
			_, _ = rand.Read(id)
			if c.Request.SetRequestId(id) == nil {
				c.detached()
			}
		})
		return nil
	}
	return arguments(args, 0, 0, "twice")
}
