package vault

// Which copy of the device's keys this vault is: see docs/decisions/0117. Numbers are
// below 2^63.

const instanceTables = `
CREATE TABLE instance (id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL, taken INTEGER NOT NULL) STRICT;
`

// Instances returns what this vault has been called, in the order in which it was, and
// whether the cluster has taken one of them.
func (tx *Tx) Instances() (list []uint64, taken bool, err error) {
	err = tx.each(`SELECT number, taken FROM instance ORDER BY id`, func(r *row) error {
		list = append(list, r.uint64(0))
		taken = taken || r.bool(1)
		return nil
	})
	return list, taken, err
}

// AddInstance notes what the vault is to be called, before anybody is told.
func (tx *Tx) AddInstance(number uint64) error {
	return tx.run(`INSERT INTO instance (number, taken) VALUES (?, 0)`, number)
}

// TakeInstance notes that the cluster knows the vault by a number. What it was called
// before is forgotten, and a take-over is done.
func (tx *Tx) TakeInstance(number uint64) error {
	if err := tx.run(`DELETE FROM instance`); err != nil {
		return err
	}
	if err := tx.run(`INSERT INTO instance (number, taken) VALUES (?, 1)`, number); err != nil {
		return err
	}
	return tx.SetTakeOver(false)
}

// TakeOver reports whether this vault is to become the one that is in use, whichever the
// cluster knows now.
func (tx *Tx) TakeOver() (bool, error) {
	return tx.one(`SELECT value FROM meta WHERE name = ?`, func(*row) {}, metaTakeOver)
}

// SetTakeOver says whether it is.
func (tx *Tx) SetTakeOver(on bool) error {
	if !on {
		return tx.run(`DELETE FROM meta WHERE name = ?`, metaTakeOver)
	}
	return tx.run(`INSERT OR REPLACE INTO meta (name, value) VALUES (?, 1)`, metaTakeOver)
}
