package keyring

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"quicproquo/crypto/tlsid"
)

func keyOf(b byte) tlsid.ClusterKey { return tlsid.ClusterKey(bytes.Repeat([]byte{b}, 32)) }

func opened(t *testing.T, dir string, key tlsid.ClusterKey, keep Keep) *Ring {
	t.Helper()
	r, err := Open(dir, key, keep)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A key that a ring holds is there after a crash, whichever of its keys the node is given
// then; no key lies in the clear; when the rotation is over, the old one is nowhere.
func TestRingOverCrashes(t *testing.T) {
	t.Parallel()
	dir, old, next := t.TempDir(), keyOf(1), keyOf(2)
	kept := old
	keep := func(key tlsid.ClusterKey) error { kept = key; return nil }
	r := opened(t, dir, old, keep)
	if err := r.Hold(next); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, fileName)
	raw, err := os.ReadFile(file)
	if err != nil || bytes.Contains(raw, old[:]) || bytes.Contains(raw, next[:]) {
		t.Errorf("the keys lie in the clear: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, given := range []tlsid.ClusterKey{old, next} {
		keys := opened(t, dir, given, keep).Keys()
		if len(keys) != 2 || keys[0] != given || !slices.Contains(keys, old) || !slices.Contains(keys, next) {
			t.Errorf("started with key %d: %d keys, the first %d", given[0], len(keys), keys[0][0])
		}
	}
	if _, err := Open(dir, keyOf(3), keep); !errors.Is(err, ErrFile) {
		t.Errorf("started with another key: %v, want %v", err, ErrFile)
	}
	if err := r.Settle(IDOf(next)); err != nil || kept != next || !r.Settled(IDOf(next)) {
		t.Errorf("settle: %v, kept %d", err, kept[0])
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if err := r.Settle(IDOf(old)); err == nil {
		t.Error("a key that is gone is put in force")
	}
}

// Where only the operator can change what a node is given, it keeps both keys, and
// comes back with both, until that has happened; others go.
func TestRingWhoseKeyComesFromElsewhere(t *testing.T) {
	t.Parallel()
	dir, given, next := t.TempDir(), keyOf(1), keyOf(2)
	keep := func(key tlsid.ClusterKey) error {
		if key != given {
			return ErrElsewhere
		}
		return nil
	}
	r := opened(t, dir, given, keep)
	if err := errors.Join(r.Hold(keyOf(7)), r.Hold(next)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Settle(IDOf(next)); !errors.Is(err, ErrElsewhere) || r.Settled(IDOf(next)) {
			t.Errorf("settle: %v, want %v", err, ErrElsewhere)
		}
	}
	if r = opened(t, dir, given, keep); len(r.Keys()) != 2 || r.Keys()[0] != given || r.Keys()[1] != next {
		t.Errorf("after a restart there are %v", r.IDs())
	}
	given = next
	r = opened(t, dir, given, keep)
	if err := r.Settle(IDOf(next)); err != nil || !r.Settled(IDOf(next)) {
		t.Errorf("once the source gives the new key: %v, %v", err, r.IDs())
	}
	if len(opened(t, dir, next, nil).Keys()) != 1 {
		t.Error("the old key is still there")
	}
	if err := opened(t, t.TempDir(), next, nil).Settle(IDOf(next)); !errors.Is(err, ErrElsewhere) {
		t.Errorf("a ring that can keep nothing: %v", err)
	}
}

// However many keys are offered, the ring stays small, and what is needed stays in it.
func TestRingIsBounded(t *testing.T) {
	t.Parallel()
	r := opened(t, t.TempDir(), keyOf(1), nil)
	if err := r.Hold(keyOf(2)); err != nil {
		t.Fatal(err)
	}
	for b := byte(3); b < 40; b++ {
		if err := r.Hold(keyOf(b), IDOf(keyOf(2))); err != nil {
			t.Fatal(err)
		}
	}
	want := []ID{IDOf(keyOf(1)), IDOf(keyOf(2)), IDOf(keyOf(36)), IDOf(keyOf(37)), IDOf(keyOf(38)), IDOf(keyOf(39))}
	if got := r.IDs(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Whatever bytes stand for the file: what was not sealed does not open, and what opens is
// what was sealed.
func FuzzFile(f *testing.F) {
	keys := []tlsid.ClusterKey{keyOf(1), keyOf(2), keyOf(3)}
	sealed := seal(keys)
	f.Add(sealed)
	f.Add(sealed[:len(sealed)-1])
	f.Add([]byte(fileMagic))
	f.Add([]byte(fileMagic + "\x00"))
	f.Add([]byte(fileMagic + "\xff"))
	f.Add(append([]byte(fileMagic+"\x02"), sealed[fileHeader:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := open(b, keys[1])
		switch {
		case err != nil && !errors.Is(err, ErrFile):
			t.Errorf("%v is not %v", err, ErrFile)
		case bytes.Equal(b, sealed) && (err != nil || !slices.Equal(got, []tlsid.ClusterKey{keys[1], keys[0], keys[2]})):
			t.Errorf("what was sealed does not open: %v", err)
		case err == nil && len(b) != len(sealed):
			t.Errorf("%x opens", b)
		}
	})
}

// A record is read as it was written, in one form only.
func FuzzRecord(f *testing.F) {
	for _, r := range []Record{{}, {InForce: true, From: IDOf(keyOf(1)), To: IDOf(keyOf(2))}} {
		f.Add(r.Encode())
	}
	f.Add([]byte(recordMagic + "\x02" + string(make([]byte, 2*IDSize))))
	f.Add([]byte(recordMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err == nil && !bytes.Equal(r.Encode(), b) {
			t.Errorf("%x is read as %+v", b, r)
		}
		if err != nil && !errors.Is(err, ErrRecord) {
			t.Errorf("%v is not %v", err, ErrRecord)
		}
	})
}
