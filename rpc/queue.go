package rpc

import (
	"errors"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// The queue topic's writes. What a command may do the store's rules say
// (fsm/queue.go); a handler only turns parameters into a command. It copies field
// by field: auth must never come into the log.

func enqueue(_ *call, p schemas.EnqueueParams, cmd schemas.Entry_command) error {
	e, err := cmd.NewEnqueue()
	if err != nil {
		return err
	}
	e.SetVersion(p.Version())
	e.SetTtlSecs(p.TtlSecs())
	e.SetEphemeral(p.Ephemeral())
	return errors.Join(
		copyData(p.RecipientKey, e.SetRecipientKey),
		copyData(p.ChannelId, e.SetChannelId),
		copyData(p.Payload, e.SetPayload))
}

func batchEnqueue(_ *call, p schemas.BatchEnqueueParams, cmd schemas.Entry_command) error {
	list, err := p.Recipients()
	if err != nil {
		return malformed(err)
	}
	// Elements of no size cost a message nothing: count before making as many.
	if err := checkWire(p.Version()); err != nil {
		return err
	}
	if list.Len() > schemas.MaxRecipients {
		return &refusal{code: schemas.Code_tooManyRecipients, value: schemas.MaxRecipients}
	}
	e, err := cmd.NewBatchEnqueue()
	if err != nil {
		return err
	}
	e.SetVersion(p.Version())
	e.SetTtlSecs(p.TtlSecs())
	e.SetEphemeral(p.Ephemeral())
	to, err := e.NewRecipients(int32(list.Len()))
	if err != nil {
		return err
	}
	for i := range list.Len() {
		if err := copyRecipient(list.At(i), to.At(i)); err != nil {
			return err
		}
	}
	return errors.Join(
		copyData(p.ChannelId, e.SetChannelId),
		copyData(p.Payload, e.SetPayload))
}

func copyRecipient(from, to schemas.Recipient) error {
	return errors.Join(
		copyData(from.Key, to.SetKey),
		copyData(from.Device, to.SetDevice),
		copyData(from.Header, to.SetHeader))
}

func ack(c *call, p schemas.AckParams, cmd schemas.Entry_command) error {
	q, err := c.queueNamed(p.Version(), p)
	if err != nil {
		return err
	}
	e, err := cmd.NewAck()
	if err != nil {
		return err
	}
	e.SetVersion(p.Version())
	e.SetSeq(p.Seq())
	return errors.Join(
		e.SetRecipientKey(q.Owner[:]),
		e.SetChannelId(q.Channel.Bytes()),
		e.SetDeviceId(deviceField(q.Device)))
}

// drainQueue is fetch with drain: one write whose answer, FetchResults, becomes
// the call's. It removes exactly what it answers, at most limit envelopes, 0 for
// the default; the same request id gets the same answer again.
func (c *call) drainQueue(q fsm.QueueID, limit uint32) error {
	if err := c.roomForDrain(q, limit); err != nil {
		return err
	}
	result, err := c.propose(drainOf(q, limit))
	if err != nil {
		return err
	}
	return c.relay(result)
}

// roomForDrain refuses a drain whose answer would find no memory.
func (c *call) roomForDrain(q fsm.QueueID, limit uint32) error {
	view, err := c.state()
	if err != nil {
		return err
	}
	page, err := view.Page(q, 0, fetchLimit(limit), schemas.MaxDrainBytes)
	if err != nil {
		return storageFault(err)
	}
	return c.roomForAnswer(page.Bytes)
}

// queueParams are the parameters that name one of the caller's queues.
type queueParams interface {
	RecipientKey() ([]byte, error)
	ChannelId() ([]byte, error)
	DeviceId() ([]byte, error)
}

// ownQueue returns the queue that a read names. It refuses in this order: version,
// key, channel id and device as queueNamed does; channel; owner. These are the
// refusals of the log's rules for ack and drain, before those of the queue itself.
func (c *call) ownQueue(version uint16, p queueParams) (fsm.QueueID, error) {
	q, err := c.queueNamed(version, p)
	if err != nil {
		return q, err
	}
	view, err := c.state()
	if err != nil {
		return q, err
	}
	no, err := view.MayUse(c.caller.account, q.Channel)
	if err != nil {
		return q, storageFault(err)
	}
	if err := refusalIn(no); err != nil {
		return q, err
	}
	if q.Owner != c.caller.account {
		return q, refuse(schemas.Code_identityMismatch)
	}
	return q, nil
}

// queueNamed reads which queue a call speaks of. Whether it is the caller's own is
// not asked here, but whether the caller may name the device is.
func (c *call) queueNamed(version uint16, p queueParams) (q fsm.QueueID, err error) {
	if err := checkWire(version); err != nil {
		return q, err
	}
	key, err := p.RecipientKey()
	if err != nil {
		return q, malformed(err)
	}
	channel, err := p.ChannelId()
	if err != nil {
		return q, malformed(err)
	}
	device, err := p.DeviceId()
	if err != nil {
		return q, malformed(err)
	}
	if len(key) != len(q.Owner) || len(device) != 0 && len(device) != len(q.Device) {
		return q, refuse(schemas.Code_keyLength)
	}
	copy(q.Owner[:], key)
	if q.Channel, err = fsm.ParseChannelID(channel); err != nil {
		return q, &refusal{code: schemas.Code_channelIdLength, cause: err}
	}
	q.Device, err = c.queueDevice(device)
	return q, err
}

// queueDevice returns whose queue of the account is meant: none named is that of
// the device that acts, zeros are the account's own. A session with a device has no
// other device's.
func (c *call) queueDevice(named []byte) (fsm.DeviceID, error) {
	if len(named) == 0 {
		return c.caller.device, nil
	}
	device := fsm.DeviceID(named)
	if device == (fsm.DeviceID{}) || device == c.caller.device {
		return device, nil
	}
	if c.caller.session.Device != (fsm.DeviceID{}) {
		return device, refuse(schemas.Code_deviceNotFound)
	}
	a, err := c.account(c.caller.account)
	if err == nil && a.Device(device) == nil {
		err = refuse(schemas.Code_deviceNotFound)
	}
	return device, err
}

// deviceField is a device id as log entries have it: none for the account's own.
func deviceField(device fsm.DeviceID) []byte {
	if device == (fsm.DeviceID{}) {
		return nil
	}
	return device[:]
}

func checkWire(version uint16) error {
	if version != schemas.WireVersion {
		return &refusal{code: schemas.Code_wireVersionUnsupported, value: schemas.WireVersion}
	}
	return nil
}

// copyData copies a field from a call into its command. What can't be read is the
// caller's fault.
func copyData(from func() ([]byte, error), to func([]byte) error) error {
	data, err := from()
	if err != nil {
		return malformed(err)
	}
	return to(data)
}
