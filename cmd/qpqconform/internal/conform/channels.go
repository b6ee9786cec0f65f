package conform

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"quicproquo/schemas"
)

func newPublic() []byte { return newKey().Public().(ed25519.PublicKey) }

func createChannel(peer []byte) spec {
	return of("createChannel", schemas.NewCreateChannelParams, func(p schemas.CreateChannelParams) error { return p.SetPeerKey(peer) })
}

func listChannels(after []byte, limit uint32) spec {
	return of("listChannels", schemas.NewListChannelsParams, func(p schemas.ListChannelsParams) error {
		p.SetLimit(limit)
		return p.SetAfter(after)
	})
}

func channels() []Check {
	return []Check{
		{
			What: "two accounts have one channel: whoever asks, on whichever node, gets the same id, and wasNew once", Section: channelsSection,
			Methods: []string{"createChannel", "listChannels"}, run: oneChannel,
		},
		{
			What: "in a channel its two members send to each other and read their own queues of it", Section: channelsSection,
			Methods: []string{"createChannel", "enqueue", "fetch", "ack"}, run: talkInChannel,
		},
		{
			What: "everybody else gets E022, unless the setting require_channel_authz is 0", Section: channelsSection,
			Codes: []schemas.Code{schemas.Code_channelAccessDenied}, run: strangersInChannel,
		},
		{What: "createChannel refuses no key, a short one, oneself, nobody; listChannels a short id", Section: channelsSection, Codes: []schemas.Code{
			schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_channelWithSelf, schemas.Code_accountNotFound, schemas.Code_channelIdLength,
		}, run: badChannels},
	}
}

// channel is that of two of the run's accounts.
func (w *World) channel(ctx context.Context, from, to *person) (id []byte, isNew bool, err error) {
	a, err := w.call(ctx, from, createChannel(to.public()), schemas.Code_ok)
	if err != nil {
		return nil, false, err
	}
	r := results[schemas.CreateChannelResults](a)
	id, err = r.ChannelId()
	if err == nil {
		err = same("bytes of a channel's id", len(id), schemas.ChannelIDSize)
	}
	return id, r.WasNew(), err
}

func oneChannel(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	id, _, err := w.channel(ctx, ann, bob)
	if err != nil {
		return err
	}
	for range w.nodes {
		for _, pair := range [][2]*person{{ann, bob}, {bob, ann}} {
			again, isNew, err := w.channel(ctx, pair[0], pair[1])
			if err != nil || isNew || !bytes.Equal(again, id) {
				return errors.Join(err, differs("asked again", fmt.Sprintf("%x, new %t", again, isNew), fmt.Sprintf("%x, not new", id)))
			}
		}
	}
	a, err := w.call(ctx, ann, listChannels(nil, 0), schemas.Code_ok)
	if err != nil {
		return err
	}
	list, err := results[schemas.ListChannelsResults](a).Channels()
	if err != nil {
		return err
	}
	for i := range list.Len() {
		listed, err := list.At(i).ChannelId()
		if err != nil || bytes.Equal(listed, id) {
			return err
		}
	}
	return differs("listChannels", fmt.Sprint(list.Len(), " others"), fmt.Sprintf("%x", id))
}

func talkInChannel(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	id, _, err := w.channel(ctx, ann, bob)
	if err != nil {
		return err
	}
	for _, pair := range [][2]*person{{ann, bob}, {bob, ann}} {
		from, to := pair[0], pair[1]
		seq, err := w.send(ctx, from, enqueue(to.public(), id, []byte("from "+from.name)))
		if err != nil {
			return err
		}
		got, err := w.fetched(ctx, to, fetch(to.public(), id, 0, false))
		if err != nil {
			return err
		}
		if got.Len() != 1 || got.At(0).Seq() != seq {
			return differs("in the channel", got.Len(), "one envelope")
		}
		if _, err := w.call(ctx, to, ack(to.public(), id, seq), schemas.Code_ok); err != nil {
			return err
		}
	}
	return nil
}

func strangersInChannel(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	dora, err := w.someone(ctx, "dora")
	if err != nil {
		return err
	}
	id, _, err := w.channel(ctx, ann, bob)
	if err != nil {
		return err
	}
	probe := peek(dora.public(), id, 0)
	if a, err := w.settle(ctx, dora, &probe, schemas.Code_channelAccessDenied); err == nil && a.Code == schemas.Code_ok {
		return notTried("this cluster lets everybody use a channel (require_channel_authz is 0)")
	}
	rows := []refusal{
		{"a stranger sends", enqueue(ann.public(), id, []byte("x")), schemas.Code_channelAccessDenied},
		{"a stranger sends to many", batch(id, []byte("x"), recipient{key: ann.public()}), schemas.Code_channelAccessDenied},
		{"a stranger acknowledges", ack(dora.public(), id, 0), schemas.Code_channelAccessDenied},
		{"a stranger reads", fetch(dora.public(), id, 0, false), schemas.Code_channelAccessDenied},
	}
	if err := w.refusals(ctx, dora, rows); err != nil {
		return err
	}
	return w.refusals(ctx, ann, []refusal{{"a member sends to a stranger", enqueue(dora.public(), id, []byte("x")), schemas.Code_channelAccessDenied}})
}

func badChannels(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	return w.refusals(ctx, ann, []refusal{
		{"no key", createChannel(nil), schemas.Code_identityRequired},
		{"a key of 31 bytes", createChannel(random(31)), schemas.Code_keyLength},
		{"with oneself", createChannel(ann.public()), schemas.Code_channelWithSelf},
		{"with nobody", createChannel(newPublic()), schemas.Code_accountNotFound},
		{"behind an id of 15 bytes", listChannels(random(15), 0), schemas.Code_channelIdLength},
	})
}
