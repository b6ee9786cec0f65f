package datadir

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// What a directory says of its node is there after a power cut from the moment when the
// call that wrote it has returned: the directory itself, its format, whose it is, that
// the node was a member, and what it remembers. At any other moment each file is whole
// or as it was before.
func TestPowerCuts(t *testing.T) {
	const path = "var/lib/qpqd"
	mem := vfs.NewCrashableMem()
	mustMakeDir(t, mem, "var")
	rng := rand.New(rand.NewPCG(1, 2))
	said := map[string]string{} // what has been said to be written, by subject
	cuts := 0
	d := &Dir{path: path, fs: errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			cuts++
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
			isWhole(t, &Dir{path: path, fs: clone}, fmt.Sprint("in the middle, before ", op.Kind), said)
		}
		return nil
	}))}
	for _, step := range []struct {
		name string
		do   func() error
		then func()
	}{
		{"make", func() error { return d.create() }, func() { said["directory"] = "yes" }},
		{"prepare", d.prepare, func() { said["format"] = "1" }},
		{"own", func() error { return d.Own("n1 of a cluster") }, func() { said["owner"] = "n1 of a cluster" }},
		{"member", d.NoteMember, func() { said["member"] = "yes" }},
		{"peers", func() error { return d.WritePeers([]byte("first")) }, func() { said["peers"] = "first" }},
		{"peers again", func() error { return d.WritePeers([]byte("second, longer")) }, func() { said["peers"] = "second, longer" }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		step.then()
		clone := mem.CrashClone(vfs.CrashCloneCfg{})
		isWhole(t, &Dir{path: path, fs: clone}, "after "+step.name, said)
	}
	if cuts < 20 {
		t.Errorf("%d power cuts prove little", cuts)
	}
}

func mustMakeDir(t *testing.T, mem *vfs.MemFS, name string) {
	t.Helper()
	if err := mem.MkdirAll(name, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := mem.OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Sync(); err != nil {
		t.Fatal(err)
	}
}

// isWhole holds a directory after a power cut against what had been said to be written.
// What was not said yet may be there too.
func isWhole(t *testing.T, d *Dir, when string, said map[string]string) {
	t.Helper()
	if _, err := d.fs.Stat(d.path); err != nil {
		if said["directory"] != "" {
			t.Errorf("%s: the directory is gone: %v", when, err)
		}
		return
	}
	got := map[string]string{}
	raw, err := d.read(d.path + "/" + formatFile)
	if err == nil {
		if err := d.checkFormat(); err != nil {
			t.Errorf("%s: format %q: %v", when, raw, err)
		}
		got["format"] = "1"
	}
	if owner, err := d.read(d.path + "/" + ownerFile); err == nil {
		if err := d.Own("n1 of a cluster"); err != nil {
			t.Errorf("%s: owner %q: %v", when, owner, err)
		}
		got["owner"] = "n1 of a cluster"
	}
	if was, err := d.WasMember(); err != nil {
		t.Errorf("%s: %v", when, err)
	} else if was {
		got["member"] = "yes"
	}
	peers, err := d.Peers()
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	got["peers"] = string(peers)
	if p := string(peers); p != "" && p != "first" && p != "second, longer" {
		t.Errorf("%s: peers are %q, which nobody wrote", when, p)
	}
	for _, subject := range []string{"format", "owner", "member"} {
		if said[subject] != "" && got[subject] != said[subject] {
			t.Errorf("%s: %s is %q, want %q", when, subject, got[subject], said[subject])
		}
	}
	if said["peers"] != "" && got["peers"] != said["peers"] && got["peers"] != "second, longer" {
		t.Errorf("%s: peers are %q, want at least %q", when, got["peers"], said["peers"])
	}
	for _, part := range []string{d.Raft(), d.Store(), d.Snapshots(), d.Keys()} {
		if _, err := d.fs.Stat(part); err != nil && said["format"] != "" {
			t.Errorf("%s: %v", when, err)
		}
	}
}
