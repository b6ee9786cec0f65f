package fsm

import (
	"crypto/sha256"

	"quicproquo/schemas"
)

// Who may register (docs/decisions/0136). The setting registration opens the cluster to
// all, to who has an invite, or to nobody; what the whole cluster takes in without
// invites has a budget in the log, whatever node is asked and from where. An invite's
// token is known to the log by its hash only. A registration answers the one response
// that the cluster has given for its name, once, and brings an upload of its own.

// The values of the setting registration.
const (
	registrationOpen uint64 = iota
	registrationInvited
	registrationClosed
)

// inviteRow is an invite under the hash of its token.
type inviteRow struct {
	uses    uint32
	expires uint64     // log time
	issuer  AccountKey // zero: an operator
}

func (i *inviteRow) encode() []byte {
	row := le.AppendUint64(le.AppendUint32(nil, i.uses), i.expires)
	return append(row, i.issuer[:]...)
}

func (i *inviteRow) decode(row []byte) error {
	f := fields{rest: row}
	i.uses, i.expires = f.u32(), f.u64()
	f.exact(i.issuer[:])
	return f.done("invite")
}

// invite reads an invite; one that is not there has the zero row.
func invite(st state, hash []byte) (i inviteRow) {
	if row, ok := st.row(tableInvites, rowKey(tableInvites, hash)); ok {
		if err := i.decode(row); err != nil {
			st.fail(err)
		}
	}
	return i
}

// good reports whether an invite lets somebody in: it has uses and time left, and its
// issuer's account, if it is an account's, is still there.
func (i *inviteRow) good(st state) bool {
	return i.uses > 0 && i.expires > st.now() && (i.issuer == AccountKey{} || st.account(i.issuer).live())
}

// checkAdmission refuses who may not register now: before it is told anything about names.
func checkAdmission(st state, p *createAccountRequest) refusal {
	mode := st.setting(registration)
	switch {
	case !since(st, levelRegistration):
		return refusal{}
	case mode == registrationClosed:
		return refuse(schemas.Code_registrationClosed)
	case len(p.inviteHash) == 0 && mode == registrationInvited:
		return refuse(schemas.Code_inviteRequired)
	case len(p.inviteHash) == 0:
		return checkRegistrationBudget(st)
	}
	if i := invite(st, p.inviteHash); len(p.inviteHash) != schemas.InviteHashSize || !i.good(st) {
		return refuse(schemas.Code_inviteInvalid)
	}
	return refusal{}
}

// registrationBudget is the key of the row, among those of claims, that counts the
// cluster's registrations without invites. Rows of claims have two account keys.
const registrationBudget = "registration"

// registrationMs is how long it takes until one more registration is free.
func registrationMs(st state) uint64 {
	return max(60*60*1000/max(st.setting(registrationHourly), 1), 1)
}

func registrationsDue(st state) uint64 {
	row, ok := st.row(tableClaims, rowKey(tableClaims, []byte(registrationBudget)))
	if !ok {
		return 0
	}
	due, err := decodeNumber(row)
	if err != nil {
		st.fail(err)
	}
	return due
}

// checkRegistrationBudget refuses with the milliseconds until one more is free.
func checkRegistrationBudget(st state) refusal {
	free := st.now() + (max(st.setting(registrationBurst), 1)-1)*registrationMs(st)
	if due := registrationsDue(st); due > free {
		return refusal{schemas.Code_rateLimited, due - free}
	}
	return refusal{}
}

// chargeAdmission takes a use of the invite, or one from the cluster's budget.
func (tx *Tx) chargeAdmission(p *createAccountRequest) {
	if len(p.inviteHash) == 0 {
		due := max(registrationsDue(tx), tx.now()) + registrationMs(tx)
		tx.set(tableClaims, rowKey(tableClaims, []byte(registrationBudget)), le.AppendUint64(nil, due))
		tx.setTimer(timerClaim, []byte(registrationBudget), due)
		return
	}
	key, i := rowKey(tableInvites, p.inviteHash), invite(tx, p.inviteHash)
	if i.uses--; i.uses == 0 {
		tx.delete(tableInvites, key)
		return
	}
	tx.set(tableInvites, key, i.encode())
}

// uploadHeldMs is for how long the same upload is no other account's: a day. Honest
// clients draw each anew, and whoever takes one twice tries to be many for the price of one.
const uploadHeldMs = 24 * 60 * 60 * 1000

// uploadKey is under which an upload is remembered, among used handshakes. Their ids are
// shorter.
func uploadKey(record []byte) []byte {
	digest := sha256.Sum256(uploadOf(record))
	return digest[:]
}

// checkAnswers refuses a registration that answers no response of the cluster's, or one
// that was answered before, or that brings another registration's upload.
func checkAnswers(st state, p *createAccountRequest) refusal {
	if !since(st, levelRegistration) {
		return refusal{}
	}
	if no := checkHandshake(st, p.handshakeID, p.handshakeExpires); no.refused() {
		return no
	}
	if _, used := st.row(tableHandshakes, rowKey(tableHandshakes, uploadKey(p.record))); used {
		return refuse(schemas.Code_noPendingLogin)
	}
	return refusal{}
}

