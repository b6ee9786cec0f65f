package fsm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/internal/planted"
)

// Restore makes a snapshot's state the store's. The directory holds what
// Checkpoint made, perhaps on another node; its files are linked, or copied
// across file systems, and may be removed afterwards.
//
// Everything is verified before the store changes: the header, the files' sizes,
// that Pebble can open them, that index, digest and log time are the header's,
// and the checksum of every block. Then the store switches over in
// one step that a crash cuts off before or after, never between, and wakes
// every waiter and watcher. Views that are open go on reading the old state.
//
// If it fails, the old state stays in use.
func (s *Store) Restore(dir string) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if err := s.Err(); err != nil {
		return err
	}
	if err := s.restore(dir); err != nil {
		return fmt.Errorf("restore store %s from %s: %w", s.opts.Dir, dir, err)
	}
	return nil
}

func (s *Store) restore(dir string) error {
	info, err := ReadSnapshotInfo(s.fs, dir)
	if err != nil {
		return err
	}
	before := s.current()
	// No two attempts share a directory: one that failed may still be locked.
	s.restores++
	number := s.first + s.restores
	err = s.importFiles(&info, dir, s.generationDir(number))
	if err == nil {
		// Before Pebble opens them: it begins to compact at once.
		err = s.checkBlocks(&info, s.generationDir(number))
	}
	if err != nil {
		return errors.Join(err, s.fs.RemoveAll(s.generationDir(number)))
	}
	gen, tx, err := s.openSnapshot(&info, number)
	if err != nil {
		return errors.Join(err, s.fs.RemoveAll(s.generationDir(number)))
	}
	if err := s.switchTo(gen, before); err != nil {
		return err
	}
	s.install(gen, tx)
	s.watches.wakeAll()
	s.signalNodeKeys()
	if err := before.discard(s.fs); err != nil {
		s.log.Warn("discard the state before the restore", errAttr(err))
	}
	return nil
}

func (s *Store) current() *generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

// importFiles brings a snapshot's files into a new generation's directory and
// makes them durable.
func (s *Store) importFiles(info *SnapshotInfo, from, to string) error {
	if err := s.fs.RemoveAll(to); err != nil {
		return err
	}
	if err := s.fs.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, f := range info.Files {
		if err := s.importFile(s.fs.PathJoin(from, f.Name), s.fs.PathJoin(to, f.Name)); err != nil {
			return fmt.Errorf("import %s: %w", f.Name, err)
		}
	}
	if err := syncDir(s.fs, to); err != nil {
		return err
	}
	return syncDir(s.fs, s.opts.Dir)
}

// importFile links tables and blob files, which are never written again, and
// copies the rest.
func (s *Store) importFile(from, to string) error {
	if strings.HasSuffix(from, tableSuffix) || strings.HasSuffix(from, blobSuffix) {
		if err := vfs.LinkOrCopy(s.fs, from, to); err != nil {
			return err
		}
	} else if err := vfs.Copy(s.fs, from, to); err != nil {
		return err
	}
	file, err := s.fs.Open(to)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// openSnapshot opens a new generation and verifies it.
func (s *Store) openSnapshot(info *SnapshotInfo, number uint64) (*generation, *Tx, error) {
	gen, err := s.openGeneration(number, false)
	if err != nil {
		return nil, nil, err
	}
	tx, err := s.newTx(gen)
	if err != nil {
		err = damaged(gen.dir, err)
	}
	if err == nil && planted.On(planted.SnapshotWithoutDedupe) {
		tx.dedupe.forget()
	}
	if err == nil && (tx.meta.index != info.Index || tx.meta.digest != info.Digest || tx.meta.stamp != info.StampMs) {
		err = fmt.Errorf("%w: snapshot holds log entry %d with digest %016x, its header says %d with %016x",
			ErrDamaged, tx.meta.index, tx.meta.digest, info.Index, info.Digest)
	}
	if err != nil {
		return nil, nil, errors.Join(err, gen.db.Close())
	}
	return gen, tx, nil
}

// switchTo moves the marker. If that fails it may still have happened, so the
// marker is moved back; if that fails too nobody can say which state the next
// Open will find, and the store stops.
func (s *Store) switchTo(gen, before *generation) error {
	err := s.moveMarker(gen.number)
	if err == nil {
		return nil
	}
	if back := s.moveMarker(before.number); back != nil {
		return s.fail(fmt.Errorf("switch to restored state: %w", errors.Join(err, back, gen.db.Close())))
	}
	return errors.Join(err, gen.db.Close(), s.fs.RemoveAll(gen.dir))
}

// discard retires a generation that was replaced and removes its files when its
// last reader has gone.
func (g *generation) discard(fs vfs.FS) error {
	g.mu.Lock()
	g.discarded = fs
	g.mu.Unlock()
	return g.retire()
}

// removeStale removes generations that an interrupted restore has left behind.
// What can't be removed is harmless, and tried again at the next Open.
func (s *Store) removeStale() {
	names, err := s.fs.List(s.opts.Dir)
	if err != nil {
		s.log.Warn("list stale generations", errAttr(err))
		return
	}
	live := s.fs.PathBase(s.current().dir)
	for _, name := range names {
		if strings.HasPrefix(name, genPrefix) && name != live {
			if err := s.fs.RemoveAll(s.fs.PathJoin(s.opts.Dir, name)); err != nil {
				s.log.Warn("remove stale generation", errAttr(err))
			}
		}
	}
	if err := s.marker.RemoveObsolete(); err != nil {
		s.log.Warn("remove stale markers", errAttr(err))
	}
}
