package fsm

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// grownStore is a closed store with several tables on its disk.
func grownStore(tb testing.TB) (Options, *vfs.MemFS, Mark) {
	tb.Helper()
	fs := vfs.NewMem()
	opts := testOptions(fs)
	s := openTest(tb, opts)
	_, err := s.Apply(faultLogs(tb))
	must(tb, err)
	mark := s.Digest()
	closeTest(tb, s)
	return opts, fs, mark
}

// A store of a newer format version is not touched; the message says what to do.
func TestNewerFormatIsRefused(t *testing.T) {
	opts, fs, _ := grownStore(t)
	marker := findFile(t, fs, "store", "marker.store.")
	must(t, fs.Rename("store/"+marker, "store/"+strings.Replace(marker, "v1-", "v2-", 1)))
	_, err := Open(opts)
	if !errors.Is(err, ErrFormatVersion) {
		t.Fatalf("Open gives %v, want ErrFormatVersion", err)
	}
	for _, part := range []string{"store", "version 2", "knows 1", "remove the directory"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func findFile(tb testing.TB, fs vfs.FS, dir, prefix string) string {
	tb.Helper()
	names, err := fs.List(dir)
	must(tb, err)
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			return name
		}
	}
	tb.Fatalf("%s has no file %s…: %v", dir, prefix, names)
	return ""
}

// A store with damaged files is refused, or stops when it meets the damage, with
// the file's name and what to do: never a wrong answer.
func TestDamagedFilesAreNoticed(t *testing.T) {
	_, fs, _ := grownStore(t)
	names, err := fs.List("store/gen-000001")
	must(t, err)
	for _, name := range names {
		for _, damage := range []string{"missing", "empty", "flipped"} {
			if strings.HasPrefix(name, "OPTIONS") || name == "LOCK" || strings.HasPrefix(name, "marker.format") || strings.HasSuffix(name, ".log") {
				continue // what they say is not state
			}
			if strings.HasPrefix(name, "marker.") && damage != "missing" {
				continue // a marker is an empty file
			}
			t.Run(name+" "+damage, func(t *testing.T) {
				opts, fs, mark := grownStore(t)
				damageFile(t, fs, "store/gen-000001/"+name, damage)
				err := useStore(t, opts, mark)
				if err == nil {
					t.Fatal("nobody noticed")
				}
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "gen-000001") ||
					!strings.Contains(err.Error(), "remove the store's directory") {
					t.Errorf("%q must be ErrDamaged, name the path and say what to do", err)
				}
			})
		}
	}
}

func damageFile(tb testing.TB, fs vfs.FS, path, how string) {
	tb.Helper()
	file, err := fs.Open(path)
	must(tb, err)
	data, err := io.ReadAll(file)
	must(tb, err)
	must(tb, file.Close())
	must(tb, fs.Remove(path))
	switch how {
	case "missing":
		return
	case "empty":
		data = nil
	case "flipped":
		for i := 0; i < len(data); i += 64 {
			data[i] ^= 0x10
		}
	case "bit": // in a block of rows: the footer and the index lie behind
		data[len(data)/4] ^= 0x10
	}
	file, err = fs.Create(path, vfs.WriteCategoryUnspecified)
	must(tb, err)
	_, err = file.Write(data)
	must(tb, err)
	must(tb, file.Close())
}

// useStore opens a store and reads everything there is.
func useStore(tb testing.TB, opts Options, mark Mark) error {
	tb.Helper()
	s, err := Open(opts)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if s.Digest() != mark {
		return fmt.Errorf("digest %v, want %v", s.Digest(), mark)
	}
	v, err := s.View()
	if err != nil {
		return err
	}
	err = eachRow(v.snapshot, nil, func(_, _ []byte) (bool, error) { return true, nil })
	return errors.Join(err, s.Err(), v.Close())
}

// A second Open of the same directory is refused while the first has it.
func TestStoreIsOpenedOnce(t *testing.T) {
	opts := Options{Dir: t.TempDir(), filterWords: 64}
	s := openTest(t, opts)
	if second, err := Open(opts); err == nil {
		t.Error("the store was opened twice")
		closeTest(t, second)
	} else if !strings.Contains(err.Error(), opts.Dir) {
		t.Errorf("%q does not name %s", err, opts.Dir)
	}
	closeTest(t, s)
	closeTest(t, s) // closing twice is harmless
	closeTest(t, openTest(t, opts))
}

// An Open that was cut off before it named its first generation begins anew;
// state without a name is not taken for it.
func TestStoreWithoutMarker(t *testing.T) {
	opts, fs, _ := grownStore(t)
	must(t, fs.Remove("store/"+findFile(t, fs, "store", "marker.store.")))
	if _, err := Open(opts); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "marker") {
		t.Errorf("Open gives %v, want ErrDamaged and the marker", err)
	}
	empty := testOptions(vfs.NewMem())
	closeTest(t, openTest(t, empty))
	must(t, empty.FS.Remove("store/"+findFile(t, empty.FS, "store", "marker.store.")))
	closeTest(t, openTest(t, empty))
}

// A directory that can't be made or read is an error that names it.
func TestUnusableDirectory(t *testing.T) {
	fs := vfs.NewMem()
	file, err := fs.Create("store", vfs.WriteCategoryUnspecified)
	must(t, err)
	must(t, file.Close())
	if _, err := Open(testOptions(fs)); err == nil || !strings.Contains(err.Error(), "open store store") {
		t.Errorf("Open gives %v, want an error that names the directory", err)
	}
}
