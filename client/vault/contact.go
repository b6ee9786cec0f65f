package vault

import "time"

// Contact is an account that we have met, with the key that it had then.
type Contact struct {
	Account  [32]byte
	Username string
	Verified bool // the user has compared the safety number
	Since    time.Time
}

func readContact(r *row) *Contact {
	return &Contact{r.key(0), r.text(1), r.bool(2), r.time(3)}
}

// SetContact adds or replaces a contact.
func (tx *Tx) SetContact(c *Contact) error {
	return tx.run(`INSERT OR REPLACE INTO contact (account, username, verified, since) VALUES (?, ?, ?, ?)`,
		c.Account[:], c.Username, c.Verified, c.Since)
}

// Contact returns the contact of an account, nil if there is none.
func (tx *Tx) Contact(account [32]byte) (c *Contact, err error) {
	_, err = tx.one(`SELECT account, username, verified, since FROM contact WHERE account = ?`,
		func(r *row) { c = readContact(r) }, account[:])
	return c, err
}

// ContactNamed returns the contact of a username, nil if there is none.
func (tx *Tx) ContactNamed(username string) (c *Contact, err error) {
	_, err = tx.one(`SELECT account, username, verified, since FROM contact WHERE username = ?`,
		func(r *row) { c = readContact(r) }, username)
	return c, err
}

// Contacts returns all contacts by name.
func (tx *Tx) Contacts() (list []*Contact, err error) {
	err = tx.each(`SELECT account, username, verified, since FROM contact ORDER BY username`, func(r *row) error {
		list = append(list, readContact(r))
		return nil
	})
	return list, err
}

// WantName notes an account whose name is to be asked for.
func (tx *Tx) WantName(account [32]byte) error {
	return tx.run(`INSERT OR IGNORE INTO nameless (account) VALUES (?)`, account[:])
}

// Nameless returns the accounts whose names are to be asked for.
func (tx *Tx) Nameless() (list [][32]byte, err error) {
	err = tx.each(`SELECT account FROM nameless`, func(r *row) error {
		list = append(list, r.key(0))
		return nil
	})
	return list, err
}

// Named forgets that an account's name was wanted.
func (tx *Tx) Named(account [32]byte) error {
	return tx.run(`DELETE FROM nameless WHERE account = ?`, account[:])
}

// Accept notes that the user wants to hear of an account: it has written to it, or has
// said yes to what it asked. Its name need not be known.
func (tx *Tx) Accept(account [32]byte) error {
	return tx.run(`INSERT OR IGNORE INTO accepted (account) VALUES (?)`, account[:])
}

// Accepted reports whether the user wants to hear of an account.
func (tx *Tx) Accepted(account [32]byte) (bool, error) {
	return tx.one(`SELECT 1 FROM accepted WHERE account = ?`, func(*row) {}, account[:])
}

// Block notes that nothing of an account is wanted, or that it is again.
func (tx *Tx) Block(account [32]byte, blocked bool, at time.Time) error {
	if !blocked {
		return tx.run(`DELETE FROM blocked WHERE account = ?`, account[:])
	}
	return tx.run(`INSERT OR IGNORE INTO blocked (account, at) VALUES (?, ?)`, account[:], at)
}

// Blocked reports whether nothing of an account is wanted.
func (tx *Tx) Blocked(account [32]byte) (bool, error) {
	return tx.one(`SELECT 1 FROM blocked WHERE account = ?`, func(*row) {}, account[:])
}

// BlockedAccounts returns the accounts that are blocked.
func (tx *Tx) BlockedAccounts() (list [][32]byte, err error) {
	err = tx.each(`SELECT account FROM blocked ORDER BY at, account`, func(r *row) error {
		list = append(list, r.key(0))
		return nil
	})
	return list, err
}
