package fsm

import (
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// What a node alone must not do: the account's identity key has signed it, and every
// replica verifies that (docs/decisions/0110). Statements on revoked devices and on the
// end of an account are kept, because other clients believe them and nobody else.

// checkStatement refuses what an account has not signed.
func checkStatement(st state, account AccountKey, said identity.Statement, signature []byte) refusal {
	switch {
	case !since(st, levelStatements):
	case len(signature) == 0:
		return refuse(schemas.Code_statementRequired)
	case !said.Verify(account[:], signature):
		return refuse(schemas.Code_signatureInvalid)
	}
	return refusal{}
}

// uploadSize is how many bytes of a record are the registration's upload: its end. The
// rest says how it is to be read.
const uploadSize = 192

func uploadOf(record []byte) []byte { return record[max(len(record)-uploadSize, 0):] }

// statementRow is a statement that an account has signed, under its device's id; the
// zero device's is on the end of the account.
type statementRow struct {
	signed    uint64 // by the signer's clock
	taken     uint64 // log time
	signature []byte
}

func (s *statementRow) encode() []byte {
	return appendField(le.AppendUint64(le.AppendUint64(nil, s.signed), s.taken), s.signature)
}

func (s *statementRow) decode(row []byte) error {
	f := fields{rest: row}
	s.signed, s.taken, s.signature = f.u64(), f.u64(), f.bytes()
	return f.done("statement")
}

// revoked reports whether a device id was revoked by a statement that is still kept.
func revoked(st state, account AccountKey, id DeviceID) bool {
	_, is := st.row(tableStatements, rowKey(tableStatements, account[:], id[:]))
	return is
}

// eachStatement visits an account's statements, by device id.
func eachStatement(st state, account AccountKey, visit func(DeviceID, statementRow)) {
	prefix := rowKey(tableStatements, account[:])
	st.each(tableStatements, prefix, func(key, value []byte) bool {
		var row statementRow
		if err := row.decode(value); err != nil {
			st.fail(err)
			return false
		}
		visit(DeviceID(key[len(prefix):]), row)
		return true
	})
}

// keepStatement keeps a statement on a device. Beyond schemas.MaxRevocations the one
// that was taken first goes, the lowest device id's of several.
func keepStatement(tx *Tx, account AccountKey, id DeviceID, row *statementRow) {
	kept, oldest, at := 0, DeviceID{}, uint64(0)
	eachStatement(tx, account, func(device DeviceID, s statementRow) {
		if kept == 0 || s.taken < at {
			oldest, at = device, s.taken
		}
		kept++
	})
	if kept >= schemas.MaxRevocations {
		tx.delete(tableStatements, rowKey(tableStatements, account[:], oldest[:]))
	}
	tx.set(tableStatements, rowKey(tableStatements, account[:], id[:]), row.encode())
}

// keepLastStatement keeps the statement on the end of an account, in place of those on
// its devices: they have all ended.
func keepLastStatement(tx *Tx, account AccountKey, row *statementRow) {
	var devices []DeviceID
	eachStatement(tx, account, func(id DeviceID, _ statementRow) { devices = append(devices, id) })
	for _, id := range devices {
		tx.delete(tableStatements, rowKey(tableStatements, account[:], id[:]))
	}
	tx.set(tableStatements, rowKey(tableStatements, account[:], make([]byte, schemas.DeviceIDSize)), row.encode())
}

// Revocation is a device that its account has revoked, as readers see it. Times are in
// milliseconds since 1970: the signer's and the log's.
type Revocation struct {
	Device              DeviceID
	SignedMs, RevokedMs uint64
	Signature           []byte
}

// Deletion is the end of an account, as readers see it.
type Deletion struct {
	SignedMs, DeletedMs uint64
	Signature           []byte
}

// Statements returns what an account has said of devices that it revoked, by device
// id, and of its own end; nil: nothing.
func (v *View) Statements(account AccountKey) (revoked []Revocation, deleted *Deletion, err error) {
	v.err = nil
	eachStatement(v, account, func(id DeviceID, s statementRow) {
		if id == (DeviceID{}) {
			deleted = &Deletion{s.signed, s.taken, s.signature}
			return
		}
		revoked = append(revoked, Revocation{id, s.signed, s.taken, s.signature})
	})
	return revoked, deleted, v.readError("statements")
}
