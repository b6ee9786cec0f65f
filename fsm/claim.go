package fsm

import (
	"encoding/binary"

	"quicproquo/schemas"
)

// Handing out key packages. An account that asks for another's packages does so at
// a bounded rate, so that nobody can use a stranger's packages up.

// claimed is a package that was handed out, or none.
type claimed struct {
	device     DeviceID
	data       []byte
	lastResort bool
}

// claimsDue is when a requester may claim from an account again: the end of what
// its claims so far have used up, log time. It is no row while all is free.
func claimsDue(st state, requester, account AccountKey) uint64 {
	row, ok := st.row(tableClaims, rowKey(tableClaims, requester[:], account[:]))
	if !ok {
		return 0
	}
	due, err := decodeNumber(row)
	if err != nil {
		st.fail(err)
	}
	return due
}

// checkClaimKeyPackages refuses in this order: account, identity, device, rate.
func checkClaimKeyPackages(st state, r *request) refusal {
	p := &r.claimKeyPackages
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	switch {
	case len(p.identityKey) == 0:
		return refuse(schemas.Code_identityRequired)
	case len(p.identityKey) != schemas.AccountKeySize,
		len(p.deviceID) != 0 && len(p.deviceID) != schemas.DeviceIDSize:
		return refuse(schemas.Code_keyLength)
	}
	key := AccountKey(p.identityKey)
	a := st.account(key)
	switch {
	case !a.live():
		return refuse(schemas.Code_accountNotFound)
	case len(p.deviceID) != 0 && DeviceID(p.deviceID) != DeviceID{} && a.device(DeviceID(p.deviceID)) == nil:
		return refuse(schemas.Code_deviceNotFound)
	case key == r.actor.account:
		return refusal{}
	}
	interval := st.setting(keyClaimSecs) * 1000
	free := (st.setting(keyClaimBurst) - 1) * interval
	if due := claimsDue(st, r.actor.account, key); due > st.now()+free {
		return refusal{schemas.Code_rateLimited, due - free - st.now()}
	}
	return refusal{}
}

// applyClaimKeyPackages answers FetchKeyPackagesResults: the oldest package of
// each device that is asked for, or of all of them together with oldestOnly. Who
// gets nothing is charged nothing.
func applyClaimKeyPackages(tx *Tx, r *request) Result {
	p := &r.claimKeyPackages
	key := AccountKey(p.identityKey)
	devices := claimDevices(tx.account(key), p)
	if p.oldestOnly {
		devices = tx.oldestPool(key, devices)
	}
	by, spent := claimBudget(tx, key, r.actor.account)
	list, found, taken := make([]claimed, len(devices)), false, false
	for i, id := range devices {
		list[i] = tx.claim(key, id, spent)
		found = found || list[i].data != nil
		taken = taken || list[i].data != nil && !list[i].lastResort
	}
	if taken {
		tx.chargeBudget(by, key)
	}
	switch {
	case found && key != r.actor.account:
		tx.chargeClaim(r.actor.account, key)
	case !found && p.oldestOnly:
		return Result{Code: schemas.Code_keyPackageNone}
	}
	return tx.claimedResult(list)
}

func (tx *Tx) chargeClaim(requester, account AccountKey) {
	due := max(claimsDue(tx, requester, account), tx.now()) + tx.setting(keyClaimSecs)*1000
	tx.setClaimsDue(requester, account, due)
}

func (tx *Tx) setClaimsDue(requester, account AccountKey, due uint64) {
	id := append(clone(requester[:]), account[:]...)
	tx.set(tableClaims, rowKey(tableClaims, id), le.AppendUint64(nil, due))
	tx.setTimer(timerClaim, id, due)
}

// budget is what a kind of claimants together may take of an account: the row under
// which it is counted, and how many claims that are. None has no row.
type budget struct {
	row   AccountKey
	burst settingID
}

// claimBudget returns the budget that a claimant takes from, and whether it is used up:
// then there is the last-resort package only. Strangers have one together, so that no
// number of accounts empties a pool, and contacts another (docs/decisions/0132). Who is
// blocked has none.
func claimBudget(st state, owner, by AccountKey) (b budget, spent bool) {
	if !since(st, levelShares) || owner == by {
		return b, false
	}
	b = budget{row: AccountKey{}, burst: keyStrangersBurst}
	switch said := standingOf(st, owner, by); {
	case said == blocked:
		return budget{}, true
	case said == contact || answered(st, owner, by):
		b = budget{row: AccountKey{1}, burst: keyContactsBurst}
	}
	due := claimsDue(st, b.row, owner)
	return b, due > st.now()+(max(st.setting(b.burst), 1)-1)*st.setting(keyTakenSecs)*1000
}

