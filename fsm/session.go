package fsm

import (
	"quicproquo/schemas"
)

// The sessions of accounts. The store knows tokens by their hash only.

// sessionRow is a session under the SHA-256 of its token.
type sessionRow struct {
	account AccountKey
	device  DeviceID // zero: the account's own
	created uint64   // log time, as the next two
	renewed uint64
	expires uint64
}

func (s *sessionRow) encode() []byte {
	row := append(clone(s.account[:]), s.device[:]...)
	row = le.AppendUint64(row, s.created)
	row = le.AppendUint64(row, s.renewed)
	return le.AppendUint64(row, s.expires)
}

func (s *sessionRow) decode(row []byte) error {
	f := fields{rest: row}
	f.exact(s.account[:])
	f.exact(s.device[:])
	s.created, s.renewed, s.expires = f.u64(), f.u64(), f.u64()
	return f.done("session")
}

func session(st state, hash []byte) (s sessionRow, ok bool) {
	row, ok := st.row(tableSessions, rowKey(tableSessions, hash))
	if ok {
		if err := s.decode(row); err != nil {
			st.fail(err)
		}
	}
	return s, ok
}

func (tx *Tx) putSession(hash []byte, s *sessionRow) {
	tx.set(tableSessions, rowKey(tableSessions, hash), s.encode())
}

func (tx *Tx) deleteSession(hash []byte, s *sessionRow) {
	tx.delete(tableSessions, rowKey(tableSessions, hash))
	tx.delete(tableSessionsOf, rowKey(tableSessionsOf, s.account[:], hash))
}

// sessionsOf returns the token hashes of an account's sessions.
func sessionsOf(st state, key AccountKey) (hashes [][]byte) {
	prefix := rowKey(tableSessionsOf, key[:])
	st.each(tableSessionsOf, prefix, func(key, _ []byte) bool {
		hashes = append(hashes, clone(key[len(prefix):]))
		return true
	})
	return hashes
}

// closeSessions ends those sessions of an account that which picks.
func closeSessions(tx *Tx, key AccountKey, which func(hash []byte, s *sessionRow) bool) (closed uint64) {
	for _, hash := range sessionsOf(tx, key) {
		if s, ok := session(tx, hash); ok && which(hash, &s) {
			tx.deleteSession(hash, &s)
			closed++
		}
	}
	if closed > 0 {
		tx.touchAccount(key)
	}
	return closed
}

func openSessionKey(r *request) []byte { return clone(r.openSession.identityKey) }

// checkOpenSession refuses in this order: lengths, handshake, account, identity,
// proof of the password, device.
func checkOpenSession(st state, r *request) refusal {
	p := &r.openSession
	switch {
	case len(p.tokenHash) != schemas.TokenHashSize || !p.name.ok:
		return refuse(schemas.Code_tokenInvalid)
	case len(p.identityKey) == 0:
		return refuse(schemas.Code_identityRequired)
	case len(p.identityKey) != schemas.AccountKeySize,
		len(p.deviceID) != 0 && len(p.deviceID) != schemas.DeviceIDSize:
		return refuse(schemas.Code_keyLength)
	}
	if no := checkHandshake(st, p.handshakeID, p.handshakeExpires); no.refused() {
		return no
	}
	owner := username(st, p.username).owner
	a := st.account(owner)
	if !a.live() {
		return refuse(schemas.Code_opaqueFinishFailed)
	}
	if no := checkRecord(a, p.recordDigest); no.refused() {
		return no
	}
	if owner != AccountKey(p.identityKey) {
		return refuse(schemas.Code_identityMismatch)
	}
	if len(p.deviceID) != 0 && a.device(DeviceID(p.deviceID)) == nil {
		return refuse(schemas.Code_deviceNotFound)
	}
	return refusal{}
}

// applyOpenSession answers when the session expires.
func applyOpenSession(tx *Tx, r *request) Result {
	p := &r.openSession
	useHandshake(tx, p.handshakeID, p.handshakeExpires)
	tx.delete(tableLogins, rowKey(tableLogins, p.name.hash[:]))
	forgetAttempts(tx, p)
	s := sessionRow{account: AccountKey(p.identityKey), created: tx.now(), renewed: tx.now()}
	copy(s.device[:], p.deviceID)
	s.expires = tx.now() + tx.setting(sessionTTLSecs)*1000
	makeRoom(tx, s.account)
	tx.putSession(p.tokenHash, &s)
	tx.set(tableSessionsOf, rowKey(tableSessionsOf, s.account[:], p.tokenHash), nil)
	tx.setTimer(timerSession, p.tokenHash, s.expires)
	return tx.numberResult(s.expires)
}

// makeRoom ends the session of an account that was not renewed for the longest
// time, if there is no room for one more.
func makeRoom(tx *Tx, key AccountKey) {
	hashes := sessionsOf(tx, key)
	for uint64(len(hashes)) >= tx.setting(sessionMax) {
		oldest, at := 0, uint64(0)
		for i, hash := range hashes {
			if s, _ := session(tx, hash); i == 0 || s.renewed < at {
				oldest, at = i, s.renewed
			}
		}
		s, _ := session(tx, hashes[oldest])
		tx.deleteSession(hashes[oldest], &s)
		tx.touchAccount(key)
		hashes = append(hashes[:oldest], hashes[oldest+1:]...)
	}
}

func checkRenewSessions(_ state, r *request) refusal {
	if len(r.renewSessions) > schemas.MaxRenewals {
		return refusal{schemas.Code_listTooLong, schemas.MaxRenewals}
	}
	return refusal{}
}

// applyRenewSessions moves the expiry of sessions that are still there.
func applyRenewSessions(tx *Tx, r *request) Result {
	renewed := uint64(0)
	for _, hash := range r.renewSessions {
		s, ok := session(tx, hash)
		if !ok || s.expires <= tx.now() {
			continue
		}
		s.renewed, s.expires = tx.now(), tx.now()+tx.setting(sessionTTLSecs)*1000
		tx.putSession(hash, &s)
		renewed++
	}
	return tx.numberResult(renewed)
}

// endSession is the timer of sessions.
func endSession(tx *Tx, hash []byte) {
	s, ok := session(tx, hash)
	switch {
	case !ok:
	case s.expires > tx.now():
		tx.setTimer(timerSession, hash, s.expires)
	default:
		tx.deleteSession(hash, &s)
		tx.touchAccount(s.account)
	}
}

func checkCloseSessions(st state, r *request) refusal { return checkLiveActor(st, r) }

// applyCloseSessions ends one session of the actor's account, or all.
func applyCloseSessions(tx *Tx, r *request) Result {
	p := &r.closeSessions
	return tx.numberResult(closeSessions(tx, r.actor.account, func(hash []byte, _ *sessionRow) bool {
		return len(p.tokenHash) == 0 || string(hash) == string(p.tokenHash)
	}))
}
