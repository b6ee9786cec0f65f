package fsm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/schemas"
)

// A snapshot's header, which another node sends, is taken only if this build knows its
// format and if it names files of a snapshot, each once and in order, and nothing that
// lies elsewhere or is the store's own.
func TestSnapshotHeader(t *testing.T) {
	files := func(names ...string) (list []SnapshotFile) {
		for _, name := range names {
			list = append(list, SnapshotFile{Name: name, Size: 3})
		}
		return list
	}
	many := func(n int) (list []SnapshotFile) {
		for i := range n {
			list = append(list, SnapshotFile{Name: fmt.Sprintf("%08d.sst", i)})
		}
		return list
	}
	for _, c := range []struct {
		name  string
		files []SnapshotFile
		want  error
	}{
		{"none", nil, nil},
		{"two in order", files("000001.sst", "MANIFEST-000002"), nil},
		{"as many as there may be", many(MaxSnapshotFiles), nil},
		{"one more", many(MaxSnapshotFiles + 1), ErrDamaged},
		{"one twice", files("000001.sst", "000001.sst"), ErrDamaged},
		{"out of order", files("b", "a"), ErrDamaged},
		{"without a name", files(""), ErrDamaged},
		{"in another directory", files("../x"), ErrDamaged},
		{"in a directory below", files("a/b"), ErrDamaged},
		{"with a backslash", files(`a\b`), ErrDamaged},
		{"with a zero byte", files("a\x00"), ErrDamaged},
		{"hidden", files(".x"), ErrDamaged},
		{"the directory above", files(".."), ErrDamaged},
		{"the header itself", files(SnapshotHeaderFile), ErrDamaged},
		{"as large as may be", []SnapshotFile{{Name: "a", Size: maxSnapshotSize}}, nil},
		{"a byte larger", []SnapshotFile{{Name: "a", Size: maxSnapshotSize}, {Name: "b", Size: 1}}, ErrDamaged},
		{"of a size below nothing", []SnapshotFile{{Name: "a", Size: 1 << 63}}, ErrDamaged},
		{"the store's lock", files("LOCK"), ErrDamaged},
	} {
		info := SnapshotInfo{Index: 7, Files: c.files}
		frame, err := info.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSnapshotInfo(frame); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

// A header of a later format, or a longer one than any, is refused with what to do.
func TestSnapshotHeaderOfAnotherBuild(t *testing.T) {
	msg, seg := schemas.NewMessage()
	header, err := schemas.NewRootSnapshotHeader(seg)
	if err != nil {
		t.Fatal(err)
	}
	header.SetFormatVersion(FormatVersion + 1)
	frame, err := msg.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSnapshotInfo(frame); !errors.Is(err, ErrFormatVersion) || !strings.Contains(fmt.Sprint(err), "update this node") {
		t.Errorf("format %d: got %v, want ErrFormatVersion and what to do", FormatVersion+1, err)
	}
	if _, err := ParseSnapshotInfo(make([]byte, MaxSnapshotHeader+1)); !errors.Is(err, ErrDamaged) || !strings.Contains(fmt.Sprint(err), "limit") {
		t.Errorf("a header of %d bytes: got %v, want that it is above the limit", MaxSnapshotHeader+1, err)
	}
}

// A snapshot directory whose files are not those of its header is damaged.
func TestSnapshotFilesAreThoseOfTheHeader(t *testing.T) {
	for _, c := range []struct {
		name, content string
		want          error
	}{
		{"as long as it says", "abc", nil}, {"shorter", "ab", ErrDamaged}, {"longer", "abcd", ErrDamaged}, {"not there", "", ErrDamaged},
	} {
		fs := vfs.NewMem()
		if err := fs.MkdirAll("s", 0o700); err != nil {
			t.Fatal(err)
		}
		if c.content != "" {
			file, err := fs.Create("s/000001.sst", vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.Write([]byte(c.content)); err != nil {
				t.Fatal(err)
			}
		}
		if err := WriteSnapshotInfo(fs, "s", SnapshotInfo{Files: []SnapshotFile{{Name: "000001.sst", Size: 3}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSnapshotInfo(fs, "s"); !errors.Is(err, c.want) {
			t.Errorf("a file that is %s: got %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := ReadSnapshotInfo(vfs.NewMem(), "nothing"); !errors.Is(err, ErrDamaged) {
		t.Errorf("no header: got %v, want ErrDamaged", err)
	}
}
