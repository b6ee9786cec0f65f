package referee

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
	"quicproquo/testcluster/liar"
)

// Call is a call as it came, and what it was answered.
type Call struct {
	At         time.Time    `json:"at"`
	Address    int          `json:"address"` // which of the addresses, from 0
	Connection int          `json:"connection"`
	Method     string       `json:"method"`
	RequestID  string       `json:"requestId,omitempty"`
	Seen       uint64       `json:"seen"`
	First      bool         `json:"first,omitempty"`
	Act        string       `json:"act,omitempty"` // what was played to it
	Answered   time.Time    `json:"answered"`      // zero: never
	Code       schemas.Code `json:"code"`
	Index      uint64       `json:"index"`
	Value      uint64       `json:"value,omitempty"`
	Wrong      string       `json:"wrong,omitempty"` // what only the moment shows

	command [32]byte // of method and parameters
	queue   string   // of a read or an ack
	seq     uint64   // of an ack
}

// note writes a call down.
func (f *front) note(c *liar.Call) (*Call, error) {
	id, err := c.Request.RequestId()
	if err != nil {
		return nil, err
	}
	call := &Call{
		At: time.Now(), Address: f.number, Method: c.Method, RequestID: hex.EncodeToString(id),
		Seen: c.Request.Seen(), First: c.Request.First(),
	}
	if err := call.parameters(c); err != nil {
		return nil, err
	}
	r := f.referee
	r.mu.Lock()
	defer r.mu.Unlock()
	call.Connection = r.conns[c.Connection()]
	if given := r.givenOut(call); call.Method == "ack" && call.seq > given {
		call.Wrong = fmt.Sprintf("%d was acknowledged, and %d was the last that was given out", call.seq, given)
	}
	r.calls = append(r.calls, call)
	r.open[c] = call
	return call, nil
}

// parameters notes what the rules ask of a call's parameters.
func (call *Call) parameters(c *liar.Call) error {
	ptr, err := c.Request.Params()
	if err != nil {
		return err
	}
	canonical, err := capnp.Canonicalize(ptr.Struct())
	if err != nil {
		return err
	}
	call.command = sha256.Sum256(append([]byte(call.Method), canonical...))
	own, channel, err := queueOf(call.Method, ptr.Struct())
	call.queue = hex.EncodeToString(own) + "/" + hex.EncodeToString(channel)
	if call.Method == "ack" {
		call.seq = schemas.AckParams(ptr.Struct()).Seq()
	}
	return err
}

// queueOf is which queue a call reads or acknowledges.
func queueOf(method string, params capnp.Struct) (own, channel []byte, err error) {
	var err2 error
	switch method {
	case "fetch":
		own, err = schemas.FetchParams(params).RecipientKey()
		channel, err2 = schemas.FetchParams(params).ChannelId()
	case "fetchWait":
		own, err = schemas.FetchWaitParams(params).RecipientKey()
		channel, err2 = schemas.FetchWaitParams(params).ChannelId()
	case "peek":
		own, err = schemas.PeekParams(params).RecipientKey()
		channel, err2 = schemas.PeekParams(params).ChannelId()
	case "ack":
		own, err = schemas.AckParams(params).RecipientKey()
		channel, err2 = schemas.AckParams(params).ChannelId()
	}
	return bytes.Clone(own), bytes.Clone(channel), errors.Join(err, err2)
}

// answered writes an answer down.
func (r *Referee) answered(call *Call, c *liar.Call, lost error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if call.Method != "subscribe" {
		delete(r.open, c)
	}
	if lost != nil {
		return
	}
	call.Answered, call.Index = time.Now(), c.Response.Index()
	if c.Response.Which() == schemas.Response_Which_error {
		if failure, err := c.Response.Error(); err == nil {
			call.Code, call.Value = failure.Code(), failure.Value()
		}
		return
	}
	ptr, err := c.Response.Results()
	if err != nil {
		return
	}
	var list schemas.Envelope_List
	switch call.Method {
	case "fetch", "fetchWait":
		list, err = schemas.FetchResults(ptr.Struct()).Payloads()
	case "peek":
		list, err = schemas.PeekResults(ptr.Struct()).Payloads()
	case "subscribe":
		list, err = schemas.SubscribeResults(ptr.Struct()).Payloads()
	default:
		return
	}
	for i := 0; err == nil && i < list.Len(); i++ {
		r.give(call, list.At(i))
	}
}

// givenOut is the last number of a queue that some answer had.
func (r *Referee) givenOut(call *Call) uint64 {
	_, channel, _ := strings.Cut(call.queue, "/")
	return max(r.given[call.queue], r.given[subscribed+channel])
}

// subscribed begins the names of what subscriptions have given.
const subscribed = "subscribed/"

// give notes that an envelope was given out. A subscription names only the channel: it
// counts for every queue of that channel.
func (r *Referee) give(call *Call, e schemas.Envelope) {
	if call.Method != "subscribe" {
		r.given[call.queue] = max(r.given[call.queue], e.Seq())
		return
	}
	channel, err := e.ChannelId()
	if err != nil {
		return
	}
	key := subscribed + hex.EncodeToString(channel)
	r.given[key] = max(r.given[key], e.Seq())
}
