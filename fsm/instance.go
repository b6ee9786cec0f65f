package fsm

import (
	"slices"

	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// Which copy of a device's keys is in use (docs/decisions/0117). A program that begins
// to use them draws an instance and names those that it held: if the device's is none
// of these, the program has a copy whose original has gone on, or the original of a copy
// that has.

// instanceRow is a device's instance.
type instanceRow struct {
	instance uint64
	// incarnation is the cluster's at that time: what a restore from a backup brings
	// back says nothing of who went on since.
	incarnation uint64
}

func (i *instanceRow) encode() []byte {
	return le.AppendUint64(le.AppendUint64(nil, i.instance), i.incarnation)
}

func (i *instanceRow) decode(row []byte) error {
	f := fields{rest: row}
	i.instance, i.incarnation = f.u64(), f.u64()
	return f.done("instance")
}

// instance is the one that is in use of a device, 0 for none that is known. The zero
// device is the account itself.
func instance(st state, key AccountKey, id DeviceID) uint64 {
	row, ok := st.row(tableInstances, rowKey(tableInstances, key[:], id[:]))
	if !ok {
		return 0
	}
	var i instanceRow
	if err := i.decode(row); err != nil {
		st.fail(err)
	}
	if i.incarnation != incarnation(st) {
		return 0
	}
	return i.instance
}

// incarnation counts how often the cluster was restored from a backup.
func incarnation(st state) uint64 {
	row, ok := st.row(tableSettings, settingKey(incarnationKey))
	if !ok {
		return 0
	}
	n, err := decodeNumber(row)
	if err != nil {
		st.fail(err)
	}
	return n
}

// checkSetInstance refuses in this order: account, device, number of instances,
// instance 0, statement, another instance in use.
func checkSetInstance(st state, r *request) refusal {
	if no := checkLiveActor(st, r); no.refused() {
		return no
	}
	p, key, id := &r.setInstance, r.actor.account, r.actor.device
	a := st.account(key)
	said := identity.Instance(key, p.device(r), p.instance, p.held)
	switch {
	case id != DeviceID{} && a.device(id) == nil:
		return refuse(schemas.Code_deviceNotFound)
	case p.named > schemas.MaxInstances:
		return refusal{schemas.Code_listTooLong, schemas.MaxInstances}
	case p.instance == 0:
		return refuse(schemas.Code_malformed)
	case len(p.signature) == 0:
		return refuse(schemas.Code_statementRequired)
	case !said.Verify(a.principalKey(key, id), p.signature):
		return refuse(schemas.Code_signatureInvalid)
	}
	if now := instance(st, key, id); now != 0 && now != p.instance && !slices.Contains(p.held, now) {
		return refusal{schemas.Code_instanceReplaced, now}
	}
	return refusal{}
}

// applySetInstance answers whether the device's instance is another one now. Whoever
// watches the account looks at who they are again.
func applySetInstance(tx *Tx, r *request) Result {
	p, key, id := &r.setInstance, r.actor.account, r.actor.device
	if instance(tx, key, id) == p.instance {
		return tx.flagResult(false)
	}
	row := instanceRow{p.instance, incarnation(tx)}
	tx.set(tableInstances, rowKey(tableInstances, key[:], id[:]), row.encode())
	tx.touchAccount(key)
	return tx.flagResult(true)
}

// removeInstance forgets a device's. Where there is none nothing is written: logs of
// before the table lead to what they led to.
func removeInstance(tx *Tx, key AccountKey, id DeviceID) {
	name := rowKey(tableInstances, key[:], id[:])
	if _, there := tx.row(tableInstances, name); there {
		tx.delete(tableInstances, name)
	}
}

type setInstanceRequest struct {
	instance  uint64
	held      []uint64
	named     int // how many the call names; those beyond the limit are not read
	signature []byte
}

// device is the actor's as the statement names it.
func (*setInstanceRequest) device(r *request) []byte {
	if r.actor.device == (DeviceID{}) {
		return nil
	}
	return r.actor.device[:]
}

func (r *request) decodeSetInstance(cmd schemas.Entry_command) error {
	msg, err := cmd.SetInstance()
	if err != nil {
		return err
	}
	held, err := msg.Held()
	if err != nil {
		return err
	}
	var g reading
	p := &r.setInstance
	*p = setInstanceRequest{
		instance: msg.Instance(), held: p.held[:0], named: held.Len(), signature: g.bytes(msg.Signature()),
	}
	for i := range min(p.named, schemas.MaxInstances) {
		p.held = append(p.held, held.At(i))
	}
	return g.err
}

// Instance returns which instance of a device is in use, 0 if none is known; the zero
// device is the account itself.
func (v *View) Instance(key AccountKey, id DeviceID) (uint64, error) {
	v.err = nil
	return instance(v, key, id), v.readError("instance")
}
