package conn

import (
	"context"
	"time"

	"quicproquo/schemas"
)

// Ordinals of the channel topic in NodeService.
const (
	methodCreateChannel = 18
	methodListChannels  = 32
)

// ChannelID is the id of a channel; zero stands for the inbox, which is none.
type ChannelID [schemas.ChannelIDSize]byte

// bytes is how a channel id travels: none for the inbox.
func (id ChannelID) bytes() []byte {
	if id == (ChannelID{}) {
		return nil
	}
	return id[:]
}

// CreateChannel returns the channel of the session's account and a peer, and
// whether this call has made it. Asking again, from either side, returns the same.
func (c *Conn) CreateChannel(ctx context.Context, peer AccountKey) (id ChannelID, wasNew bool, err error) {
	err = CallAs(ctx, c, Request{Method: methodCreateChannel, Write: true}, schemas.NewCreateChannelParams,
		func(p schemas.CreateChannelParams) error { return p.SetPeerKey(peer[:]) },
		func(r schemas.CreateChannelResults) error {
			raw, err := r.ChannelId()
			if err != nil {
				return err
			}
			wasNew = r.WasNew()
			return fill(id[:], raw, "channel id")
		})
	return id, wasNew, err
}

// Channel is a channel of the session's account.
type Channel struct {
	ID      ChannelID
	Peer    AccountKey
	Created time.Time // log time
	// Queued is how many envelopes wait in the queue of the session's device.
	Queued uint64
}

// ListChannels returns a page of the account's channels, in the order of their
// ids: those behind after (zero: from the first), limit at most (0: the cluster's
// default), and whether there are more.
func (c *Conn) ListChannels(ctx context.Context, after ChannelID, limit int) (page []Channel, more bool, err error) {
	err = CallAs(ctx, c, Request{Method: methodListChannels}, schemas.NewListChannelsParams,
		func(p schemas.ListChannelsParams) error {
			p.SetLimit(uint32(min(max(limit, 0), schemas.MaxChannels)))
			return p.SetAfter(after.bytes())
		},
		func(r schemas.ListChannelsResults) error {
			more = r.More()
			list, err := r.Channels()
			if err != nil {
				return err
			}
			page = make([]Channel, min(list.Len(), schemas.MaxChannels))
			for i := range page {
				if err := page[i].read(list.At(i)); err != nil {
					return err
				}
			}
			return nil
		})
	return page, more, err
}

func (ch *Channel) read(from schemas.Channel) error {
	id, err := from.ChannelId()
	if err != nil {
		return err
	}
	if err := fill(ch.ID[:], id, "channel id"); err != nil {
		return err
	}
	peer, err := from.PeerKey()
	if err != nil {
		return err
	}
	ch.Created, ch.Queued = timeOf(from.CreatedAtMs()), from.Queued()
	return fill(ch.Peer[:], peer, "peer key")
}
