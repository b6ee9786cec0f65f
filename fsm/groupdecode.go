package fsm

import (
	"fmt"

	"quicproquo/schemas"
)

func (r *request) decodePublishCommit(cmd schemas.Entry_command) error {
	msg, err := cmd.PublishCommit()
	if err != nil {
		return err
	}
	var g reading
	p := &r.publishCommit
	*p = publishCommitRequest{
		groupID: g.bytes(msg.GroupId()), proof: g.bytes(msg.Proof()), nextVerifier: g.bytes(msg.NextVerifier()),
		groupInfo: g.bytes(msg.GroupInfo()), epoch: msg.Epoch(), version: msg.Version(), ttlSecs: msg.TtlSecs(),
	}
	list, err := msg.Deliveries()
	if err != nil {
		return err
	}
	p.named = list.Len()
	for i := range min(p.named, schemas.MaxDeliveries) {
		if err := p.readDelivery(list.At(i)); err != nil {
			return fmt.Errorf("delivery %d: %w", i, err)
		}
	}
	return g.err
}

// readDelivery reads no more recipients than a call may name.
func (p *publishCommitRequest) readDelivery(msg schemas.Delivery) error {
	var g reading
	d := deliveryRequest{payload: g.bytes(msg.Payload())}
	channel := g.bytes(msg.ChannelId())
	list, err := msg.Recipients()
	if err != nil {
		return err
	}
	room := max(schemas.MaxRecipients-p.recipients, 0)
	p.recipients += list.Len()
	for i := range min(list.Len(), room) {
		var to recipientRequest
		if err := to.decode(list.At(i), channel); err != nil {
			return fmt.Errorf("recipient %d: %w", i, err)
		}
		d.recipients = append(d.recipients, to)
	}
	p.deliveries = append(p.deliveries, d)
	return g.err
}
