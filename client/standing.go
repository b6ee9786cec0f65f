package client

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"quicproquo/client/conn"
	"quicproquo/schemas"
)

// standings has the cluster told what the account wants of others (decision 0131).
type standings struct {
	due     atomic.Bool // there may be something to tell
	telling sync.Mutex
}

// tellStandings tells the cluster what is new. What fails is told later: until then the
// client alone drops what comes from blocked accounts.
func (c *Client) tellStandings(ctx context.Context) {
	s := &c.standings
	s.telling.Lock()
	defer s.telling.Unlock()
	s.due.Store(false)
	var news map[conn.Standing][]AccountKey
	err := c.look(func(t *turn) (err error) { news, err = t.untold(); return err })
	for _, standing := range []conn.Standing{conn.Stranger, conn.Blocked, conn.Contacts} { // strangers make room
		for batch := range slices.Chunk(news[standing], schemas.MaxContacts) {
			if err == nil {
				err = c.tellStanding(ctx, standing, batch)
			}
		}
	}
	if err != nil && ctx.Err() == nil && !conn.Is(err, schemas.Code_featureLevel) && !conn.Is(err, schemas.Code_unknownMethod) {
		c.log.Warn("tell the cluster of contacts", "error", err)
	}
}

func (c *Client) tellStanding(ctx context.Context, standing conn.Standing, batch []AccountKey) error {
	if _, err := c.conn.SetContacts(ctx, standing, batch...); err != nil {
		return err
	}
	return c.turn(func(t *turn) error {
		for _, key := range batch {
			if err := t.SetTold(key, uint16(standing)); err != nil {
				return err
			}
		}
		return nil
	})
}

// untold returns of whom the cluster is to be told what, in the order of their keys.
func (t *turn) untold() (map[conn.Standing][]AccountKey, error) {
	wanted, err := t.standings()
	if err != nil {
		return nil, err
	}
	told, err := t.Told()
	if err != nil {
		return nil, err
	}
	news := map[conn.Standing][]AccountKey{}
	for key, standing := range wanted {
		if told[key] != uint16(standing) {
			news[standing] = append(news[standing], key)
		}
	}
	for key := range told {
		if _, there := wanted[key]; !there {
			news[conn.Stranger] = append(news[conn.Stranger], key)
		}
	}
	for _, list := range news {
		slices.SortFunc(list, func(a, b AccountKey) int { return bytes.Compare(a[:], b[:]) })
	}
	return news, nil
}

// standings returns whom the account wants to hear of, and of whom it wants nothing.
// Who is blocked and a member of a group that goes on is a stranger to the cluster: what
// it commits or proposes there all members need.
func (t *turn) standings() (map[AccountKey]conn.Standing, error) {
	wanted := map[AccountKey]conn.Standing{}
	accepted, err := t.AcceptedAccounts()
	if err != nil {
		return nil, err
	}
	for _, key := range accepted {
		wanted[key] = conn.Contacts
	}
	delete(wanted, t.c.account())
	blocked, err := t.BlockedAccounts()
	if err != nil || len(blocked) == 0 {
		return wanted, err
	}
	fellows, err := t.fellows()
	if err != nil {
		return nil, err
	}
	for _, key := range blocked {
		if wanted[key] = conn.Blocked; fellows[key] {
			delete(wanted, key)
		}
	}
	return wanted, nil
}

// fellows are the accounts in groups of which this device is a member.
func (t *turn) fellows() (map[AccountKey]bool, error) {
	rows, err := t.Conversations()
	if err != nil {
		return nil, err
	}
	fellows := map[AccountKey]bool{}
	for _, one := range rows {
		if one.Kind != kindGroup || one.State == stateLeft || one.State == stateBroken {
			continue
		}
		row, err := t.talk(one.ID)
		if err != nil {
			return nil, err
		}
		if row.group == nil {
			continue
		}
		for key := range accountsOf(row.group) {
			fellows[key] = true
		}
	}
	return fellows, nil
}
