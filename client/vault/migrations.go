package vault

import (
	"fmt"
	"strconv"
)

// migrations is the schema: text n brings a vault of version n to version n+1, in a
// transaction of its own. A text that has been released is never changed; what is
// new goes to the end.
//
// Tables are STRICT. A table whose rowid something refers to (a full-text index,
// for one) has it as INTEGER PRIMARY KEY. A full-text index sets FTS5's
// 'secure-delete', without which deleted words linger in it.
var migrations = []string{
	// meta holds what there is one of.
	`CREATE TABLE meta (
		name  TEXT PRIMARY KEY,
		value ANY NOT NULL
	) STRICT, WITHOUT ROWID;`,
	topicTables,
	lineageTables,
	receiptTables,
	searchTables,
	renewedColumn,
	uploadedColumn,
	instanceTables,
	unreadableTables,
	earlierTable,
	standingTables,
}

// The names in meta that the core uses.
const (
	metaRestored = "restored" // when Import made the vault from a backup, ms since 1970
	metaNodes    = "nodes"    // addresses of the cluster's nodes, a line each
)

// metaTakeOver is set while the vault is to become the copy that is in use.
const metaTakeOver = "take-over"

// applicationID marks the database as a vault: "qpqv".
const applicationID = 0x71707176

// migrate brings the schema up to date with a list of migrations.
func (d *database) migrate(list []string) error {
	version, err := d.version()
	if err != nil {
		return err
	}
	if version > len(list) {
		return fmt.Errorf("%w: version %d, known is up to %d", ErrNewer, version, len(list))
	}
	for n := version; n < len(list); n++ {
		step := func(*Tx) error {
			// The texts have several statements each, which run takes one of.
			return d.exec(list[n] + ";PRAGMA user_version = " + strconv.Itoa(n+1))
		}
		if err := d.update(step); err != nil {
			return fmt.Errorf("bring vault to version %d: %w", n+1, err)
		}
	}
	return nil
}

// version is how many migrations the database has had.
func (d *database) version() (int, error) {
	text, err := d.ask("PRAGMA user_version")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}
