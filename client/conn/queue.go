package conn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"quicproquo/schemas"
)

// Ordinals of the queue topic in NodeService.
const (
	methodEnqueue      = 2
	methodFetch        = 3
	methodAck          = 15
	methodBatchEnqueue = 17
)

// Message is a payload for one account: for every device that it has, or for its
// own queue while it has none.
type Message struct {
	To      AccountKey
	Channel ChannelID // zero: the inbox
	Payload []byte    // 1 byte to 1 MiB
	// TTL is how long the cluster keeps it, in whole seconds, rounded up; 0: the
	// cluster's default.
	TTL time.Duration
	// Ephemeral is of use now or not at all: it ends unread without a loss and takes
	// no room from others. At most 64 KiB. A recipient without room for it gets
	// QUEUE_FULL; sending it again later is of no use.
	Ephemeral bool
	// RequestID is given to repeat a call whose outcome is unknown (Error.RequestID).
	RequestID []byte
}

// Enqueue sends a message. The sequence number is the one in the queue of the
// first of the account's devices that had room for it.
func (c *Conn) Enqueue(ctx context.Context, m Message) (seq uint64, err error) {
	ttl, err := ttlSecs(m.TTL)
	if err != nil {
		return 0, err
	}
	err = CallAs(ctx, c, Request{Method: methodEnqueue, Write: true, ID: m.RequestID}, schemas.NewEnqueueParams,
		func(p schemas.EnqueueParams) error {
			p.SetVersion(schemas.WireVersion)
			p.SetTtlSecs(ttl)
			p.SetEphemeral(m.Ephemeral)
			return errors.Join(p.SetRecipientKey(m.To[:]), p.SetChannelId(m.Channel.bytes()), p.SetPayload(m.Payload))
		},
		func(r schemas.EnqueueResults) error { seq = r.Seq(); return nil })
	return seq, err
}

// Recipient is one of many who get the same payload.
type Recipient struct {
	Account AccountKey
	Device  DeviceID // zero: every device of the account
	Header  []byte   // this recipient's own, at most 4 KiB
}

// Batch is a payload for up to 4,096 recipients. The cluster stores it once.
type Batch struct {
	Recipients []Recipient // no queue twice
	Channel    ChannelID
	Payload    []byte
	TTL        time.Duration // as in Message, and so Ephemeral and RequestID
	Ephemeral  bool
	RequestID  []byte
}

// Outcome is what became of a batch for one recipient.
type Outcome struct {
	// Err is nil, or an *Error: the recipient does not exist or has no room.
	Err error
	Seq uint64 // as Enqueue's, if Err is nil
}

// BatchEnqueue sends a batch and returns an outcome for each recipient, in their
// order. An error means that nobody got it.
func (c *Conn) BatchEnqueue(ctx context.Context, b Batch) (outcomes []Outcome, err error) {
	ttl, err := ttlSecs(b.TTL)
	if err != nil {
		return nil, err
	}
	err = CallAs(ctx, c, Request{Method: methodBatchEnqueue, Write: true, ID: b.RequestID}, schemas.NewBatchEnqueueParams,
		func(p schemas.BatchEnqueueParams) error {
			p.SetVersion(schemas.WireVersion)
			p.SetTtlSecs(ttl)
			p.SetEphemeral(b.Ephemeral)
			if err := setRecipients(p.NewRecipients, b.Recipients); err != nil {
				return err
			}
			return errors.Join(p.SetChannelId(b.Channel.bytes()), p.SetPayload(b.Payload))
		},
		func(r schemas.BatchEnqueueResults) (err error) {
			list, err := r.Outcomes()
			if err != nil {
				return err
			}
			outcomes, err = readOutcomes(list, len(b.Recipients))
			return err
		})
	return outcomes, err
}

