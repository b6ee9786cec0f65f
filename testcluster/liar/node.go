package liar

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"quicproquo/client/conn"
	"quicproquo/schemas"
)

// Enqueue puts a payload into the queue of every device of an account, in anybody's
// name: a node proposes what it likes, and the log believes it.
func (f *Front) Enqueue(ctx context.Context, as, to conn.AccountKey, channel conn.ChannelID, payload []byte) error {
	id := make([]byte, schemas.RequestIDSize)
	_, _ = rand.Read(id)
	by := schemas.Caller{Kind: schemas.Actor_Kind_account, Account: as[:], Device: make([]byte, schemas.DeviceIDSize)}
	entry, err := schemas.BuildEntry(id, by, func(c schemas.Entry_command) error {
		p, err := c.NewBatchEnqueue()
		if err != nil {
			return err
		}
		p.SetVersion(schemas.WireVersion)
		list, err := p.NewRecipients(1)
		if err != nil {
			return err
		}
		if err := list.At(0).SetKey(to[:]); err != nil {
			return err
		}
		if err := p.SetChannelId(channelBytes(channel)); err != nil {
			return err
		}
		return p.SetPayload(payload)
	})
	if err != nil {
		return err
	}
	if err := f.propose(ctx, entry); err != nil {
		return fmt.Errorf("enqueue in another's name: %w", err)
	}
	return nil
}

// propose writes an entry into the log.
func (f *Front) propose(ctx context.Context, entry []byte) error {
	engine := f.node().Engine()
	if engine == nil {
		return errors.New("the node is down")
	}
	_, result, err := engine.Propose(ctx, entry)
	if err == nil && result.Code != schemas.Code_ok {
		err = errors.New(result.Code.Doc().Name)
	}
	return err
}
