package fsm

import (
	"crypto/sha256"
	"crypto/subtle"
	"math"

	"quicproquo/schemas"
)

// The group topic: a record for each MLS group, so that exactly one commit ends an
// epoch. Who shows what hashes to the record's verifier is a member of that epoch;
// who it is the store does not learn (docs/decisions/0063).

// groupRow is a group's record. Its group info lies apart, under the same id.
type groupRow struct {
	epoch    uint64
	verifier [sha256.Size]byte
	changed  uint64 // log time; never 0
	charge   groupCharge
}

func (g *groupRow) exists() bool { return g.changed != 0 }

func (g *groupRow) encode() []byte {
	return g.charge.append(le.AppendUint64(append(le.AppendUint64(nil, g.epoch), g.verifier[:]...), g.changed))
}

func (g *groupRow) decode(row []byte) error {
	f := fields{rest: row}
	g.epoch = f.u64()
	f.exact(g.verifier[:])
	g.changed = f.u64()
	g.charge.read(&f)
	return f.done("group")
}

func group(st state, id []byte) (g groupRow) {
	if row, ok := st.row(tableGroups, rowKey(tableGroups, id)); ok {
		if err := g.decode(row); err != nil {
			st.fail(err)
		}
	}
	return g
}

type publishCommitRequest struct {
	groupID, proof, nextVerifier, groupInfo []byte
	epoch                                   uint64
	version                                 uint16
	ttlSecs                                 uint32
	deliveries                              []deliveryRequest
	named, recipients                       int // deliveries and recipients that the call names
}

type deliveryRequest struct {
	payload    []byte
	recipients []recipientRequest
}

func publishCommitKey(r *request) []byte { return clone(r.publishCommit.groupID) }

// checkPublishCommit refuses in this order: account, version, group id, lengths,
// deliveries, epoch, proof, rate of new records, quota, number of queues. So who lost an
// epoch learns that first.
func checkPublishCommit(st state, r *request) refusal {
	p := &r.publishCommit
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	switch {
	case p.version != schemas.WireVersion:
		return refusal{schemas.Code_wireVersionUnsupported, schemas.WireVersion}
	case len(p.groupID) < schemas.MinGroupID || len(p.groupID) > schemas.MaxGroupID:
		return refusal{schemas.Code_groupIdLength, uint64(len(p.groupID))}
	case len(p.nextVerifier) != sha256.Size, len(p.proof) != 0 && len(p.proof) != sha256.Size:
		return refuse(schemas.Code_keyLength)
	case len(p.groupInfo) > schemas.MaxGroupInfo:
		return refusal{schemas.Code_payloadTooLarge, schemas.MaxGroupInfo}
	case p.named > schemas.MaxDeliveries:
		return refusal{schemas.Code_listTooLong, schemas.MaxDeliveries}
	case p.recipients > schemas.MaxRecipients:
		return refusal{schemas.Code_tooManyRecipients, schemas.MaxRecipients}
	}
	queues := 0
	for i := range p.deliveries {
		if no := checkDelivery(st, r, &p.deliveries[i]); no.refused() {
			return no
		}
		queues += fanOut(st, p.deliveries[i].recipients)
	}
	if no := checkEpoch(st, p); no.refused() {
		return no
	}
	if no := checkFounding(st, r); no.refused() {
		return no
	}
	if no := checkGroupQuota(st, r); no.refused() {
		return no
	}
	if queues > maxFanOut {
		return refusal{schemas.Code_tooManyRecipients, maxFanOut}
	}
	return refusal{}
}

func checkDelivery(st state, r *request, d *deliveryRequest) refusal {
	if len(d.recipients) == 0 {
		return refuse(schemas.Code_recipientsEmpty)
	}
	for i := range d.recipients {
		to := &d.recipients[i]
		if no := checkAddress(schemas.WireVersion, &to.address); no.refused() {
			return no
		}
		if no := checkSend(st, &r.actor, &to.queue); no.refused() {
			return no
		}
		if len(to.header) > schemas.MaxHeader {
			return refusal{schemas.Code_payloadTooLarge, schemas.MaxHeader}
		}
	}
	if namesTwice(st, d.recipients) {
		return refuse(schemas.Code_duplicateRecipient)
	}
	return checkBody(st, d.payload, r.publishCommit.ttlSecs, false)
}

// checkEpoch is the compare of the compare-and-swap.
func checkEpoch(st state, p *publishCommitRequest) refusal {
	g := group(st, p.groupID)
	switch {
	case !g.exists() && len(p.proof) != 0:
		return refuse(schemas.Code_groupNotFound)
	case !g.exists():
		return refusal{}
	}
	proved := g.proves(p.proof)
	// After a restore from a backup the record is of an epoch that its members have left:
	// it has forgotten those in between. Whoever has the record's proof could have ended
	// its epoch with whatever verifier he likes, so this gives nobody more; where nothing
	// was forgotten, nobody is in a later epoch.
	overForgotten := p.epoch > g.epoch && proved && since(st, levelOverForgotten)
	switch {
	case p.epoch != g.epoch && !overForgotten, p.epoch == math.MaxUint64: // there is no epoch after the last one
		return refusal{schemas.Code_epochConflict, g.epoch}
	case !proved:
		return refusal{schemas.Code_groupProofInvalid, g.epoch}
	}
	return refusal{}
}

