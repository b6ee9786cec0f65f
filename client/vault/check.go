package vault

import (
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// Check reads all of the vault and finds damage that nobody has met yet:
// ErrCorrupt. It takes as long as reading the file does.
func (v *Vault) Check() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return err
	}
	// From the disk, not from memory.
	if err := v.db.checkpoint(); err != nil {
		return err
	}
	if _, err := v.db.conn.FileControl("main", sqlite3.FCNTL_RESET_CACHE); err != nil {
		return storage("check vault", err)
	}
	found, err := v.db.ask("PRAGMA integrity_check(1)")
	if err != nil {
		return fmt.Errorf("check vault: %w", err)
	}
	if found != "ok" {
		return fmt.Errorf("check vault: %w: %s", ErrCorrupt, found)
	}
	return nil
}

// checksumSize is what SQLite's checksums take at the end of each page.
const checksumSize = 8

// lockPage is the page that SQLite never writes, because some systems' locks lie
// in it: the one at 1 GiB.
const lockPage = 1 << 30 / blockSize

// intact reports whether a page, by its number from 0, has the right checksum.
func intact(number int64, page []byte) bool {
	if number == lockPage {
		return true
	}
	end := len(page) - checksumSize
	return checksum(page[:end]) == [checksumSize]byte(page[end:])
}