func setRecipients(newList func(int32) (schemas.Recipient_List, error), recipients []Recipient) error {
	list, err := newList(int32(len(recipients)))
	if err != nil {
		return err
	}
	for i := range recipients {
		from, to := &recipients[i], list.At(i)
		if err := errors.Join(to.SetKey(from.Account[:]), to.SetDevice(from.Device.bytes()), to.SetHeader(from.Header)); err != nil {
			return err
		}
	}
	return nil
}

func readOutcomes(list schemas.RecipientOutcome_List, want int) ([]Outcome, error) {
	if list.Len() != want {
		return nil, fmt.Errorf("%w: %d outcomes for %d recipients", ErrResponse, list.Len(), want)
	}
	outcomes := make([]Outcome, want)
	for i := range outcomes {
		outcomes[i].Seq = list.At(i).Seq()
		if code := list.At(i).Code(); code != schemas.Code_ok {
			outcomes[i].Err = &Error{Code: code, Message: code.Doc().Meaning}
		}
	}
	return outcomes, nil
}

// Queue names a queue of the session's account. The zero value is the inbox of the
// session's device.
type Queue struct {
	Channel ChannelID // zero: the inbox
	// Device is another of the account's devices, which only a session without a
	// device may name; zero: the session's own.
	Device DeviceID
	// Account means the account's own queue and no device's: what came before the
	// account had a device.
	Account bool
}

// deviceField is how a queue's device travels.
func (q *Queue) deviceField() []byte {
	if q.Account {
		return make([]byte, schemas.DeviceIDSize)
	}
	return q.Device.bytes()
}

// queueParams are parameters that name a queue.
type queueParams interface {
	SetVersion(uint16)
	SetRecipientKey([]byte) error
	SetChannelId([]byte) error
	SetDeviceId([]byte) error
}

func (q *Queue) name(p queueParams, owner AccountKey) error {
	p.SetVersion(schemas.WireVersion)
	return errors.Join(p.SetRecipientKey(owner[:]), p.SetChannelId(q.Channel.bytes()), p.SetDeviceId(q.deviceField()))
}

// Ack removes everything up to and including a sequence number from a queue, and
// returns how many envelopes that were.
func (c *Conn) Ack(ctx context.Context, q Queue, seq uint64) (removed uint64, err error) {
	s := c.session.Load()
	if s == nil {
		return 0, ErrTokenMissing
	}
	err = CallAs(ctx, c, Request{Method: methodAck, Write: true}, schemas.NewAckParams,
		func(p schemas.AckParams) error {
			p.SetSeq(seq)
			return q.name(p, s.Account)
		},
		func(r schemas.AckResults) error { removed = r.Removed(); return nil })
	return removed, err
}

// Envelope is one place of a queue.
type Envelope struct {
	Seq      uint64 // from 1, without gaps
	Channel  ChannelID
	Received time.Time // log time
	Header   []byte    // of a batch
	Data     []byte
	// Loss is set instead of header and data where envelopes were dropped.
	Loss Loss
}

// Loss says which envelopes ended before they were taken: Count of them, from First
// to Last. The zero Loss is none.
type Loss struct {
	Count, First, Last uint64
	// Expired is how many of them reached the end of the time that their senders gave
	// them, Ephemeral how many were of use at their time only. The cluster says so;
	// docs/decisions/0111 says what that is worth.
	Expired, Ephemeral uint64
	// Overflow is how many were refused because their senders had used up their share of
	// the queue: what others sent is all there.
	Overflow uint64
}

// Unexplained is how many of them were dropped: messages that may be missing.
func (l Loss) Unexplained() uint64 { return l.Count - l.Expired - l.Ephemeral - l.Overflow }

// lossFrom reads a marker. One whose numbers contradict each other explains nothing.
func lossFrom(from schemas.Loss) Loss {
	l := Loss{Count: from.Count(), First: from.FirstSeq(), Last: from.LastSeq()}
	expired, ephemeral, overflow := from.Expired(), from.Ephemeral(), from.Overflow()
	if expired <= l.Count && ephemeral <= l.Count-expired && overflow <= l.Count-expired-ephemeral {
		l.Expired, l.Ephemeral, l.Overflow = expired, ephemeral, overflow
	}
	return l
}

