package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"quicproquo/schemas"
)

// The keys topic: key packages, each handed out once, oldest first, and a device's
// last-resort one when there is no other. That a package is well formed and signed
// the node has seen to; here it is bytes with an end.

// poolRow is what a device has besides the packages that wait.
type poolRow struct {
	count      uint32 // packages that wait; the last-resort one does not count
	lastExpiry uint64 // log time, of lastResort
	lastResort []byte
}

func (p *poolRow) encode() []byte {
	row := le.AppendUint64(le.AppendUint32(nil, p.count), p.lastExpiry)
	return appendField(row, p.lastResort)
}

func (p *poolRow) decode(row []byte) error {
	f := fields{rest: row}
	p.count, p.lastExpiry, p.lastResort = f.u32(), f.u64(), f.bytes()
	return f.done("pool")
}

func pool(st state, key AccountKey, id DeviceID) (p poolRow) {
	if row, ok := st.row(tablePools, rowKey(tablePools, key[:], id[:])); ok {
		if err := p.decode(row); err != nil {
			st.fail(err)
		}
	}
	return p
}

// putPool writes a pool; an empty one is no row.
func (tx *Tx) putPool(key AccountKey, id DeviceID, p *poolRow) {
	if p.count == 0 && len(p.lastResort) == 0 {
		tx.delete(tablePools, rowKey(tablePools, key[:], id[:]))
		return
	}
	tx.set(tablePools, rowKey(tablePools, key[:], id[:]), p.encode())
}

// A package's row begins with its expiry, 8 bytes; the package follows. Its number
// grows with the log, so numbers also order the packages of different devices.

// maxPackageLifeMs bounds how long the store remembers a package, used or not.
const maxPackageLifeMs = 400 * day * 1000

// hashRow remembers a package from its upload to its end, so that it is never
// taken again.
type hashRow struct {
	account AccountKey
	device  DeviceID
	number  uint64 // 0: a last-resort one
}

func (h *hashRow) encode() []byte {
	return le.AppendUint64(append(clone(h.account[:]), h.device[:]...), h.number)
}

func (h *hashRow) decode(row []byte) error {
	f := fields{rest: row}
	f.exact(h.account[:])
	f.exact(h.device[:])
	h.number = f.u64()
	return f.done("package hash")
}

func packageKey(key AccountKey, id DeviceID, number uint64) []byte {
	return binary.BigEndian.AppendUint64(rowKey(tablePackages, key[:], id[:]), number)
}

// mlsHeader is how an MLSMessage with a key package begins: version and wire
// format (RFC 9420 §6).
const mlsHeader = "\x00\x01\x00\x05"

// packageHash is the same for a package bare and as an MLSMessage, so that nobody
// brings one twice. A bare package of suite 5 begins like the header: so all that
// look like it go, in both.
func packageHash(data []byte) [sha256.Size]byte {
	for bytes.HasPrefix(data, []byte(mlsHeader)) {
		data = data[len(mlsHeader):]
	}
	return sha256.Sum256(data)
}

// checkUploadKeyPackages refuses in this order: account, identity, number of
// packages, each package's size and end, packages used before, signature key,
// room, rate.
func checkUploadKeyPackages(st state, r *request) refusal {
	p := &r.uploadKeyPackages
	if no := checkOwnKeys(st, r, p.identityKey); no.refused() {
		return no
	}
	switch {
	case p.named > schemas.MaxKeyPackages:
		return refusal{schemas.Code_listTooLong, schemas.MaxKeyPackages}
	case len(p.packages) == 0:
		return refuse(schemas.Code_payloadEmpty)
	}
	if no := checkPackages(st, p); no.refused() {
		return no
	}
	if !bytes.Equal(p.signatureKey, st.account(r.actor.account).principalKey(r.actor.account, r.actor.device)) {
		return refuse(schemas.Code_keyPackageInvalid)
	}
	limit := st.setting(keyPackagesMax)
	if have := pool(st, r.actor.account, r.actor.device).count; uint64(have)+uint64(p.named) > limit {
		return refusal{schemas.Code_keyPackageLimit, limit}
	}
	interval := st.setting(keyUploadSecs) * 1000
	free := st.now() + st.setting(keyUploadBurst)*interval
	if due := uploadsDue(st, r.actor.account, len(p.packages)); due > free {
		return refusal{schemas.Code_rateLimited, due - free}
	}
	return refusal{}
}

// uploadsDue is what claimsDue is of claims, of an account's uploads with n more: an
// account's claims of its own packages are not counted, so their row is free for it.
// Each package that was ever uploaded is a row until its lifetime ends: without this
// an account could fill the store with them.
func uploadsDue(st state, key AccountKey, n int) uint64 {
	return max(claimsDue(st, key, key), st.now()) + uint64(n)*st.setting(keyUploadSecs)*1000
}

// checkOwnKeys refuses uploads for an account that is not the actor's, and devices
// that were revoked.
func checkOwnKeys(st state, r *request, identityKey []byte) refusal {
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	switch {
	case len(identityKey) == 0:
		return refuse(schemas.Code_identityRequired)
	case len(identityKey) != schemas.AccountKeySize:
		return refuse(schemas.Code_keyLength)
	case AccountKey(identityKey) != r.actor.account:
		return refuse(schemas.Code_identityMismatch)
	case r.actor.device != DeviceID{} && st.account(r.actor.account).device(r.actor.device) == nil:
		return refuse(schemas.Code_deviceNotFound)
	}
	return refusal{}
}

