package fsm

import "fmt"

// Channel is a channel as readers see it.
type Channel struct {
	ID        ChannelID
	Members   [2]AccountKey // the lower key first
	CreatedMs uint64        // log time
}

// Other returns the member that is not this one; false: it is no member.
func (c *Channel) Other(member AccountKey) (AccountKey, bool) {
	row := channelRow{members: c.Members, created: c.CreatedMs}
	return row.other(member)
}

// Channel returns a channel; false: there is none with this id.
func (v *View) Channel(id ChannelID) (Channel, bool, error) {
	v.err = nil
	row := v.channel(id)
	return Channel{ID: id, Members: row.members, CreatedMs: row.created}, row.exists(), v.readError("channel")
}

// Channels returns an account's channels in the order of their ids, from behind
// after on (the empty id: from the first), limit at most.
func (v *View) Channels(key AccountKey, after ChannelID, limit int) ([]Channel, error) {
	v.err = nil
	prefix := rowKey(tableChannelsOf, key[:])
	from := append(clone(prefix), after.Bytes()...)
	if after.some {
		from = append(from, 0)
	}
	var ids []ChannelID
	err := eachFrom(v.snapshot, from, prefixEnd(prefix), func(key, _ []byte) bool {
		if len(ids) == limit {
			return false
		}
		id, err := ParseChannelID(key[len(prefix):])
		v.fail(err)
		ids = append(ids, id)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read channels: %w", err)
	}
	list := make([]Channel, len(ids))
	for i, id := range ids {
		row := v.channel(id)
		list[i] = Channel{ID: id, Members: row.members, CreatedMs: row.created}
	}
	return list, v.readError("channels")
}

func (v *View) channel(id ChannelID) *channelRow {
	var c channelRow
	if row, ok := v.row(tableChannels, rowKey(tableChannels, id.id[:])); ok {
		v.fail(c.decode(row))
	}
	return &c
}

// MayUse tells whether an account may use a channel, or why not, as the rules of
// queues do: the zero Result is yes. The inbox is everybody's own.
func (v *View) MayUse(key AccountKey, id ChannelID) (Result, error) {
	v.err = nil
	no := checkMember(v, &actor{kind: actorAccount, account: key, complete: true}, id)
	return Result{Code: no.code, Value: no.value}, v.readError("channel")
}
