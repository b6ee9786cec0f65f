package vault

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// maxStatements bounds the prepared statements that are kept. Query texts are
// constants of the program, so there are fewer.
const maxStatements = 512

// statement is a prepared query.
type statement struct {
	*sqlite3.Stmt
	busy     bool // a query within its own rows: that one gets a statement for itself
	readOnly bool
}

// run runs a statement that gives no rows, or whose rows don't matter.
func (tx *Tx) run(query string, args ...any) error {
	return tx.each(query, func(*row) error { return nil }, args...)
}

// one calls scan with the first row, if there is one.
func (tx *Tx) one(query string, scan func(*row), args ...any) (found bool, err error) {
	err = tx.each(query, func(r *row) error {
		found = true
		scan(r)
		return errEnough
	}, args...)
	return found && err == nil, err
}

// errEnough ends each without an error.
var errEnough = errors.New("no more rows wanted")

// each calls a function with each row of a query; an error ends it. Arguments are
// int, int64, uint64, bool, string, []byte, nil or time.Time (ms since 1970; the
// zero time is NULL).
func (tx *Tx) each(query string, each func(*row) error, args ...any) error {
	if err := tx.usable(); err != nil {
		return err
	}
	s, err := tx.db.statement(query)
	if err != nil {
		return tx.broken(err)
	}
	defer tx.db.release(query, s)
	if !s.readOnly && !tx.writes {
		return ErrReadOnly
	}
	if err := bind(s.Stmt, args); err != nil {
		return err
	}
	for {
		tx.db.inside = true
		more := s.Step()
		tx.db.inside = false
		if !more {
			return tx.broken(storage("run query", s.Err()))
		}
		r := &row{stmt: s.Stmt}
		err := each(r)
		if err := errors.Join(r.err, s.Err()); err != nil {
			return tx.broken(storage("read row", err))
		}
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lastInsert is the rowid of the last row that was inserted.
func (tx *Tx) lastInsert() int64 { return tx.db.conn.LastInsertRowID() }

// changed is how many rows the last INSERT, UPDATE or DELETE changed.
func (tx *Tx) changed() int64 { return tx.db.conn.Changes() }

// statement returns a prepared statement that is not in use.
func (d *database) statement(query string) (*statement, error) {
	s, known := d.statements[query]
	if known && !s.busy {
		s.busy = true
		return s, nil
	}
	d.inside = true
	prepared, tail, err := d.conn.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT)
	d.inside = false
	if err != nil {
		return nil, storage("prepare query", err)
	}
	if prepared == nil || strings.TrimSpace(tail) != "" {
		_ = prepared.Close()
		return nil, errors.New("prepare query: one statement at a time")
	}
	s = &statement{Stmt: prepared, busy: true, readOnly: prepared.ReadOnly()}
	if !known {
		d.makeRoom()
		d.statements[query] = s
	}
	return s, nil
}

// makeRoom closes the statements that are not in use when there are too many.
func (d *database) makeRoom() {
	if len(d.statements) < maxStatements {
		return
	}
	for query, s := range d.statements {
		if !s.busy {
			_ = s.Close() // reports the last error of its run again
			delete(d.statements, query)
		}
	}
}

// release makes a statement ready for its next use.
func (d *database) release(query string, s *statement) {
	// Reset reports the last error of the run again; unbinding can't fail.
	_, _ = s.Reset(), s.ClearBindings()
	s.busy = false
	if d.statements[query] != s {
		_ = s.Close() // the same
	}
}

func bind(s *sqlite3.Stmt, args []any) error {
	if want := s.BindCount(); want != len(args) {
		return fmt.Errorf("bind arguments: %d for %d places", len(args), want)
	}
	for i, arg := range args {
		if err := bindOne(s, i+1, arg); err != nil {
			return fmt.Errorf("bind argument %d: %w", i+1, err)
		}
	}
	return nil
}

func bindOne(s *sqlite3.Stmt, i int, arg any) error {
	switch a := arg.(type) {
	case nil:
		return s.BindNull(i)
	case int:
		return s.BindInt(i, a)
	case int64:
		return s.BindInt64(i, a)
	case uint64:
		if a > math.MaxInt64 {
			return errors.New("number is too large to store")
		}
		return s.BindInt64(i, int64(a))
	case bool:
		return s.BindBool(i, a)
	case string:
		return s.BindText(i, a)
	case []byte:
		if a == nil {
			return s.BindNull(i)
		}
		return s.BindBlob(i, a)
	case time.Time:
		if a.IsZero() {
			return s.BindNull(i)
		}
		return s.BindInt64(i, a.UnixMilli())
	}
	return fmt.Errorf("%T can't be stored", arg)
}

// row is a row of a result, for as long as the function runs that gets it. What its
// methods return is a copy.
type row struct {
	stmt *sqlite3.Stmt
	err  error
}

func (r *row) null(i int) bool    { return r.stmt.ColumnType(i) == sqlite3.NULL }
func (r *row) int64(i int) int64  { return r.stmt.ColumnInt64(i) }
func (r *row) bool(i int) bool    { return r.stmt.ColumnInt64(i) != 0 }
func (r *row) text(i int) string  { return r.stmt.ColumnText(i) }
func (r *row) bytes(i int) []byte { return r.stmt.ColumnBlob(i, nil) }

// uint64 is a number that was stored as uint64: a negative one is an error.
func (r *row) uint64(i int) uint64 {
	n := r.stmt.ColumnInt64(i)
	if n < 0 {
		r.err = errors.Join(r.err, fmt.Errorf("%w: negative number in column %d", ErrCorrupt, i))
		return 0
	}
	return uint64(n)
}

// time is the zero time for NULL.
func (r *row) time(i int) time.Time {
	if r.null(i) {
		return time.Time{}
	}
	return time.UnixMilli(r.stmt.ColumnInt64(i))
}