// proves reports whether a proof is the one of the record's epoch.
func (g *groupRow) proves(proof []byte) bool {
	shown := sha256.Sum256(proof)
	return len(proof) != 0 && subtle.ConstantTimeCompare(shown[:], g.verifier[:]) == 1
}

// checkFounding bounds how often an account makes a new record: each may keep a
// group info for months.
func checkFounding(st state, r *request) refusal {
	if g := group(st, r.publishCommit.groupID); g.exists() {
		return refusal{}
	}
	free := st.now() + (st.setting(groupFoundBurst)-1)*st.setting(groupFoundSecs)*1000
	if due := claimsDue(st, r.actor.account, AccountKey{}); due > free {
		return refusal{schemas.Code_rateLimited, due - free}
	}
	return refusal{}
}

// chargeFounding counts a new record. Nobody's key is the zero key, so the row is
// not that of a claim.
func (tx *Tx) chargeFounding(founder AccountKey) {
	due := max(claimsDue(tx, founder, AccountKey{}), tx.now()) + tx.setting(groupFoundSecs)*1000
	tx.setClaimsDue(founder, AccountKey{}, due)
}

// applyPublishCommit is the swap, and the deliveries of the commit that won.
func applyPublishCommit(tx *Tx, r *request) Result {
	p := &r.publishCommit
	g := group(tx, p.groupID)
	isNew := !g.exists()
	if g.epoch = p.epoch; isNew {
		tx.chargeFounding(r.actor.account)
	} else {
		g.epoch++
	}
	tx.chargeGroup(&g, isNew, r)
	g.verifier, g.changed = [sha256.Size]byte(p.nextVerifier), max(tx.now(), 1)
	tx.set(tableGroups, rowKey(tableGroups, p.groupID), g.encode())
	if infoKey := rowKey(tableGroupInfos, p.groupID); len(p.groupInfo) > 0 {
		tx.set(tableGroupInfos, infoKey, p.groupInfo)
	} else {
		tx.delete(tableGroupInfos, infoKey)
	}
	tx.setTimer(timerGroup, p.groupID, g.changed+tx.setting(groupIdleSecs)*1000)
	var outcomes []outcome
	for i := range p.deliveries {
		outcomes = append(outcomes, p.deliveries[i].deliver(tx, r)...)
	}
	return tx.commitResult(g.epoch, outcomes)
}

// deliver puts one delivery into its queues. Whoever has no room, or is not there
// any more, does not stop the commit: the others could not go on either.
func (d *deliveryRequest) deliver(tx *Tx, r *request) []outcome {
	outcomes := make([]outcome, len(d.recipients))
	seqs := make([]uint64, len(d.recipients))
	list, taken := tx.targets[:0], uint64(0)
	to := delivery{by: &r.actor, size: uint64(len(d.payload)), handshake: true}
	for i := range d.recipients {
		from := len(list)
		list, outcomes[i].code = findTargets(tx, list, &r.actor, &d.recipients[i], i)
		tx.use(d.recipients[i].queue.Channel, &r.actor)
		n, no := settleRoom(tx, list[from:], &to)
		if no.refused() {
			outcomes[i].code = no.code
		}
		taken += n
	}
	tx.targets = list[:0]
	e := newEnvelope(tx, d.payload, r.publishCommit.ttlSecs, false)
	deliver(tx, list, &e, &to, taken, seqs)
	for i := range outcomes {
		outcomes[i].seq = seqs[i]
	}
	return outcomes
}

func (tx *Tx) commitResult(epoch uint64, outcomes []outcome) Result {
	msg, seg := schemas.NewMessage()
	results, err := schemas.NewRootPublishCommitResults(seg)
	if err == nil {
		results.SetEpoch(epoch)
		err = fillOutcomes(results.NewOutcomes, outcomes)
	}
	return tx.messageResult(msg, err)
}

// endGroup is the timer of groups: the record goes when nobody changed it for
// long.
func endGroup(tx *Tx, id []byte) {
	g := group(tx, id)
	end := g.changed + tx.setting(groupIdleSecs)*1000
	switch {
	case !g.exists():
	case end > tx.now():
		tx.setTimer(timerGroup, id, end)
	default:
		tx.releaseGroup(&g)
		tx.delete(tableGroups, rowKey(tableGroups, id))
		tx.delete(tableGroupInfos, rowKey(tableGroupInfos, id))
	}
}