// useAnswer remembers the handshake until it is over, and the upload for a day.
func (tx *Tx) useAnswer(p *createAccountRequest) {
	useHandshake(tx, p.handshakeID, p.handshakeExpires)
	useHandshake(tx, uploadKey(p.record), tx.now()+uploadHeldMs)
}

type createInviteRequest struct {
	hash          []byte
	uses, ttlSecs uint32
}

func (r *request) decodeCreateInvite(cmd schemas.Entry_command) error {
	msg, err := cmd.CreateInvite()
	if err != nil {
		return err
	}
	var g reading
	r.createInvite = createInviteRequest{g.bytes(msg.InviteHash()), msg.Uses(), msg.TtlSecs()}
	return g.err
}

// inviteDefaultSecs is how long an invite is good whose issuer asks for no time: a week.
const inviteDefaultSecs = 7 * day

// invitedKey is the row, among those of claims, that counts whom an account has invited.
// No account has this key: it is no point of small order, so nobody can know its secret.
func invitedKey() AccountKey { return AccountKey{2} }

// checkCreateInvite refuses in this order: account, hash, number of uses, time, whether
// members may invite, rate, hash in use.
func checkCreateInvite(st state, r *request) refusal {
	p, member := &r.createInvite, r.actor.kind == actorAccount
	if member {
		if no := checkLiveActor(st, r); no.refused() {
			return no
		}
	}
	switch {
	case len(p.hash) != schemas.InviteHashSize:
		return refuse(schemas.Code_keyLength)
	case p.uses > schemas.MaxInviteUses:
		return refusal{schemas.Code_inviteTerms, schemas.MaxInviteUses}
	case uint64(p.ttlSecs) > st.setting(inviteMaxSecs):
		return refusal{schemas.Code_inviteTerms, st.setting(inviteMaxSecs)}
	}
	have := invite(st, p.hash)
	if p.uses == 0 {
		return checkEndInvite(&have, r)
	}
	if member {
		if no := checkMemberInvites(st, r); no.refused() {
			return no
		}
	}
	if have.uses != 0 {
		return refuse(schemas.Code_inviteTerms)
	}
	return refusal{}
}

// checkEndInvite lets operators end every invite, members their own.
func checkEndInvite(have *inviteRow, r *request) refusal {
	if have.uses == 0 || r.actor.kind == actorAccount && have.issuer != r.actor.account {
		return refuse(schemas.Code_inviteInvalid)
	}
	return refusal{}
}

// checkMemberInvites bounds how many accounts a member lets in.
func checkMemberInvites(st state, r *request) refusal {
	daily, uses := st.setting(memberInvitesDaily), uint64(r.createInvite.uses)
	switch {
	case daily == 0:
		return refuse(schemas.Code_notPermitted)
	case uses > daily:
		return refusal{schemas.Code_inviteTerms, daily}
	}
	free := st.now() + (daily-uses)*inviteMs(daily)
	if due := claimsDue(st, r.actor.account, invitedKey()); due > free {
		return refusal{schemas.Code_rateLimited, due - free}
	}
	return refusal{}
}

// inviteMs is how long it takes until a member may invite one more.
func inviteMs(daily uint64) uint64 { return day * 1000 / daily }

func applyCreateInvite(tx *Tx, r *request) Result {
	p := &r.createInvite
	key := rowKey(tableInvites, p.hash)
	if p.uses == 0 {
		tx.delete(tableInvites, key)
		return tx.numberResult(tx.now())
	}
	ttl := uint64(p.ttlSecs)
	if ttl == 0 {
		ttl = min(inviteDefaultSecs, tx.setting(inviteMaxSecs))
	}
	i := inviteRow{uses: p.uses, expires: tx.now() + ttl*1000}
	if r.actor.kind == actorAccount {
		i.issuer = r.actor.account
		due := max(claimsDue(tx, i.issuer, invitedKey()), tx.now()) + uint64(p.uses)*inviteMs(tx.setting(memberInvitesDaily))
		tx.setClaimsDue(i.issuer, invitedKey(), due)
	}
	tx.set(tableInvites, key, i.encode())
	tx.setTimer(timerInvite, p.hash, i.expires)
	return tx.numberResult(i.expires)
}

// endInvite is the timer of invites.
func endInvite(tx *Tx, hash []byte) {
	switch i := invite(tx, hash); {
	case i.uses == 0:
	case i.expires > tx.now():
		tx.setTimer(timerInvite, hash, i.expires)
	default:
		tx.delete(tableInvites, rowKey(tableInvites, hash))
	}
}

// AdmitsAnybody reports whether anybody may register, with an invite or without.
func (v *View) AdmitsAnybody() (bool, error) {
	v.err = nil
	closed := v.setting(registration) == registrationClosed && since(v, levelRegistration)
	return !closed, v.readError("setting")
}

// RegistrationsAreBound reports whether a registration needs the handshake of the response
// that it answers.
func (v *View) RegistrationsAreBound() (bool, error) {
	v.err = nil
	bound := since(v, levelRegistration)
	return bound, v.readError("setting")
}
