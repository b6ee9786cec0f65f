package vault

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
	"github.com/ncruces/go-sqlite3/vfs/adiantum"
	cipher "lukechampine.com/adiantum"
	"lukechampine.com/adiantum/hbsh"

	"quicproquo/client/internal/crashpoint"
)

const (
	// blockSize is what is encrypted at once, and SQLite's page.
	blockSize = 4096
	// walLimit is how many pages the write-ahead log may have before it is carried
	// over into the database and cut: 4 MiB. Deleted secrets can live in it as long.
	walLimit = 1000
	// cacheSize bounds SQLite's page cache, in KiB.
	cacheSize = 8 << 10
)

// database is the one connection to the encrypted file. It is for one goroutine at
// a time: the vault's lock.
type database struct {
	conn  *sqlite3.Conn
	log   string // the write-ahead log
	layer string // the name under which SQLite knows the cipher
	key   []byte // the data key; the cipher uses this very slice

	statements map[string]*statement
	walPages   int  // that are committed in the log; -1 if not known
	inside     bool // SQLite is running: a panic then leaves it in an unknown state
	failed     bool // nothing more may be done with this connection
}

// openDatabase opens the file with its data key, which it takes over. The base is
// where files are kept; nil is the operating system's file system.
func openDatabase(file string, dataKey []byte, base vfs.VFS) (*database, error) {
	if base == nil {
		base = vfs.Find("")
	}
	d := &database{key: dataKey, layer: layerName(), statements: map[string]*statement{}}
	// A layer of its own keeps the key out of SQL and out of SQLite's memory.
	vfs.Register(d.layer, wipingVFS{adiantum.Wrap(base, vaultCipher{cipher.New(dataKey)})})
	if err := d.connect(file); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func layerName() string {
	name := make([]byte, 8)
	_, _ = rand.Read(name) // never fails
	return "qpq-vault-" + hex.EncodeToString(name)
}

func (d *database) connect(file string) error {
	full, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("open vault: %w", err)
	}
	// modeof gives the log the permissions of the database.
	options := url.Values{"vfs": {d.layer}, "hexkey": {placeholder}, "modeof": {full}}
	uri := url.URL{Scheme: "file", Path: full, RawQuery: strings.ReplaceAll(options.Encode(), "+", "%20")} // SQLite takes a + as it is
	d.conn, err = sqlite3.OpenFlags(uri.String(), sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI|sqlite3.OPEN_NOFOLLOW)
	if err != nil {
		return storage("open vault", err)
	}
	d.log = full + walSuffix
	if err := d.configure(); err != nil {
		return err
	}
	// After the settings: wal_autocheckpoint takes the hook away.
	d.conn.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error {
		d.walPages = pages
		return nil
	})
	return nil
}

// configure sets what does not last beyond a connection.
func (d *database) configure() error {
	for _, setting := range []string{
		// Before anything is read, so that the index of the log stays in our memory
		// and needs no file.
		"locking_mode = EXCLUSIVE",
		"temp_store = MEMORY",
		// A commit is on disk when it returns.
		"synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON",
		// What is deleted is overwritten with zeros.
		"secure_delete = ON",
		"cache_size = -" + strconv.Itoa(cacheSize),
		"foreign_keys = ON", "trusted_schema = OFF", "cell_size_check = ON",
		// Update cuts the log itself: SQLite's way leaves old pages in it.
		"wal_autocheckpoint = 0",
	} {
		if err := d.exec("PRAGMA " + setting); err != nil {
			return fmt.Errorf("open vault: %w", err)
		}
	}
	return nil
}

// format makes an empty database a vault's.
func (d *database) format() error {
	// Each page ends in a checksum. It lies under the cipher, so that whoever alters
	// a block can't make it right: docs/decisions/0070-vault.md.
	if err := d.conn.EnableChecksums("main"); err != nil {
		return storage("make vault", err)
	}
	if err := d.exec("PRAGMA application_id = " + strconv.Itoa(applicationID)); err != nil {
		return err
	}
	return d.exec("PRAGMA journal_mode = WAL")
}

// check finds out whether this is a vault's database, with the right key.
func (d *database) check() error {
	want := map[string]string{
		"application_id": strconv.Itoa(applicationID), "journal_mode": "wal", "checksum_verification": "1",
	}
	for _, name := range []string{"application_id", "journal_mode", "checksum_verification"} {
		got, err := d.ask("PRAGMA " + name)
		if err != nil {
			return err
		}
		if got != want[name] {
			return fmt.Errorf("%w: %s of the database is %s, not %s", ErrCorrupt, name, got, want[name])
		}
	}
	return nil
}

// ask returns the first value of a query outside of transactions.
func (d *database) ask(query string) (answer string, err error) {
	tx := &Tx{db: d, writes: true, bare: true}
	_, err = tx.one(query, func(r *row) { answer = r.text(0) })
	return answer, err
}

// exec runs statements that give no rows.
func (d *database) exec(sql string) error {
	d.inside = true
	err := d.conn.Exec(sql)
	d.inside = false
	return storage("run statement", err)
}

// checkpoint carries the log over into the database and cuts it to nothing.
func (d *database) checkpoint() error {
	crashpoint.Reached(crashpoint.BeforeCheckpoint)
	d.inside = true
	_, _, err := d.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	d.inside = false
	if errors.Is(err, sqlite3.IOERR_TRUNCATE) {
		// The database or the log could not be cut: in the second case SQLite has begun
		// a new log already.
		d.walPages = -1
	}
	if err != nil {
		return storage("carry log over", err)
	}
	d.walPages = 0
	crashpoint.Reached(crashpoint.AfterCheckpoint)
	return nil
}

// The parts of a log (https://sqlite.org/fileformat2.html#the_write_ahead_log).
const (
	walHeader = 32
	walFrame  = 24 + blockSize
)

// cutLog takes out of the log what a commit has written that then failed. SQLite
// itself leaves it there for the next commit to overwrite; when the process ends
// before that, a transaction whose Update has returned an error would be back.
func (d *database) cutLog() error {
	if d.walPages < 0 {
		return errors.New("how much of the log holds is not known")
	}
	size := int64(0)
	if d.walPages > 0 {
		size = roundUp(walHeader + int64(d.walPages)*walFrame)
	}
	info, err := os.Stat(d.log)
	if err != nil || info.Size() <= size {
		return err
	}
	if err := os.Truncate(d.log, size); err != nil {
		return err
	}
	return syncFile(d.log)
}

// roundUp is the size of a file of whole blocks.
func roundUp(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }

// close ends the connection and forgets the key. It carries the log over; if it
// can't, the log stays and the next open reads it.
func (d *database) close() error {
	var err error
	if d.conn != nil {
		for _, s := range d.statements {
			_ = s.Close() // reports the last error of its run again
		}
		err = storage("close vault", d.conn.Close())
		d.conn = nil
	}
	vfs.Unregister(d.layer)
	clear(d.key)
	return err
}

// placeholder is what stands for the key in the address that SQLite gets.
const placeholder = "00"

// vaultCipher gives the cipher of the vault to its files.
type vaultCipher struct{ cipher *hbsh.HBSH }

// HBSH returns the vault's cipher for the placeholder. Temporary files, which
// temp_store keeps in memory anyway, have a key of their own.
func (c vaultCipher) HBSH(key []byte) *hbsh.HBSH {
	if slices.Equal(key, []byte{0}) {
		return c.cipher
	}
	return cipher.New(key)
}

// KDF makes the key of a temporary file.
func (c vaultCipher) KDF(string) []byte {
	key := make([]byte, dataKeySize)
	_, _ = rand.Read(key) // never fails
	return key
}