// behind is what is left of a marker for who knows everything up to seq. Which of its
// envelopes those were it does not say, so they count as explained ones first: what
// is told as lost may be too much, never too little.
func (l Loss) behind(seq uint64) Loss {
	known := seq - l.First + 1
	l.Count, l.First = l.Last-seq, seq+1
	l.Ephemeral, known = less(l.Ephemeral, known)
	l.Overflow, known = less(l.Overflow, known)
	l.Expired, _ = less(l.Expired, known)
	return l
}

// less takes from n as much as it has, and returns what is left of both.
func less(n, take uint64) (left, rest uint64) {
	t := min(n, take)
	return n - t, take - t
}

// Drain returns and removes the first envelopes of a queue: limit at most (0: the
// cluster's default) and about 1 MiB. It is one write: repeated with its request
// id it returns the same envelopes, and what it returned is gone. Who can lose
// what it was given reads without removing, and acknowledges.
func (c *Conn) Drain(ctx context.Context, q Queue, limit int, requestID []byte) (list []Envelope, err error) {
	s := c.session.Load()
	if s == nil {
		return nil, ErrTokenMissing
	}
	err = CallAs(ctx, c, Request{Method: methodFetch, Write: true, ID: requestID}, schemas.NewFetchParams,
		func(p schemas.FetchParams) error {
			p.SetDrain(true)
			p.SetLimit(uint32(min(max(limit, 0), math.MaxInt32)))
			return q.name(p, s.Account)
		},
		func(r schemas.FetchResults) error {
			payloads, err := r.Payloads()
			if err != nil {
				return err
			}
			list, err = readEnvelopes(payloads)
			return err
		})
	return list, err
}

// readEnvelopes copies a list of a response.
func readEnvelopes(from schemas.Envelope_List) ([]Envelope, error) {
	if from.Len() > schemas.MaxFetch {
		return nil, fmt.Errorf("%w: %d envelopes, at most %d are given", ErrResponse, from.Len(), schemas.MaxFetch)
	}
	list := make([]Envelope, from.Len())
	for i := range list {
		if err := list[i].read(from.At(i)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (e *Envelope) read(from schemas.Envelope) (err error) {
	e.Seq, e.Received = from.Seq(), timeOf(from.ReceivedAtMs())
	if e.Seq > maxIndex {
		return fmt.Errorf("%w: an envelope has the number %d", ErrResponse, e.Seq)
	}
	channel, err := from.ChannelId()
	if err != nil {
		return err
	}
	if len(channel) != 0 {
		if err := fill(e.Channel[:], channel, "channel id"); err != nil {
			return err
		}
	}
	if e.Header, err = copied(from.Header()); err != nil {
		return err
	}
	if e.Data, err = copied(from.Data()); err != nil {
		return err
	}
	loss, err := from.Loss()
	if err != nil {
		return err
	}
	e.Loss = lossFrom(loss)
	if l := e.Loss; l != (Loss{}) && (l.First == 0 || l.First > l.Last || l.Last != e.Seq || l.Count != l.Last-l.First+1) {
		return fmt.Errorf("%w: a loss of %d envelopes from %d to %d stands at %d", ErrResponse, l.Count, l.First, l.Last, e.Seq)
	}
	return nil
}

// ttlSecs is a time to live as it travels: whole seconds, never less than asked
// for.
func ttlSecs(ttl time.Duration) (uint32, error) {
	if ttl < 0 {
		return 0, fmt.Errorf("time to live is negative: %v", ttl)
	}
	secs := ttl / time.Second
	if ttl%time.Second != 0 {
		secs++
	}
	return uint32(min(secs, math.MaxUint32)), nil
}
