package fsm

import (
	"crypto/sha256"
	"crypto/subtle"

	"quicproquo/crypto/confusable"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// The account topic: one account for each identity key and for each username.
// What OPAQUE needs of an account is its record, which is opaque here. An identity
// key that was an account once is never another's; a name is, after a while.

// accountRow is an account with its devices. The zero row stands for one that is
// not there.
type accountRow struct {
	state    accountState
	username string
	created  uint64 // log time
	record   []byte
	devices  []deviceRow // in the order of their registration
}

type accountState byte

const (
	accountNone accountState = iota
	accountLive
	accountDeleted // the key stays taken; everything else is empty
)

func (a *accountRow) live() bool { return a.state == accountLive }

func (a *accountRow) encode() []byte {
	row := le.AppendUint64([]byte{byte(a.state)}, a.created)
	row = appendField(row, []byte(a.username))
	row = appendField(row, a.record)
	row = le.AppendUint16(row, uint16(len(a.devices)))
	for i := range a.devices {
		row = a.devices[i].append(row)
	}
	return row
}

func (a *accountRow) decode(row []byte) error {
	f := fields{rest: row}
	*a = accountRow{state: accountState(f.u8()), created: f.u64(), username: f.text(), record: f.bytes()}
	for n := f.u16(); n > 0 && !f.bad; n-- {
		a.devices = append(a.devices, readDevice(&f))
	}
	return f.done("account")
}

// usernameRow says who has a name, or until when nobody may.
type usernameRow struct {
	owner AccountKey // zero: held
	held  uint64     // log time
}

func (u *usernameRow) encode() []byte {
	return le.AppendUint64(clone(u.owner[:]), u.held)
}

func (u *usernameRow) decode(row []byte) error {
	f := fields{rest: row}
	f.exact(u.owner[:])
	u.held = f.u64()
	return f.done("username")
}

// username reads the row of a name; one that is free has the zero row.
func username(st state, name string) (u usernameRow) {
	if row, ok := st.row(tableUsernames, rowKey(tableUsernames, []byte(name))); ok {
		if err := u.decode(row); err != nil {
			st.fail(err)
		}
	}
	return u
}

func (u *usernameRow) taken(now uint64) bool { return u.owner != AccountKey{} || u.held > now }

// accountEntry is an account and how much its queues hold, in memory. The usage is
// read when it is first asked for.
type accountEntry struct {
	key AccountKey
	accountRow
	usage   uint64 // steps of usageStep bytes
	counted bool   // usage is known
	// contacts counts whom the account has named, if listed.
	contacts contactCounts
	listed   bool
}

// owner returns an account's entry for reading and changing.
func (tx *Tx) owner(key AccountKey) *accountEntry {
	// The rules of one command ask for the same account again and again.
	if tx.lastAccount != nil && tx.lastAccount.key == key {
		return tx.lastAccount
	}
	e := tx.accounts.get(key)
	if e == nil {
		e = &accountEntry{key: key}
		if row, ok := tx.committed(rowKey(tableAccounts, key[:])); ok {
			if err := e.decode(row); err != nil {
				tx.fail(err)
			}
		}
		tx.accounts.put(key, e)
	}
	tx.lastAccount = e
	return e
}

func (tx *Tx) account(key AccountKey) *accountRow { return &tx.owner(key).accountRow }

// putAccount writes an account that a rule has changed a copy of.
func (tx *Tx) putAccount(key AccountKey, row *accountRow) {
	tx.owner(key).accountRow = *row
	tx.set(tableAccounts, rowKey(tableAccounts, key[:]), row.encode())
}

func (tx *Tx) usage(key AccountKey) uint64 {
	e := tx.owner(key)
	if !e.counted {
		e.counted = true
		if row, ok := tx.committed(rowKey(tableUsages, key[:])); ok {
			var err error
			if e.usage, err = decodeNumber(row); err != nil {
				tx.fail(err)
			}
		}
	}
	return e.usage
}

func (tx *Tx) putUsage(key AccountKey, steps uint64) {
	e := tx.owner(key)
	e.usage, e.counted = steps, true
	tx.key2 = append(append(tx.key2[:0], byte(tableUsages)), key[:]...)
	if steps == 0 {
		tx.delete(tableUsages, tx.key2)
		return
	}
	var row [8]byte
	le.PutUint64(row[:], steps)
	tx.set(tableUsages, tx.key2, row[:])
}

func createAccountKey(r *request) []byte { return clone(r.createAccount.identityKey) }

// checkCreateAccount refuses in this order: name, key, record, proof, response that it
// answers, who may register, name taken, key taken, name of several scripts, name that
// looks like another. That the name is canonical the node has seen to, and that the proof
// names this cluster. What is refused takes nothing: no invite's use and no budget.
func checkCreateAccount(st state, r *request) refusal {
	p := &r.createAccount
	switch {
	case p.username == "" || len(p.username) > schemas.MaxUsername:
		return refusal{schemas.Code_usernameInvalid, schemas.MaxUsername}
	case len(p.identityKey) == 0:
		return refuse(schemas.Code_identityRequired)
	case len(p.identityKey) != schemas.AccountKeySize:
		return refuse(schemas.Code_keyLength)
	case len(p.record) == 0 || len(p.record) > schemas.MaxAccountRecord:
		return refusal{schemas.Code_opaqueFinishFailed, schemas.MaxAccountRecord}
	}
	if no := checkProof(st, p); no.refused() {
		return no
	}
	if no := checkAnswers(st, p); no.refused() {
		return no
	}
	if no := checkAdmission(st, p); no.refused() {
		return no
	}
	if u := username(st, p.username); u.taken(st.now()) {
		return refuse(schemas.Code_usernameTaken)
	}
	if st.account(AccountKey(p.identityKey)).state != accountNone {
		return refuse(schemas.Code_identityTaken)
	}
	switch {
	case !since(st, levelStatements):
	case confusable.MixedScripts(p.username):
		return refuse(schemas.Code_usernameMixed)
	case looksLikeAnother(st, p.username):
		return refuse(schemas.Code_usernameConfusable)
	}
	return refusal{}
}

// checkProof refuses an account that its key has not registered.
func checkProof(st state, p *createAccountRequest) refusal {
	var server [32]byte
	if !copyExact(server[:], p.server) && since(st, levelStatements) {
		return refuse(schemas.Code_statementRequired)
	}
	key := AccountKey(p.identityKey)
	return checkStatement(st, key, identity.Register(server, key, p.username, uploadOf(p.record)), p.proof)
}

func applyCreateAccount(tx *Tx, r *request) Result {
	p := &r.createAccount
	key := AccountKey(p.identityKey)
	tx.putAccount(key, &accountRow{
		state: accountLive, username: p.username, created: tx.now(), record: clone(p.record),
	})
	u := usernameRow{owner: key}
	tx.set(tableUsernames, rowKey(tableUsernames, []byte(p.username)), u.encode())
	if since(tx, levelStatements) {
		tx.set(tableSkeletons, skeletonKey(p.username), nil)
	}
	if since(tx, levelRegistration) {
		tx.useAnswer(p)
		tx.chargeAdmission(p)
	}
	return tx.flagResult(true)
}

// checkLiveActor refuses accounts that are not there any more: a node may learn
// late that one was deleted.
func checkLiveActor(st state, r *request) refusal {
	if !st.account(r.actor.account).live() {
		return refuse(schemas.Code_tokenInvalid)
	}
	return refusal{}
}

// checkDeleteAccount refuses in this order: account, statement.
func checkDeleteAccount(st state, r *request) refusal {
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	p := &r.deleteAccount
	return checkStatement(st, r.actor.account, identity.DeleteAccount(r.actor.account, p.signed), p.signature)
}

// applyDeleteAccount removes the account and all that is its own.
func applyDeleteAccount(tx *Tx, r *request) Result {
	key := r.actor.account
	row := *tx.account(key)
	closeSessions(tx, key, func([]byte, *sessionRow) bool { return true })
	for i := range row.devices {
		removeDevice(tx, key, row.devices[i].id)
	}
	removeDevice(tx, key, DeviceID{})
	for _, remove := range accountRemovers {
		remove(tx, key)
	}
	tx.putAccount(key, &accountRow{state: accountDeleted})
	if p := &r.deleteAccount; since(tx, levelStatements) {
		keepLastStatement(tx, key, &statementRow{p.signed, tx.now(), p.signature})
	}
	u := usernameRow{held: tx.now() + tx.setting(usernameHoldSecs)*1000}
	tx.set(tableUsernames, rowKey(tableUsernames, []byte(row.username)), u.encode())
	tx.setTimer(timerUsername, []byte(row.username), u.held)
	return tx.flagResult(true)
}

// accountRemovers remove what other topics keep for an account, after its
// devices have gone.
var accountRemovers = [...]func(*Tx, AccountKey){leaveChannels, removeContacts}

// releaseUsername forgets a name that was held for long enough.
func releaseUsername(tx *Tx, name []byte) {
	if u := username(tx, string(name)); u.owner == (AccountKey{}) && u.held != 0 && !u.taken(tx.now()) {
		tx.delete(tableUsernames, rowKey(tableUsernames, name))
		if since(tx, levelStatements) {
			tx.delete(tableSkeletons, skeletonKey(string(name)))
		}
	}
}

// checkReplaceRecord refuses in this order: account, record, handshake, proof of
// the present password, statement.
func checkReplaceRecord(st state, r *request) refusal {
	p := &r.replaceRecord
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	if len(p.record) == 0 || len(p.record) > schemas.MaxAccountRecord {
		return refusal{schemas.Code_opaqueFinishFailed, schemas.MaxAccountRecord}
	}
	if no := checkHandshake(st, p.handshakeID, p.handshakeExpires); no.refused() {
		return no
	}
	if no := checkRecord(st.account(r.actor.account), p.recordDigest); no.refused() {
		return no
	}
	said := identity.ChangePassword(r.actor.account, [32]byte(p.recordDigest), uploadOf(p.record))
	return checkStatement(st, r.actor.account, said, p.signature)
}

// checkRecord refuses a login whose password was proved against another record
// than the account's present one.
func checkRecord(a *accountRow, digest []byte) refusal {
	have := sha256.Sum256(a.record)
	if subtle.ConstantTimeCompare(have[:], digest) != 1 {
		return refuse(schemas.Code_opaqueFinishFailed)
	}
	return refusal{}
}

func applyReplaceRecord(tx *Tx, r *request) Result {
	p := &r.replaceRecord
	key := r.actor.account
	useHandshake(tx, p.handshakeID, p.handshakeExpires)
	row := *tx.account(key)
	row.record = clone(p.record)
	tx.putAccount(key, &row)
	closed := closeSessions(tx, key, func(hash []byte, _ *sessionRow) bool {
		return subtle.ConstantTimeCompare(hash, p.keepTokenHash) != 1
	})
	return tx.numberResult(closed)
}
