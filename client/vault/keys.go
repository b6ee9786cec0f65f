package vault

import "time"

// KeyPackage is a key package of this device with its private keys.
type KeyPackage struct {
	Ref           []byte // RFC 9420 §5.2
	State         []byte
	LastResort    bool
	Made, Expires time.Time
	// Uploaded: the cluster is known to have taken it.
	Uploaded bool
}

// uploadedColumn is a migration: which key packages the cluster has taken. Those of
// earlier versions count as taken.
const uploadedColumn = `ALTER TABLE key_package ADD COLUMN uploaded INTEGER NOT NULL DEFAULT 1;`

const keyPackageColumns = `ref, state, last_resort, made, expires, uploaded`

// AddKeyPackage keeps a key package.
func (tx *Tx) AddKeyPackage(k *KeyPackage) error {
	return tx.run(`INSERT INTO key_package (`+keyPackageColumns+`) VALUES (?, ?, ?, ?, ?, ?)`,
		k.Ref, k.State, k.LastResort, k.Made, k.Expires, k.Uploaded)
}

// KeyPackageUploaded notes that the cluster has taken a key package.
func (tx *Tx) KeyPackageUploaded(ref []byte) error {
	return tx.run(`UPDATE key_package SET uploaded = 1 WHERE ref = ?`, ref)
}

// KeyPackage returns the key package of a reference, nil if there is none.
func (tx *Tx) KeyPackage(ref []byte) (k *KeyPackage, err error) {
	_, err = tx.one(`SELECT `+keyPackageColumns+` FROM key_package WHERE ref = ?`,
		func(r *row) { k = readKeyPackage(r) }, ref)
	return k, err
}

// KeyPackages returns all key packages, the oldest first.
func (tx *Tx) KeyPackages() (list []*KeyPackage, err error) {
	err = tx.each(`SELECT `+keyPackageColumns+` FROM key_package ORDER BY made, ref`,
		func(r *row) error {
			list = append(list, readKeyPackage(r))
			return nil
		})
	return list, err
}

func readKeyPackage(r *row) *KeyPackage {
	return &KeyPackage{Ref: r.bytes(0), State: r.bytes(1), LastResort: r.bool(2), Made: r.time(3), Expires: r.time(4), Uploaded: r.bool(5)}
}

// DeleteKeyPackage forgets a key package that was used up.
func (tx *Tx) DeleteKeyPackage(ref []byte) error {
	return tx.run(`DELETE FROM key_package WHERE ref = ?`, ref)
}

// DeleteKeyPackages forgets those that expired before a time.
func (tx *Tx) DeleteKeyPackages(before time.Time) error {
	return tx.run(`DELETE FROM key_package WHERE expires < ?`, before)
}
