package fsm

import (
	"quicproquo/schemas"
)

// Secrets of the cluster, wrapped by a key that the store never sees. Whoever
// makes the first version of a secret, or the next one, does so by compare and
// swap: all nodes then use the one that won.

type secretRow struct {
	version uint64
	wrapped []byte
}

func (s *secretRow) encode() []byte {
	return appendField(le.AppendUint64(nil, s.version), s.wrapped)
}

func (s *secretRow) decode(row []byte) error {
	f := fields{rest: row}
	s.version, s.wrapped = f.u64(), f.bytes()
	return f.done("secret")
}

// secret reads a secret; version 0 is none.
func secret(st state, name string) (s secretRow) {
	if row, ok := st.row(tableSecrets, rowKey(tableSecrets, []byte(name))); ok {
		if err := s.decode(row); err != nil {
			st.fail(err)
		}
	}
	return s
}

func checkPutSecret(st state, r *request) refusal {
	p := &r.putSecret
	switch {
	case p.name == "" || len(p.name) > schemas.MaxSecretName:
		return refusal{schemas.Code_textTooLong, schemas.MaxSecretName}
	case len(p.wrapped) == 0 || len(p.wrapped) > schemas.MaxSecret:
		return refusal{schemas.Code_textTooLong, schemas.MaxSecret}
	}
	if have := secret(st, p.name).version; p.version != have+1 {
		return refusal{schemas.Code_secretVersion, have}
	}
	return refusal{}
}

func applyPutSecret(tx *Tx, r *request) Result {
	p := &r.putSecret
	s := secretRow{version: p.version, wrapped: p.wrapped}
	tx.set(tableSecrets, rowKey(tableSecrets, []byte(p.name)), s.encode())
	return tx.numberResult(p.version)
}
