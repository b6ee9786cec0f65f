package fsm

import (
	"fmt"

	"quicproquo/schemas"
)

// What an account wants of others: contacts have larger shares of its queues and of its
// key packages, what blocked ones send is dropped (docs/decisions/0131). An account of
// which nothing was said is a stranger, and has no row.

// standing is what an account is to another.
type standing byte

const (
	stranger = standing(schemas.SetContactsParams_Standing_stranger)
	contact  = standing(schemas.SetContactsParams_Standing_contact)
	blocked  = standing(schemas.SetContactsParams_Standing_blocked)
)

// contactCounts is how many accounts of each standing an account has named. Who has named
// none costs its senders no look.
type contactCounts struct{ contacts, blocked uint32 }

const contactCountsSize = 2 * 4

func (n *contactCounts) encode() []byte {
	return le.AppendUint32(le.AppendUint32(nil, n.contacts), n.blocked)
}

func (n *contactCounts) decode(row []byte) error {
	if len(row) != contactCountsSize {
		return fmt.Errorf("contacts: %w: %d bytes", errRow, len(row))
	}
	n.contacts, n.blocked = le.Uint32(row), le.Uint32(row[4:])
	return nil
}

// of is the count of a standing; nil for strangers, who are not counted.
func (n *contactCounts) of(s standing) *uint32 {
	switch s {
	case contact:
		return &n.contacts
	case blocked:
		return &n.blocked
	case stranger:
	}
	return nil
}

// maxContacts and maxBlocked bound what an account may name.
const (
	maxContacts = 10_000
	maxBlocked  = 2_000
)

// readContactCounts reads the row that stands under the account alone.
func readContactCounts(st state, owner AccountKey) (n contactCounts) {
	if row, ok := st.row(tableContacts, rowKey(tableContacts, owner[:])); ok {
		if err := n.decode(row); err != nil {
			st.fail(err)
		}
	}
	return n
}

// contactCounts is readContactCounts from the account's entry in memory.
func (tx *Tx) contactCounts(owner AccountKey) contactCounts {
	e := tx.owner(owner)
	if !e.listed {
		e.listed, e.contacts = true, readContactCounts(tx, owner)
	}
	return e.contacts
}

func (tx *Tx) putContactCounts(owner AccountKey, n contactCounts) {
	e := tx.owner(owner)
	e.listed, e.contacts = true, n
	if n == (contactCounts{}) {
		tx.delete(tableContacts, rowKey(tableContacts, owner[:]))
		return
	}
	tx.set(tableContacts, rowKey(tableContacts, owner[:]), n.encode())
}

func (v *View) contactCounts(owner AccountKey) contactCounts { return readContactCounts(v, owner) }

// standingOf is what other is to owner by owner's own word: one row is read, none while
// owner has named nobody.
func standingOf(st state, owner, other AccountKey) standing {
	if st.contactCounts(owner) == (contactCounts{}) {
		return stranger
	}
	row, ok := st.row(tableContacts, rowKey(tableContacts, owner[:], other[:]))
	if !ok {
		return stranger
	}
	if len(row) != 1 || row[0] > byte(blocked) {
		st.fail(fmt.Errorf("contact: %w: %d bytes", errRow, len(row)))
		return stranger
	}
	return standing(row[0])
}

// answered reports whether owner has used its channel with other: who writes to somebody
// wants to hear of them. Two rows are read.
func answered(st state, owner, other AccountKey) bool {
	members := pair(owner, other)
	row, ok := st.row(tablePairs, rowKey(tablePairs, members[0][:], members[1][:]))
	if !ok {
		return false
	}
	var id ChannelID
	if !id.set(row) {
		st.fail(fmt.Errorf("pair: %w: %d bytes", errRow, len(row)))
		return false
	}
	return st.channel(id).usedBy(owner)
}

type setContactsRequest struct {
	accounts [][]byte // at most MaxContacts+1 are read
	standing schemas.SetContactsParams_Standing
}

func (r *request) decodeSetContacts(cmd schemas.Entry_command) error {
	msg, err := cmd.SetContacts()
	if err != nil {
		return err
	}
	list, err := msg.Accounts()
	if err != nil {
		return err
	}
	p := &r.setContacts
	p.standing, p.accounts = msg.Standing(), p.accounts[:0]
	// One more than the limit is enough to see that there are too many.
	for i := range min(list.Len(), schemas.MaxContacts+1) {
		key, err := list.At(i)
		if err != nil {
			return fmt.Errorf("account %d: %w", i, err)
		}
		p.accounts = append(p.accounts, key)
	}
	return nil
}

// checkSetContacts refuses in this order: account, number of accounts, keys, standing,
// itself, number of contacts or of blocked accounts. Whether the others exist is not
// asked: a list outlives whom it names.
func checkSetContacts(st state, r *request) refusal {
	p := &r.setContacts
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	if len(p.accounts) > schemas.MaxContacts {
		return refusal{schemas.Code_listTooLong, schemas.MaxContacts}
	}
	for _, key := range p.accounts {
		switch {
		case len(key) != schemas.AccountKeySize:
			return refuse(schemas.Code_keyLength)
		case AccountKey(key) == r.actor.account:
			return refuse(schemas.Code_channelWithSelf)
		}
	}
	if p.standing > schemas.SetContactsParams_Standing_blocked {
		return refuse(schemas.Code_malformed)
	}
	n, limit := st.contactCounts(r.actor.account), uint32(maxContacts)
	if standing(p.standing) == blocked {
		limit = maxBlocked
	}
	// Those that are named already count twice here: a list that is nearly full is sent
	// in parts.
	if count := n.of(standing(p.standing)); count != nil && *count+uint32(len(p.accounts)) > limit {
		return refusal{schemas.Code_contactLimit, uint64(limit)}
	}
	return refusal{}
}

// applySetContacts answers how many accounts have another standing now.
func applySetContacts(tx *Tx, r *request) Result {
	p, owner := &r.setContacts, r.actor.account
	n, next, changed := tx.contactCounts(owner), standing(p.standing), uint64(0)
	for _, key := range p.accounts {
		before := standingOf(tx, owner, AccountKey(key))
		if before == next {
			continue
		}
		changed++
		if count := n.of(before); count != nil {
			*count--
		}
		row := rowKey(tableContacts, owner[:], key)
		if count := n.of(next); count != nil {
			*count++
			tx.set(tableContacts, row, []byte{byte(next)})
		} else {
			tx.delete(tableContacts, row)
		}
		tx.putContactCounts(owner, n) // a key that is named twice is found the second time
	}
	return tx.numberResult(changed)
}

// removeContacts forgets whom a deleted account has named.
func removeContacts(tx *Tx, owner AccountKey) {
	if tx.contactCounts(owner) == (contactCounts{}) {
		return
	}
	prefix := rowKey(tableContacts, owner[:])
	tx.deleteRange(tableContacts, prefix, prefixEnd(prefix))
	tx.putContactCounts(owner, contactCounts{})
}
