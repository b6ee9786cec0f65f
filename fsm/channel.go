package fsm

import (
	"bytes"

	"quicproquo/schemas"
)

// The channel topic: one channel for each unordered pair of accounts. Its two
// members may put envelopes into each other's queues of it, and read their own.

// channelRow is a channel; the zero row stands for one that is not there.
type channelRow struct {
	members [2]AccountKey // the lower key first
	created uint64        // log time; never 0
	// used says which of the members has asked for the channel or sent on it. It counts
	// since levelShares; a row of before has none.
	used [2]bool
}

// usedBy reports whether an account is a member that has used the channel.
func (c *channelRow) usedBy(member AccountKey) bool {
	return c.used[0] && member == c.members[0] || c.used[1] && member == c.members[1]
}

// use notes that a member uses a channel.
func (tx *Tx) use(id ChannelID, by *actor) {
	if !id.some || by.kind != schemas.Actor_Kind_account || !since(tx, levelShares) {
		return
	}
	row := tx.channel(id)
	for i, member := range row.members {
		if row.exists() && member == by.account && !row.used[i] {
			row.used[i] = true
			tx.set(tableChannels, rowKey(tableChannels, id.id[:]), row.encode())
		}
	}
}

func (c *channelRow) exists() bool { return c.created != 0 }

// other returns the member that is not this one; false: it is no member.
func (c *channelRow) other(member AccountKey) (AccountKey, bool) {
	switch member {
	case c.members[0]:
		return c.members[1], c.exists()
	case c.members[1]:
		return c.members[0], c.exists()
	}
	return AccountKey{}, false
}

func (c *channelRow) encode() []byte {
	row := append(clone(c.members[0][:]), c.members[1][:]...)
	row = le.AppendUint64(row, c.created)
	if c.used == [2]bool{} {
		return row
	}
	for _, used := range c.used {
		if used {
			row = append(row, 1)
		} else {
			row = append(row, 0)
		}
	}
	return row
}

func (c *channelRow) decode(row []byte) error {
	f := fields{rest: row}
	f.exact(c.members[0][:])
	f.exact(c.members[1][:])
	c.created, c.used = f.u64(), [2]bool{}
	if len(f.rest) > 0 {
		c.used[0], c.used[1] = f.u8() == 1, f.u8() == 1
	}
	return f.done("channel")
}

func (tx *Tx) channel(id ChannelID) *channelRow {
	if row := tx.channels.get(id); row != nil {
		return row
	}
	row := &channelRow{}
	if value, ok := tx.committed(rowKey(tableChannels, id.id[:])); ok {
		if err := row.decode(value); err != nil {
			tx.fail(err)
		}
	}
	tx.channels.put(id, row)
	return row
}

// pair puts two accounts in the order in which a channel has them.
func pair(a, b AccountKey) [2]AccountKey {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return [2]AccountKey{a, b}
}

// checkSend tells whether the actor may put envelopes into a queue: everybody
// into an inbox, into a channel's only its other member. Nodes may.
func checkSend(st state, by *actor, q *QueueID) refusal {
	if no := checkMember(st, by, q.Channel); no.refused() {
		return no
	}
	if !guarded(st, by, q.Channel) {
		return refusal{}
	}
	if other, _ := st.channel(q.Channel).other(by.account); other != q.Owner {
		return refuse(schemas.Code_channelAccessDenied)
	}
	return refusal{}
}

// checkMember tells whether the actor may use a channel at all.
func checkMember(st state, by *actor, id ChannelID) refusal {
	if !guarded(st, by, id) {
		return refusal{}
	}
	c := st.channel(id)
	if !c.exists() {
		return refuse(schemas.Code_channelNotFound)
	}
	if _, member := c.other(by.account); !member || by.kind != schemas.Actor_Kind_account {
		return refuse(schemas.Code_channelAccessDenied)
	}
	return refusal{}
}

// guarded tells whether membership counts.
func guarded(st state, by *actor, id ChannelID) bool {
	return id.some && by.kind != schemas.Actor_Kind_node && st.setting(requireChannelAuthz) != 0
}

type createChannelRequest struct{ peer, proposed []byte }

func (r *request) decodeCreateChannel(cmd schemas.Entry_command) error {
	msg, err := cmd.CreateChannel()
	if err != nil {
		return err
	}
	var g reading
	r.createChannel = createChannelRequest{peer: g.bytes(msg.PeerKey()), proposed: g.bytes(msg.ChannelId())}
	return g.err
}

// createChannelKey is the lower member's account.
func createChannelKey(r *request) []byte {
	var peer AccountKey
	copy(peer[:], r.createChannel.peer)
	members := pair(r.actor.account, peer)
	return clone(members[0][:])
}

// checkCreateChannel refuses in this order: account, peer's key, the proposed id,
// peer.
func checkCreateChannel(st state, r *request) refusal {
	p := &r.createChannel
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	switch {
	case len(p.peer) == 0:
		return refuse(schemas.Code_identityRequired)
	case len(p.peer) != schemas.AccountKeySize:
		return refuse(schemas.Code_keyLength)
	case len(p.proposed) != schemas.ChannelIDSize:
		return refuse(schemas.Code_channelIdLength)
	case AccountKey(p.peer) == r.actor.account:
		return refuse(schemas.Code_channelWithSelf)
	case !st.account(AccountKey(p.peer)).live():
		return refuse(schemas.Code_accountNotFound)
	}
	return refusal{}
}

// applyCreateChannel answers the pair's channel, and whether this made it.
func applyCreateChannel(tx *Tx, r *request) Result {
	p := &r.createChannel
	members := pair(r.actor.account, AccountKey(p.peer))
	pairKey := rowKey(tablePairs, members[0][:], members[1][:])
	if row, ok := tx.row(tablePairs, pairKey); ok {
		var id ChannelID
		id.set(row)
		tx.use(id, &r.actor)
		return tx.channelResult(clone(id.id[:]), false)
	}
	id := ChannelID{id: [schemas.ChannelIDSize]byte(p.proposed), some: true}
	if tx.channel(id).exists() {
		// 128 random bits do not meet twice: the proposer is at fault.
		return Result{Code: schemas.Code_internal}
	}
	row := &channelRow{members: members, created: max(tx.now(), 1)}
	tx.channels.put(id, row)
	tx.set(tableChannels, rowKey(tableChannels, id.id[:]), row.encode())
	tx.set(tablePairs, pairKey, id.id[:])
	for _, member := range members {
		tx.set(tableChannelsOf, rowKey(tableChannelsOf, member[:], id.id[:]), nil)
	}
	tx.use(id, &r.actor)
	return tx.channelResult(id.id[:], true)
}

func (tx *Tx) channelResult(id []byte, wasNew bool) Result {
	msg, seg := schemas.NewMessage()
	results, err := schemas.NewRootCreateChannelResults(seg)
	if err == nil {
		results.SetWasNew(wasNew)
		err = results.SetChannelId(id)
	}
	return tx.messageResult(msg, err)
}

// leaveChannels takes a deleted account's channels off its list. The channels
// stay: the other members' queues have what they have.
func leaveChannels(tx *Tx, key AccountKey) {
	var rows [][]byte
	tx.each(tableChannelsOf, rowKey(tableChannelsOf, key[:]), func(key, _ []byte) bool {
		rows = append(rows, clone(key))
		return true
	})
	for _, row := range rows {
		tx.delete(tableChannelsOf, row)
	}
}