// chargeBudget counts a claim that has taken something. An account's identity key is no
// such number, so the rows are not those of a pair.
func (tx *Tx) chargeBudget(b budget, owner AccountKey) {
	if b == (budget{}) {
		return
	}
	due := max(claimsDue(tx, b.row, owner), tx.now()) + tx.setting(keyTakenSecs)*1000
	tx.setClaimsDue(b.row, owner, due)
}

// claimDevices are the devices that are asked for; zero is the account's own pool,
// which answers while it has no devices.
func claimDevices(a *accountRow, p *claimKeyPackagesRequest) []DeviceID {
	switch {
	case len(p.deviceID) != 0:
		return []DeviceID{DeviceID(p.deviceID)}
	case len(a.devices) == 0:
		return []DeviceID{{}}
	}
	devices := make([]DeviceID, len(a.devices))
	for i := range a.devices {
		devices[i] = a.devices[i].id
	}
	return devices
}

// oldestPool is the device whose first package is the oldest; while none has one,
// the first that has a last-resort one.
func (tx *Tx) oldestPool(key AccountKey, devices []DeviceID) []DeviceID {
	var oldest []DeviceID
	var lowest uint64
	for _, id := range devices {
		number, _ := tx.firstPackage(key, id)
		if number != 0 && (lowest == 0 || number < lowest) {
			oldest, lowest = []DeviceID{id}, number
		}
	}
	if lowest != 0 {
		return oldest
	}
	for _, id := range devices {
		if p := pool(tx, key, id); p.lastResort != nil && p.lastExpiry > tx.now() {
			return []DeviceID{id}
		}
	}
	return nil
}

// firstPackage reads the oldest package that is good still; number 0 is none.
func (tx *Tx) firstPackage(key AccountKey, id DeviceID) (number uint64, data []byte) {
	tx.each(tablePackages, rowKey(tablePackages, key[:], id[:]), func(key, value []byte) bool {
		if le.Uint64(value) <= tx.now() {
			return true // its timer comes soon
		}
		number, data = binary.BigEndian.Uint64(key[len(key)-8:]), clone(value[8:])
		return false
	})
	return number, data
}

// claim takes a device's oldest package out of its pool, unless only the last-resort one
// may be given.
func (tx *Tx) claim(key AccountKey, id DeviceID, lastOnly bool) claimed {
	p := pool(tx, key, id)
	if !lastOnly {
		if number, data := tx.firstPackage(key, id); number != 0 {
			tx.dropPackage(key, id, number, &p)
			tx.putPool(key, id, &p)
			return claimed{device: id, data: data}
		}
	}
	if p.lastResort != nil && p.lastExpiry > tx.now() {
		return claimed{device: id, data: p.lastResort, lastResort: true}
	}
	return claimed{device: id}
}

func (tx *Tx) claimedResult(list []claimed) Result {
	msg, seg := schemas.NewMessage()
	results, err := schemas.NewRootFetchKeyPackagesResults(seg)
	if err == nil {
		err = fillClaimed(results, list)
	}
	return tx.messageResult(msg, err)
}

func fillClaimed(results schemas.FetchKeyPackagesResults, list []claimed) error {
	to, err := results.NewPackages(int32(len(list)))
	if err != nil {
		return err
	}
	for i := range list {
		one := to.At(i)
		if list[i].data == nil {
			one.SetCode(schemas.Code_keyPackageNone)
		}
		one.SetLastResort(list[i].lastResort)
		if err := one.SetPackage(list[i].data); err != nil {
			return err
		}
		if list[i].device == (DeviceID{}) {
			continue
		}
		if err := one.SetDeviceId(list[i].device[:]); err != nil {
			return err
		}
	}
	return nil
}

// endClaims is the timer of claims: what they used up is free again.
func endClaims(tx *Tx, id []byte) {
	row, ok := tx.row(tableClaims, rowKey(tableClaims, id))
	if !ok {
		return
	}
	due, err := decodeNumber(row)
	if err != nil {
		tx.fail(err)
	}
	if due <= tx.now() {
		tx.delete(tableClaims, rowKey(tableClaims, id))
	}
}