func checkPackages(st state, p *uploadKeyPackagesRequest) refusal {
	seen := make(map[[sha256.Size]byte]struct{}, len(p.packages))
	for i := range p.packages {
		one := &p.packages[i]
		switch {
		case len(one.data) == 0:
			return refuse(schemas.Code_payloadEmpty)
		case len(one.data) > schemas.MaxKeyPackage:
			return refusal{schemas.Code_payloadTooLarge, schemas.MaxKeyPackage}
		case one.expires <= st.now():
			return refuse(schemas.Code_keyPackageInvalid)
		}
		hash := packageHash(one.data)
		_, twice := seen[hash]
		if _, used := st.row(tablePackageHashes, rowKey(tablePackageHashes, hash[:])); used || twice {
			return refusal{schemas.Code_keyPackageUsed, uint64(i)}
		}
		seen[hash] = struct{}{}
	}
	return refusal{}
}

// applyUploadKeyPackages answers how many packages wait then.
func applyUploadKeyPackages(tx *Tx, r *request) Result {
	p := &r.uploadKeyPackages
	key, id := r.actor.account, r.actor.device
	if due := uploadsDue(tx, key, len(p.packages)); due > tx.now() {
		tx.setClaimsDue(key, key, due)
	}
	have := pool(tx, key, id)
	for i := range p.packages {
		one := &p.packages[i]
		expires := min(one.expires, tx.now()+maxPackageLifeMs)
		h := hashRow{account: key, device: id}
		if one.lastResort {
			have.lastResort, have.lastExpiry = one.data, expires
		} else {
			// The number of the command is unique, and has room for its packages.
			h.number = tx.meta.commands<<8 + uint64(i)
			tx.set(tablePackages, packageKey(key, id, h.number), append(le.AppendUint64(nil, expires), one.data...))
			have.count++
		}
		hash := packageHash(one.data)
		tx.set(tablePackageHashes, rowKey(tablePackageHashes, hash[:]), h.encode())
		tx.setTimer(timerPackage, hash[:], expires)
	}
	tx.putPool(key, id, &have)
	return tx.numberResult(uint64(have.count))
}

// endPackage is the timer of packages: the hash goes, and the package if it waits
// still.
func endPackage(tx *Tx, hash []byte) {
	row, ok := tx.row(tablePackageHashes, rowKey(tablePackageHashes, hash))
	if !ok {
		return
	}
	var h hashRow
	if err := h.decode(row); err != nil {
		tx.fail(err)
	}
	tx.delete(tablePackageHashes, rowKey(tablePackageHashes, hash))
	p := pool(tx, h.account, h.device)
	if h.number == 0 {
		if last := packageHash(p.lastResort); bytes.Equal(last[:], hash) {
			p.lastResort, p.lastExpiry = nil, 0
			tx.putPool(h.account, h.device, &p)
		}
		return
	}
	if _, waits := tx.row(tablePackages, packageKey(h.account, h.device, h.number)); waits {
		tx.dropPackage(h.account, h.device, h.number, &p)
		tx.putPool(h.account, h.device, &p)
	}
}

func (tx *Tx) dropPackage(key AccountKey, id DeviceID, number uint64, p *poolRow) {
	if p.count == 0 {
		tx.fail(brokenf("a pool counts no package and has number %d", number))
		return
	}
	tx.delete(tablePackages, packageKey(key, id, number))
	p.count--
}

// removeKeys forgets the keys of a device. Its packages stay known as used.
func removeKeys(tx *Tx, key AccountKey, id DeviceID) {
	prefix := rowKey(tablePackages, key[:], id[:])
	tx.deleteRange(tablePackages, prefix, prefixEnd(prefix))
	tx.delete(tablePools, rowKey(tablePools, key[:], id[:]))
	tx.delete(tableHybridKeys, rowKey(tableHybridKeys, key[:], id[:]))
}

// checkUploadHybridKey refuses in this order: account, identity, key, signature.
func checkUploadHybridKey(st state, r *request) refusal {
	p := &r.uploadHybridKey
	if no := checkOwnKeys(st, r, p.identityKey); no.refused() {
		return no
	}
	switch {
	case len(p.key) != schemas.HybridKeySize:
		return refusal{schemas.Code_hybridKeyLength, schemas.HybridKeySize}
	case len(p.signature) != 0 && len(p.signature) != schemas.SignatureSize:
		return refuse(schemas.Code_signatureInvalid)
	}
	return refusal{}
}

func applyUploadHybridKey(tx *Tx, r *request) Result {
	p := &r.uploadHybridKey
	row := hybridRow{key: p.key, signature: p.signature}
	tx.set(tableHybridKeys, rowKey(tableHybridKeys, r.actor.account[:], r.actor.device[:]), row.encode())
	return tx.emptyResult()
}

// hybridRow is the key that messages to a device are sealed to.
type hybridRow struct{ key, signature []byte }

func (h *hybridRow) encode() []byte { return appendField(appendField(nil, h.key), h.signature) }

func (h *hybridRow) decode(row []byte) error {
	f := fields{rest: row}
	h.key, h.signature = f.bytes(), f.bytes()
	return f.done("hybrid key")
}
