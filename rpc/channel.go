package rpc

import (
	"crypto/rand"
	"errors"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// The channel topic.

// createChannel proposes an id; if the pair has a channel already, that one's is
// the answer.
func createChannel(_ *call, p schemas.CreateChannelParams, cmd schemas.Entry_command) error {
	e, err := cmd.NewCreateChannel()
	if err != nil {
		return err
	}
	id := make([]byte, schemas.ChannelIDSize)
	rand.Read(id)
	return errors.Join(copyData(p.PeerKey, e.SetPeerKey), e.SetChannelId(id))
}

// defaultChannels is how many channels listChannels returns if no limit is named.
const defaultChannels = 100

// listChannels lists the caller's channels by id, with what waits in each for the
// device that acts.
func listChannels(c *call, p schemas.ListChannelsParams, results schemas.ListChannelsResults) error {
	after, err := p.After()
	if err != nil {
		return malformed(err)
	}
	from, err := fsm.ParseChannelID(after)
	if err != nil {
		return &refusal{code: schemas.Code_channelIdLength, cause: err}
	}
	limit := int(min(p.Limit(), schemas.MaxChannels))
	if limit == 0 {
		limit = defaultChannels
	}
	view, err := c.state()
	if err != nil {
		return err
	}
	// One more reports whether that was all.
	list, err := view.Channels(c.caller.account, from, limit+1)
	if err != nil {
		return storageFault(err)
	}
	results.SetMore(len(list) > limit)
	list = list[:min(len(list), limit)]
	to, err := results.NewChannels(int32(len(list)))
	if err != nil {
		return err
	}
	for i := range list {
		if err := c.describeChannel(view, &list[i], to.At(i)); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) describeChannel(view *fsm.View, from *fsm.Channel, to schemas.Channel) error {
	q := fsm.QueueID{Owner: c.caller.account, Device: c.caller.device, Channel: from.ID}
	stats, err := view.Queue(q)
	if err != nil {
		return storageFault(err)
	}
	peer, _ := from.Other(c.caller.account)
	to.SetCreatedAtMs(from.CreatedMs)
	to.SetQueued(stats.Envelopes)
	return errors.Join(to.SetChannelId(from.ID.Bytes()), to.SetPeerKey(peer[:]))
}
