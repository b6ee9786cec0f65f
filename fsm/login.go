package fsm

import (
	"quicproquo/schemas"
)

// Logins: each handshake opens one session at most, and a name that fails too
// often has to wait. Failing is not finishing: an attempt counts when it begins.

// maxHandshakeMs is how far ahead of log time a handshake may expire: its
// lifetime, and what clocks may differ by.
const maxHandshakeMs = 10 * 60 * 1000

// checkHandshake refuses a handshake that was used or is over. A used one is
// remembered until it is over.
func checkHandshake(st state, id []byte, expires uint64) refusal {
	if len(id) != schemas.HandshakeIDSize || expires <= st.now() || expires > st.now()+maxHandshakeMs {
		return refuse(schemas.Code_noPendingLogin)
	}
	if _, used := st.row(tableHandshakes, rowKey(tableHandshakes, id)); used {
		return refuse(schemas.Code_noPendingLogin)
	}
	return refusal{}
}

func useHandshake(tx *Tx, id []byte, expires uint64) {
	tx.set(tableHandshakes, rowKey(tableHandshakes, id), nil)
	tx.setTimer(timerHandshake, id, expires)
}

// forgetHandshake is the timer of used handshakes.
func forgetHandshake(tx *Tx, id []byte) {
	tx.delete(tableHandshakes, rowKey(tableHandshakes, id))
}

// nameHash stands for a name that somebody tries to log in with, which need not
// exist: a keyed hash, so that the store does not keep what strangers type.
type nameHash struct {
	hash [schemas.NameHashSize]byte
	ok   bool // it had the right length
}

func (n *nameHash) set(field []byte) { n.ok = copyExact(n.hash[:], field) }

// loginRow counts the attempts of a name since the hour of the first one began.
type loginRow struct {
	count uint64
	since uint64 // log time
	last  uint64 // log time of the latest attempt that was let through
}

func (l *loginRow) encode() []byte {
	return le.AppendUint64(le.AppendUint64(le.AppendUint64(nil, l.count), l.since), l.last)
}

func (l *loginRow) decode(row []byte) error {
	f := fields{rest: row}
	l.count, l.since, l.last = f.u64(), f.u64(), f.u64()
	return f.done("logins")
}

const (
	loginHourMs    = 60 * 60 * 1000
	firstDelayMs   = uint64(2_000)
	longestDelayMs = uint64(300_000)
)

func logins(st state, name []byte) (l loginRow) {
	if row, ok := st.row(tableLogins, rowKey(tableLogins, name)); ok {
		if err := l.decode(row); err != nil {
			st.fail(err)
		}
	}
	if l.since+loginHourMs <= st.now() {
		l = loginRow{since: st.now()}
	}
	return l
}

// delay is how long after the latest attempt the next one may come.
func (l *loginRow) delay(free uint64) uint64 {
	if l.count < free {
		return 0
	}
	return min(firstDelayMs<<min(l.count-free, 16), longestDelayMs)
}

func beginLoginKey(r *request) []byte { return clone(r.beginLogin.hash[:]) }

// attemptKey is under which the attempts of a start are counted: those of strangers under
// the name, those of a device that has signed its start under name and device
// (docs/decisions/0134).
func (p *beginLoginRequest) attemptKey(st state) []byte {
	if !since(st, levelShares) {
		return p.hash[:]
	}
	return attemptKey(p.hash[:], p.device)
}

func attemptKey(name, device []byte) []byte { return append(clone(name), device...) }

// checkBeginLogin refuses with the milliseconds that are left to wait. What is
// refused does not count, so the wait ends: nobody is locked out for ever.
func checkBeginLogin(st state, r *request) refusal {
	p := &r.beginLogin
	switch {
	case !p.ok:
		return refuse(schemas.Code_usernameInvalid)
	case len(p.device) != 0 && len(p.device) != schemas.DeviceIDSize && since(st, levelShares):
		return refuse(schemas.Code_keyLength)
	}
	l := logins(st, p.attemptKey(st))
	if free := l.last + l.delay(st.setting(loginFailuresMax)); free > st.now() {
		return refusal{schemas.Code_rateLimited, free - st.now()}
	}
	return refusal{}
}

func applyBeginLogin(tx *Tx, r *request) Result {
	name := r.beginLogin.attemptKey(tx)
	l := logins(tx, name)
	l.count++
	l.last = tx.now()
	tx.set(tableLogins, rowKey(tableLogins, name), l.encode())
	tx.setTimer(timerLogin, name, l.since+loginHourMs)
	return tx.numberResult(l.count)
}

// forgetAttempts clears the count of the device that has logged in.
func forgetAttempts(tx *Tx, p *openSessionRequest) {
	device := p.deviceID
	if len(device) == 0 {
		device = make([]byte, schemas.DeviceIDSize)
	}
	if key := rowKey(tableLogins, attemptKey(p.name.hash[:], device)); since(tx, levelShares) {
		if _, counted := tx.row(tableLogins, key); counted {
			tx.delete(tableLogins, key)
		}
	}
}

// forgetLogins is the timer of counts.
func forgetLogins(tx *Tx, name []byte) {
	if l := logins(tx, name); l.count == 0 {
		tx.delete(tableLogins, rowKey(tableLogins, name))
	}
}
