package vault

// standingTables is what the cluster was told that the account wants of others.
const standingTables = `
CREATE TABLE told (account BLOB PRIMARY KEY, standing INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`

// AcceptedAccounts returns the accounts that the user wants to hear of.
func (tx *Tx) AcceptedAccounts() (list [][32]byte, err error) {
	err = tx.each(`SELECT account FROM accepted ORDER BY account`, func(r *row) error {
		list = append(list, r.key(0))
		return nil
	})
	return list, err
}

// Told returns what the cluster was told of whom. Who is not in it is a stranger to it.
func (tx *Tx) Told() (map[[32]byte]uint16, error) {
	told := map[[32]byte]uint16{}
	err := tx.each(`SELECT account, standing FROM told`, func(r *row) error {
		told[r.key(0)] = uint16(r.int64(1))
		return nil
	})
	return told, err
}

// SetTold notes that the cluster was told of an account; 0, a stranger, is forgotten.
func (tx *Tx) SetTold(account [32]byte, standing uint16) error {
	if standing == 0 {
		return tx.run(`DELETE FROM told WHERE account = ?`, account[:])
	}
	return tx.run(`INSERT OR REPLACE INTO told (account, standing) VALUES (?, ?)`, account[:], int64(standing))
}
