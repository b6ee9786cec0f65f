package liar

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"quicproquo/client/conn"
	"quicproquo/schemas"
)

// payloads is the list of envelopes of an answer.
func (c *Call) payloads() (list schemas.Envelope_List, set func(int32) (schemas.Envelope_List, error), err error) {
	ptr, err := c.Response.Results()
	if err != nil {
		return list, nil, err
	}
	switch c.Method {
	case "subscribe":
		results := schemas.SubscribeResults(ptr.Struct())
		list, err = results.Payloads()
		return list, results.NewPayloads, err
	case "peek":
		results := schemas.PeekResults(ptr.Struct())
		list, err = results.Payloads()
		return list, results.NewPayloads, err
	}
	return list, nil, fmt.Errorf("a %s brings no envelopes", c.Method)
}

// envelopes changes each envelope of an answer.
func (c *Call) envelopes(change func(int, schemas.Envelope) error) error {
	list, _, err := c.payloads()
	for i := 0; err == nil && i < list.Len(); i++ {
		err = change(i, list.At(i))
	}
	return err
}

// gap leaves envelopes out with their numbers.
func gap(_ *Front, r *rule, args []string) error {
	r.results = func(c *Call) error {
		list, set, err := c.payloads()
		if err != nil {
			return err
		}
		var rest []schemas.Envelope
		for i := range list.Len() {
			if !r.take() {
				rest = append(rest, list.At(i))
			}
		}
		next, err := set(int32(len(rest)))
		for i := 0; err == nil && i < len(rest); i++ {
			err = next.Set(i, rest[i])
		}
		return err
	}
	return arguments(args, 0, 0, "gap")
}

// lost puts loss markers in the place of envelopes.
func lost(_ *Front, r *rule, args []string) error {
	r.results = func(c *Call) error {
		return c.envelopes(func(_ int, e schemas.Envelope) error {
			if !r.take() {
				return nil
			}
			loss, err := e.NewLoss()
			if err != nil {
				return err
			}
			loss.SetCount(1)
			loss.SetFirstSeq(e.Seq())
			loss.SetLastSeq(e.Seq())
			return e.SetData(nil)
		})
	}
	return arguments(args, 0, 0, "lost")
}

// swap gives two neighbours of a queue each other's place.
func swap(_ *Front, r *rule, args []string) error {
	r.results = func(c *Call) error {
		list, _, err := c.payloads()
		if err != nil {
			return err
		}
		for i := 0; i+1 < list.Len(); i += 2 {
			a, b := list.At(i), list.At(i+1)
			first, _ := a.Data()
			second, _ := b.Data()
			ca, _ := a.ChannelId()
			cb, _ := b.ChannelId()
			if !bytes.Equal(ca, cb) || a.HasLoss() || b.HasLoss() || !r.take() {
				continue
			}
			first, second = bytes.Clone(first), bytes.Clone(second)
			if err := a.SetData(second); err != nil {
				return err
			}
			if err := b.SetData(first); err != nil {
				return err
			}
		}
		return nil
	}
	return arguments(args, 0, 0, "swap")
}

// beforeEnvelope puts payloads of the front's own into a queue as it is shown, and
// counts on from there. A client that subscribes anew gets the true numbers again, so
// it is for one subscription.
func beforeEnvelope(f *Front, r *rule, args []string) error {
	var mu sync.Mutex
	shift := map[string]uint64{}
	r.results = func(c *Call) error {
		data, known := f.book.Kept(args[0])
		if !known {
			return fmt.Errorf("nothing is kept under %s", args[0])
		}
		list, set, err := c.payloads()
		if err != nil || list.Len() == 0 {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		type envelope struct {
			from schemas.Envelope
			seq  uint64
			data []byte
		}
		var out []envelope
		for i := range list.Len() {
			e := list.At(i)
			channel, _ := e.ChannelId()
			key := c.Who + string(channel)
			if r.take() {
				out = append(out, envelope{e, e.Seq() + shift[key], data})
				shift[key]++
			}
			own, _ := e.Data()
			out = append(out, envelope{e, e.Seq() + shift[key], bytes.Clone(own)})
		}
		next, err := set(int32(len(out)))
		for i := 0; err == nil && i < len(out); i++ {
			if err = next.Set(i, out[i].from); err == nil {
				next.At(i).SetSeq(out[i].seq)
				err = next.At(i).SetData(out[i].data)
			}
		}
		return err
	}
	return arguments(args, 1, 1, "before NAME")
}

// at lies about when envelopes came.
func at(_ *Front, r *rule, args []string) error {
	if err := arguments(args, 1, 1, "at UNIX"); err != nil {
		return err
	}
	seconds, err := strconv.ParseUint(strings.TrimSpace(args[0]), 10, 40)
	if err != nil {
		return err
	}
	r.results = func(c *Call) error {
		return c.envelopes(func(_ int, e schemas.Envelope) error {
			if r.take() {
				e.SetReceivedAtMs(seconds * 1000)
			}
			return nil
		})
	}
	return nil
}

// seq lies about the number of an envelope.
func seq(_ *Front, r *rule, args []string) error {
	if err := arguments(args, 1, 1, "seq N|+N"); err != nil {
		return err
	}
	if _, err := number(args[0], 0); err != nil {
		return err
	}
	r.results = func(c *Call) error {
		return c.envelopes(func(_ int, e schemas.Envelope) error {
			n, err := number(args[0], e.Seq())
			if err == nil && !e.HasLoss() && r.take() {
				e.SetSeq(n)
			}
			return err
		})
	}
	return nil
}

// channelBytes is how a channel id travels.
func channelBytes(id conn.ChannelID) []byte {
	if id == (conn.ChannelID{}) {
		return nil
	}
	return id[:]
}
