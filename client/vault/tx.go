package vault

import (
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"quicproquo/client/internal/crashpoint"
)

// Tx is a transaction, for as long as the function runs that gets it.
type Tx struct {
	db     *database
	writes bool
	over   bool
	bare   bool // no transaction: each statement stands alone
	now    time.Time
	// lost is why SQLite has given the transaction up already.
	lost error
}

// View calls f with a consistent state that it can only read. Calls take turns: f
// must not call the vault.
func (v *Vault) View(f func(*Tx) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return err
	}
	return v.db.view(f)
}

// Update calls f and stores what it wrote. When Update returns nil, all of it is on
// disk; when it returns an error or f panics, nothing is, with the exception of
// ErrFailed: then the next Open tells. Calls take turns: f must not call the vault.
func (v *Vault) Update(f func(*Tx) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return err
	}
	if err := v.db.update(f); err != nil {
		return err
	}
	if v.db.walPages >= walLimit {
		// What was written is safe in the log: if it can't be carried over now, a
		// later Update will.
		_ = v.db.checkpoint()
	}
	return nil
}

// Nested calls f as a part of the transaction. If f returns an error, what it wrote is
// undone, and the transaction goes on, unless the store itself has failed (Lost).
func (tx *Tx) Nested(f func() error) error {
	if err := tx.control("SAVEPOINT nested"); err != nil {
		return tx.broken(err)
	}
	err := f()
	if tx.lost != nil {
		return tx.lost
	}
	if err != nil {
		if undone := tx.control("ROLLBACK TO nested"); undone != nil {
			tx.lost = undone
			return undone
		}
	}
	if released := tx.control("RELEASE nested"); released != nil {
		tx.lost = released
		return released
	}
	return err
}

// Lost returns why the store can't go on with the transaction, nil if it can.
func (tx *Tx) Lost() error { return tx.lost }

// At sets what the transaction takes for the time, by which entries expire, in place
// of the system's.
func (tx *Tx) At(now time.Time) { tx.now = now }

func (d *database) view(f func(*Tx) error) error {
	tx, err := d.begin("BEGIN")
	if err != nil {
		return err
	}
	defer d.rollback(tx)
	if err := f(tx); err != nil {
		return err
	}
	return tx.lost
}

func (d *database) update(f func(*Tx) error) error {
	tx, err := d.begin("BEGIN IMMEDIATE")
	if err != nil {
		return err
	}
	tx.writes = true
	defer d.rollback(tx)
	if err := f(tx); err != nil {
		return err
	}
	if tx.lost != nil {
		return fmt.Errorf("store: %w", tx.lost)
	}
	return d.commit(tx)
}

func (d *database) begin(how string) (*Tx, error) {
	tx := &Tx{db: d, now: time.Now()}
	return tx, tx.control(how)
}

func (d *database) commit(tx *Tx) error {
	crashpoint.Reached(crashpoint.BeforeCommit)
	if err := tx.control("COMMIT"); err != nil {
		// SQLite has not taken the commit over. If the disk can't say what it holds, or
		// the commit can't be taken out of the log, only another Open knows.
		cut := d.cutLog()
		d.failed = errors.Is(err, ErrFailed) || cut != nil
		if d.failed && !errors.Is(err, ErrFailed) {
			err = fmt.Errorf("%w: %w (%w)", ErrFailed, err, cut)
		}
		return fmt.Errorf("store: %w", err)
	}
	tx.over = true
	crashpoint.Reached(crashpoint.AfterCommit)
	return nil
}

// rollback ends a transaction that is not committed, also when f panics.
func (d *database) rollback(tx *Tx) {
	if tx.over {
		return
	}
	if d.inside { // a panic in the midst of SQLite
		tx.over, d.failed = true, true
		return
	}
	if !d.conn.GetAutocommit() && tx.control("ROLLBACK") != nil {
		d.failed = true
	}
	tx.over = true
}

// control runs a statement that begins or ends the transaction.
func (tx *Tx) control(query string) error {
	s, err := tx.db.statement(query)
	if err != nil {
		return err
	}
	defer tx.db.release(query, s)
	tx.db.inside = true
	s.Step()
	tx.db.inside = false
	return storage("run "+query, s.Err())
}

func (tx *Tx) usable() error {
	if tx.over {
		return errors.New("the transaction is over")
	}
	return tx.lost
}

// broken notes whether an error has ended the transaction: SQLite rolls back by
// itself on some, and every further statement would be a transaction of its own.
func (tx *Tx) broken(err error) error {
	if err == nil {
		return nil
	}
	if !tx.bare && tx.db.conn.GetAutocommit() || errors.Is(err, sqlite3.IOERR) || kindOf(err) != nil {
		tx.lost = err
	}
	return err
}
