package datadir

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A directory that an earlier version has left open to other users is closed when it is
// opened, all of it; what its owner may do with a file stays.
func TestOpenClosesToOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for name, mode := range map[string]fs.FileMode{"store/000001.log": 0o644, "store/CURRENT": 0o666, "run": 0o755, "tls/node.key": 0o600} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	for name, want := range map[string]fs.FileMode{
		"": 0o700, "store": 0o700, "store/000001.log": 0o600, "store/CURRENT": 0o600, "run": 0o700, "tls/node.key": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}
