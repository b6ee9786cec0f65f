package fsm

import (
	"bytes"

	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// The devices of accounts, and the endpoints that they publish.

// deviceRow is a device, in its account's row.
type deviceRow struct {
	id         DeviceID
	registered uint64 // log time
	name       string
	key        []byte // 32 bytes, or none: the account's identity key serves
	signature  []byte // by the account's key, over the device
}

func (d *deviceRow) append(row []byte) []byte {
	row = append(row, d.id[:]...)
	row = le.AppendUint64(row, d.registered)
	row = appendField(row, []byte(d.name))
	row = appendField(row, d.key)
	return appendField(row, d.signature)
}

func readDevice(f *fields) (d deviceRow) {
	f.exact(d.id[:])
	d.registered, d.name, d.key, d.signature = f.u64(), f.text(), f.bytes(), f.bytes()
	return d
}

// device returns a registered device, nil for none.
func (a *accountRow) device(id DeviceID) *deviceRow {
	for i := range a.devices {
		if a.devices[i].id == id {
			return &a.devices[i]
		}
	}
	return nil
}

// principalKey is the key that speaks for a device, or for the account when the
// device is zero or has no key of its own.
func (a *accountRow) principalKey(account AccountKey, id DeviceID) []byte {
	if d := a.device(id); d != nil && len(d.key) != 0 {
		return d.key
	}
	return account[:]
}

// checkRegisterDevice refuses in this order: account, lengths, statement on a device
// with a key, another key for the id, an id that was revoked, number of devices. That the
// key is usable the node has seen to.
func checkRegisterDevice(st state, r *request) refusal {
	p := &r.registerDevice
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	switch {
	case len(p.id) != schemas.DeviceIDSize || DeviceID(p.id) == DeviceID{},
		len(p.key) != 0 && len(p.key) != schemas.AccountKeySize:
		return refuse(schemas.Code_keyLength)
	case len(p.name) > schemas.MaxDeviceName:
		return refusal{schemas.Code_textTooLong, schemas.MaxDeviceName}
	case len(p.signature) > schemas.SignatureSize:
		return refuse(schemas.Code_signatureInvalid)
	}
	id := DeviceID(p.id)
	if len(p.key) != 0 {
		said := identity.Device(r.actor.account, id, [identity.KeySize]byte(p.key))
		if no := checkStatement(st, r.actor.account, said, p.signature); no.refused() {
			return no
		}
	}
	if revoked(st, r.actor.account, id) {
		return refuse(schemas.Code_deviceExists) // ids are never used again
	}
	a := st.account(r.actor.account)
	if d := a.device(id); d != nil {
		if !bytes.Equal(d.key, p.key) {
			return refuse(schemas.Code_deviceExists)
		}
		return refusal{}
	}
	if limit := st.setting(deviceMax); uint64(len(a.devices)) >= limit {
		return refusal{schemas.Code_deviceLimit, limit}
	}
	return refusal{}
}

// applyRegisterDevice answers whether the device is new; one that is there gets
// the new name.
func applyRegisterDevice(tx *Tx, r *request) Result {
	p := &r.registerDevice
	a := *tx.account(r.actor.account)
	a.devices = append([]deviceRow(nil), a.devices...)
	isNew := true
	if d := a.device(DeviceID(p.id)); d != nil {
		d.name, isNew = p.name, false
	} else {
		a.devices = append(a.devices, deviceRow{
			id: DeviceID(p.id), registered: tx.now(), name: p.name, key: clone(p.key), signature: clone(p.signature),
		})
	}
	tx.putAccount(r.actor.account, &a)
	return tx.flagResult(isNew)
}

// checkRevokeDevice refuses in this order: account, length, device, statement.
func checkRevokeDevice(st state, r *request) refusal {
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	p := &r.revokeDevice
	if len(p.id) != schemas.DeviceIDSize {
		return refuse(schemas.Code_keyLength)
	}
	id := DeviceID(p.id)
	if st.account(r.actor.account).device(id) == nil {
		return refuse(schemas.Code_deviceNotFound)
	}
	return checkStatement(st, r.actor.account, identity.RevokeDevice(r.actor.account, id, p.signed), p.signature)
}

// applyRevokeDevice removes the device, its sessions and what topics keep for it.
func applyRevokeDevice(tx *Tx, r *request) Result {
	key, id := r.actor.account, DeviceID(r.revokeDevice.id)
	a := *tx.account(key)
	devices := make([]deviceRow, 0, len(a.devices))
	for _, d := range a.devices {
		if d.id != id {
			devices = append(devices, d)
		}
	}
	a.devices = devices
	tx.putAccount(key, &a)
	closeSessions(tx, key, func(_ []byte, s *sessionRow) bool { return s.device == id })
	removeDevice(tx, key, id)
	if p := &r.revokeDevice; since(tx, levelStatements) {
		keepStatement(tx, key, id, &statementRow{p.signed, tx.now(), p.signature})
	}
	tx.touchAccount(key) // sessions of the account itself may read for the device
	return tx.flagResult(true)
}

// removeDevice removes what topics keep for a device; the zero device stands for
// what they keep for the account itself.
func removeDevice(tx *Tx, key AccountKey, id DeviceID) {
	tx.delete(tableEndpoints, rowKey(tableEndpoints, key[:], id[:]))
	for _, remove := range deviceRemovers {
		remove(tx, key, id)
	}
}

// deviceRemovers are the topics' parts of removeDevice.
var deviceRemovers = [...]func(*Tx, AccountKey, DeviceID){removeQueues, removeKeys, removeInstance}

// endpointRow is where a device says that it may be reached.
type endpointRow struct {
	expires  uint64 // log time
	endpoint []byte
}

func (e *endpointRow) encode() []byte {
	return appendField(le.AppendUint64(nil, e.expires), e.endpoint)
}

func (e *endpointRow) decode(row []byte) error {
	f := fields{rest: row}
	e.expires, e.endpoint = f.u64(), f.bytes()
	return f.done("endpoint")
}

const (
	endpointTTLSecs    = 60 * 60 // of an endpoint that names none
	endpointTTLMaxSecs = day
)

// checkPublishEndpoint refuses in this order: account, key, endpoint, time.
func checkPublishEndpoint(st state, r *request) refusal {
	p := &r.publishEndpoint
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	switch {
	case len(p.identityKey) == 0:
		return refuse(schemas.Code_identityRequired)
	case len(p.identityKey) != schemas.AccountKeySize:
		return refuse(schemas.Code_keyLength)
	case AccountKey(p.identityKey) != r.actor.account:
		return refuse(schemas.Code_identityMismatch)
	case len(p.endpoint) > schemas.MaxEndpoint:
		return refusal{schemas.Code_textTooLong, schemas.MaxEndpoint}
	case p.ttlSecs > endpointTTLMaxSecs:
		return refusal{schemas.Code_ttlTooLarge, endpointTTLMaxSecs}
	}
	return refusal{}
}

func applyPublishEndpoint(tx *Tx, r *request) Result {
	p := &r.publishEndpoint
	id := append(clone(r.actor.account[:]), r.actor.device[:]...)
	if len(p.endpoint) == 0 {
		tx.delete(tableEndpoints, rowKey(tableEndpoints, id))
		return tx.emptyResult()
	}
	ttl := uint64(p.ttlSecs)
	if ttl == 0 {
		ttl = endpointTTLSecs
	}
	e := endpointRow{expires: tx.now() + ttl*1000, endpoint: p.endpoint}
	tx.set(tableEndpoints, rowKey(tableEndpoints, id), e.encode())
	tx.setTimer(timerEndpoint, id, e.expires)
	return tx.emptyResult()
}

// endEndpoint is the timer of endpoints.
func endEndpoint(tx *Tx, id []byte) {
	row, ok := tx.row(tableEndpoints, rowKey(tableEndpoints, id))
	if !ok {
		return
	}
	var e endpointRow
	if err := e.decode(row); err != nil {
		tx.fail(err)
	}
	if e.expires <= tx.now() {
		tx.delete(tableEndpoints, rowKey(tableEndpoints, id))
	}
}
