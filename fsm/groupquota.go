package fsm

import (
	"fmt"

	"quicproquo/schemas"
)

// What an account keeps in group records (docs/decisions/0138). A record counts for the
// account that has made it, for as long as there is one: it can't be handed to another
// account of the same owner to make room. The bytes of its group info count for the
// account that has put them there, which is the one that committed last: so nobody fills
// another's quota. Records of before have no maker; their bytes count from the next commit
// on.

// groupCharge is the end of a group's row: for whom it counts. Rows of before the level
// have none.
type groupCharge struct {
	maker, keeper AccountKey
	bytes         uint64 // of the group info
}

func (c *groupCharge) append(row []byte) []byte {
	if *c == (groupCharge{}) {
		return row
	}
	return le.AppendUint64(append(append(row, c.maker[:]...), c.keeper[:]...), c.bytes)
}

func (c *groupCharge) read(f *fields) {
	*c = groupCharge{}
	if len(f.rest) > 0 {
		f.exact(c.maker[:])
		f.exact(c.keeper[:])
		c.bytes = f.u64()
	}
}

// groupUsage is what counts for an account. Who keeps nothing has no row.
type groupUsage struct{ records, bytes uint64 }

func (u *groupUsage) decode(row []byte) error {
	f := fields{rest: row}
	u.records, u.bytes = f.u64(), f.u64()
	return f.done("group usage")
}

func groupUsageOf(st state, account AccountKey) (u groupUsage) {
	if row, ok := st.row(tableGroupUsages, rowKey(tableGroupUsages, account[:])); ok {
		if err := u.decode(row); err != nil {
			st.fail(err)
		}
	}
	return u
}

// addGroupUsage counts for an account; records and bytes may be below zero.
func (tx *Tx) addGroupUsage(account AccountKey, records, bytes int64) {
	if records == 0 && bytes == 0 {
		return
	}
	u := groupUsageOf(tx, account)
	if int64(u.records)+records < 0 || int64(u.bytes)+bytes < 0 {
		tx.fail(fmt.Errorf("%w: an account keeps %d group records of %d bytes, and gives back more", errBroken, u.records, u.bytes))
		return
	}
	u.records, u.bytes = u.records+uint64(records), u.bytes+uint64(bytes)
	key := rowKey(tableGroupUsages, account[:])
	if u == (groupUsage{}) {
		tx.delete(tableGroupUsages, key)
		return
	}
	tx.set(tableGroupUsages, key, le.AppendUint64(le.AppendUint64(nil, u.records), u.bytes))
}

// checkGroupQuota refuses a new record of who has as many as are allowed, and a group info
// that would bring the account over its bytes. One that makes what the account keeps no
// larger is taken: a commit that lets go is never refused.
func checkGroupQuota(st state, r *request) refusal {
	if !since(st, levelRegistration) {
		return refusal{}
	}
	p := &r.publishCommit
	g, u := group(st, p.groupID), groupUsageOf(st, r.actor.account)
	if limit := st.setting(groupRecordsMax); !g.exists() && u.records >= limit {
		return refusal{schemas.Code_groupQuota, limit}
	}
	kept := uint64(0)
	if g.charge.keeper == r.actor.account {
		kept = g.charge.bytes
	}
	size, limit := uint64(len(p.groupInfo)), st.setting(groupBytesMax)
	if size > kept && u.bytes-min(kept, u.bytes)+size > limit {
		return refusal{schemas.Code_groupQuota, limit}
	}
	return refusal{}
}

// chargeGroup counts a commit: a new record for its maker, the group info for the actor
// and no longer for who kept the one before.
func (tx *Tx) chargeGroup(g *groupRow, isNew bool, r *request) {
	if !since(tx, levelRegistration) {
		return
	}
	by := r.actor.account
	if isNew {
		g.charge.maker = by
		tx.addGroupUsage(by, 1, 0)
	}
	tx.addGroupUsage(g.charge.keeper, 0, -int64(g.charge.bytes))
	g.charge.keeper, g.charge.bytes = by, uint64(len(r.publishCommit.groupInfo))
	tx.addGroupUsage(by, 0, int64(g.charge.bytes))
}

// releaseGroup gives back what a record has counted.
func (tx *Tx) releaseGroup(g *groupRow) {
	if g.charge.maker != (AccountKey{}) {
		tx.addGroupUsage(g.charge.maker, -1, 0)
	}
	tx.addGroupUsage(g.charge.keeper, 0, -int64(g.charge.bytes))
}
