package rpc

import (
	"errors"

	"quicproquo/schemas"
)

// The group topic. The rules are the store's (fsm/group.go).

// publishCommit copies the call into a command. Lists are counted before as many
// elements are made: those of no size cost a message nothing.
func publishCommit(_ *call, p schemas.PublishCommitParams, cmd schemas.Entry_command) error {
	if err := checkWire(p.Version()); err != nil {
		return err
	}
	from, err := p.Deliveries()
	if err != nil {
		return malformed(err)
	}
	if from.Len() > schemas.MaxDeliveries {
		return &refusal{code: schemas.Code_listTooLong, value: schemas.MaxDeliveries}
	}
	e, err := cmd.NewPublishCommit()
	if err != nil {
		return err
	}
	e.SetVersion(p.Version())
	e.SetTtlSecs(p.TtlSecs())
	e.SetEpoch(p.Epoch())
	to, err := e.NewDeliveries(int32(from.Len()))
	if err != nil {
		return err
	}
	recipients := 0
	for i := range from.Len() {
		n, err := copyDelivery(from.At(i), to.At(i), schemas.MaxRecipients-recipients)
		if err != nil {
			return err
		}
		recipients += n
	}
	return errors.Join(
		copyData(p.GroupId, e.SetGroupId),
		copyData(p.Proof, e.SetProof),
		copyData(p.NextVerifier, e.SetNextVerifier),
		copyData(p.GroupInfo, e.SetGroupInfo))
}

// copyDelivery copies a delivery of at most room recipients and returns how many
// it has.
func copyDelivery(from, to schemas.Delivery, room int) (int, error) {
	list, err := from.Recipients()
	if err != nil {
		return 0, malformed(err)
	}
	if list.Len() > room {
		return 0, &refusal{code: schemas.Code_tooManyRecipients, value: schemas.MaxRecipients}
	}
	recipients, err := to.NewRecipients(int32(list.Len()))
	if err != nil {
		return 0, err
	}
	for i := range list.Len() {
		if err := copyRecipient(list.At(i), recipients.At(i)); err != nil {
			return 0, err
		}
	}
	return list.Len(), errors.Join(
		copyData(from.Payload, to.SetPayload),
		copyData(from.ChannelId, to.SetChannelId))
}

// fetchGroup answers a group's record to any account that knows its id, which is
// random. What the group info says only its readers can tell.
func fetchGroup(c *call, p schemas.FetchGroupParams, results schemas.FetchGroupResults) error {
	id, err := p.GroupId()
	if err != nil {
		return malformed(err)
	}
	if len(id) < schemas.MinGroupID || len(id) > schemas.MaxGroupID {
		return &refusal{code: schemas.Code_groupIdLength, value: uint64(len(id))}
	}
	view, err := c.state()
	if err != nil {
		return err
	}
	g, ok, err := view.Group(id)
	switch {
	case err != nil:
		return storageFault(err)
	case !ok:
		return refuse(schemas.Code_groupNotFound)
	}
	results.SetEpoch(g.Epoch)
	results.SetChangedAtMs(g.ChangedMs)
	return results.SetGroupInfo(g.Info)
}
