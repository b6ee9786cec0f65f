package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	cipher "lukechampine.com/adiantum"
	"lukechampine.com/adiantum/hbsh"
)

// Progress is told how many bytes of how many are done; nil is nobody.
type Progress func(done, total int64)

func (p Progress) report(done, total int64) {
	if p != nil {
		p(done, total)
	}
}

// Export writes a backup of the vault as it is now, encrypted and authenticated
// under a key of its own that key wraps. The vault goes on working meanwhile, but
// for the moment in which its file is copied, for which the disk must have room.
func (v *Vault) Export(w io.Writer, key Key, progress Progress) error {
	defer key.forget()
	f, dataKey, err := v.snapshot()
	if err == nil {
		defer f.Close()
		defer clear(dataKey)
		err = exportFile(f, w, key, dataKey, progress)
	}
	if err != nil {
		return fmt.Errorf("export vault: %w", err)
	}
	return nil
}

// snapshot copies the encrypted database and the key to it. The copy has no name, so
// that it goes when it is closed, or the process ends.
func (v *Vault) snapshot() (*os.File, []byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return nil, nil, err
	}
	if err := v.db.checkpoint(); err != nil {
		return nil, nil, err
	}
	if err := removeFiles(v.dir, copyName); err != nil {
		return nil, nil, err
	}
	name := filepath.Join(v.dir, copyName)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, fileMode)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(os.Remove(name), copyInto(f, filepath.Join(v.dir, databaseFile))); err != nil {
		return nil, nil, errors.Join(storage("copy database", err), f.Close())
	}
	return f, append([]byte(nil), v.db.key...), nil
}

func copyInto(target io.Writer, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	_, err = io.Copy(target, source)
	return err
}

func exportFile(f *os.File, w io.Writer, key Key, dataKey []byte, progress Progress) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size()%blockSize != 0 {
		return fmt.Errorf("%w: the database ends within a page", ErrCorrupt)
	}
	backupKey := newDataKey()
	defer clear(backupKey)
	file, err := key.wrap(backupKey)
	if err != nil {
		return err
	}
	out, err := newSealer(w, file, info.Size(), backupKey)
	if err != nil {
		return err
	}
	pages := &pages{cipher: cipher.New(dataKey)}
	for done := int64(0); done < info.Size(); done += blockSize {
		page, err := pages.read(f, done)
		if err != nil {
			return err
		}
		if err := out.write(page); err != nil {
			return err
		}
		progress.report(done+blockSize, info.Size())
	}
	return out.close()
}

// Import makes a vault in a directory out of a backup, for Open with the same key.
// ErrExists if there is a vault. What the vault knows is as old as the backup: its
// group states must not be used to send, since the original may have gone on.
// Restored tells.
func Import(dir string, r io.Reader, key Key, progress Progress) error {
	return settings{}.restore(dir, r, key, progress)
}

func (s settings) restore(dir string, r io.Reader, key Key, progress Progress) error {
	defer key.forget()
	lock, err := prepareCreate(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	dataKey := newDataKey()
	defer clear(dataKey)
	err = importFile(filepath.Join(dir, databaseFile+newSuffix), r, key, dataKey, progress)
	if err == nil {
		err = s.markRestored(dir, dataKey)
	}
	if err == nil {
		var file keyFile
		if file, err = key.wrap(dataKey); err == nil {
			return install(dir, file)
		}
	}
	return errors.Join(fmt.Errorf("import vault: %w", err), removeNew(dir))
}

func importFile(name string, r io.Reader, key Key, dataKey []byte, progress Progress) error {
	in, err := newUnsealer(r, key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	pages := &pages{cipher: cipher.New(append([]byte(nil), dataKey...))}
	var done int64
	for err == nil && done < in.size {
		var page []byte
		if page, err = in.read(); err == nil {
			err = pages.write(f, page, done)
		}
		done += blockSize
		progress.report(done, in.size)
	}
	if err == nil {
		err = in.close()
	}
	return storage("write database", errors.Join(err, f.Sync(), f.Close()))
}

// markRestored finds out whether the database can be opened, and notes in it that
// it is a copy.
func (s settings) markRestored(dir string, dataKey []byte) error {
	d, err := openDatabase(filepath.Join(dir, databaseFile+newSuffix), append([]byte(nil), dataKey...), s.base)
	if err != nil {
		return err
	}
	err = d.check()
	if err == nil {
		err = d.migrate(s.schema())
	}
	if err == nil {
		err = d.update(func(tx *Tx) error {
			return tx.run("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", metaRestored, time.Now())
		})
	}
	if err == nil {
		err = d.checkpoint()
	}
	if err := errors.Join(err, d.close()); err != nil {
		return err
	}
	return syncFile(filepath.Join(dir, databaseFile+newSuffix))
}

// Restored is when the vault was made from a backup, and the zero time if it was
// not or ForgetRestored was called since.
func (tx *Tx) Restored() (at time.Time, err error) {
	_, err = tx.one("SELECT value FROM meta WHERE name = ?", func(r *row) { at = r.time(0) }, metaRestored)
	return at, err
}

// ForgetRestored says that what had to be done after Import is done.
func (tx *Tx) ForgetRestored() error {
	return tx.run("DELETE FROM meta WHERE name = ?", metaRestored)
}

// pages reads and writes blocks of a database file as vfs/adiantum lays them out:
// the tweak is the offset.
type pages struct {
	cipher *hbsh.HBSH
	block  [blockSize]byte
	tweak  [8]byte
}

// read returns the page at an offset; it is valid until the next call.
func (p *pages) read(f io.ReaderAt, at int64) ([]byte, error) {
	page, err := p.decrypt(f, at)
	if err != nil {
		return nil, err
	}
	if !intact(at/blockSize, page) {
		return nil, fmt.Errorf("%w: page %d of the database", ErrCorrupt, at/blockSize+1)
	}
	return page, nil
}

// decrypt returns the block at an offset, whatever it is.
func (p *pages) decrypt(f io.ReaderAt, at int64) ([]byte, error) {
	if _, err := f.ReadAt(p.block[:], at); err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint64(p.tweak[:], uint64(at))
	return p.cipher.Decrypt(p.block[:], p.tweak[:]), nil
}

func (p *pages) write(f io.WriterAt, page []byte, at int64) error {
	binary.LittleEndian.PutUint64(p.tweak[:], uint64(at))
	_, err := f.WriteAt(p.cipher.Encrypt(append(p.block[:0], page...), p.tweak[:]), at)
	return err
}
