package keysource

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quicproquo/cluster/keyring"
	"quicproquo/crypto/tlsid"
)

func write(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func parse(t *testing.T, text string) Source {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// descriptor opens a file as a process inherits one.
func descriptor(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return fmt.Sprint(f.Fd())
}

// Every source gives the key that it was given, as bytes or as digits; what is no key is
// refused, and the words of a source that is misspelt say how to write one.
func TestSources(t *testing.T) {
	key := tlsid.ClusterKey(bytes.Repeat([]byte{7, 9}, 16))
	digits := []byte(hex.EncodeToString(key[:]) + "\n")
	dir := t.TempDir()
	write(t, dir, keyFile, key[:])
	path := write(t, dir, "digits", digits)
	for _, text := range []string{"", "file", "command:cat " + path, "fd:" + descriptor(t, path)} {
		if got, err := parse(t, text).Read(dir); err != nil || got != key {
			t.Errorf("%q gives %x, %v", text, got[:], err)
		}
	}
	for what, bytes := range map[string][]byte{
		"nothing": nil, "31 bytes": key[:31], "33 bytes": append(key[:], 1), "63 digits": digits[:63], "other letters": bytes.Repeat([]byte("g"), 64),
		"five thousand bytes": bytes.Repeat([]byte("a"), 5000),
	} {
		if _, err := parse(t, "command:cat "+write(t, dir, "bad", bytes)).Read(dir); !errors.Is(err, ErrSource) {
			t.Errorf("%s: %v, want %v", what, err, ErrSource)
		}
	}
	for text, words := range map[string]string{"command:false": "run false", "command:/no/such/program": "no such file", "fd:999": "bad file descriptor"} {
		if _, err := parse(t, text).Read(dir); !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", text, err, words)
		}
	}
	for _, text := range []string{"fd", "fd:", "fd:x", "fd:-1", "fd:70000", "command:", "command: ", "passphrase-file:", "env:KEY"} {
		if _, err := Parse(text); !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), "command:PROGRAM ARGS") {
			t.Errorf("%q: %v, want words that say how to write one", text, err)
		}
	}
}

// A new cluster's key is left where its source wants it: in the clear, sealed, or nowhere;
// and is read again from there.
func TestNewClusterKey(t *testing.T) {
	outside := t.TempDir()
	pass := write(t, outside, "pass", []byte("open sesame\nand more\n"))
	digits := write(t, outside, "digits", []byte(strings.Repeat("ab", 32)))
	for text, want := range map[string][]string{"": {keyFile}, "passphrase-file:" + pass: {sealedFile}, "command:cat " + digits: nil} {
		s, dir := parse(t, text), t.TempDir()
		key, err := s.New()
		if err != nil {
			t.Fatal(err)
		}
		leave, err := s.Writer(key)
		if err == nil {
			err = leave(dir)
		}
		if err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(found) != len(want) || len(want) == 1 && filepath.Base(found[0]) != want[0] {
			t.Errorf("%q leaves %v, want %v", text, found, want)
		}
		if got, err := s.Read(dir); err != nil || got != key {
			t.Errorf("%q gives another key afterwards: %v", text, err)
		}
		if !s.Sealed() {
			continue
		}
		if raw, err := os.ReadFile(found[0]); err != nil || bytes.Contains(raw, key[:]) {
			t.Errorf("the sealed key lies in the clear: %v", err)
		}
		wrong := parse(t, "passphrase-file:"+write(t, outside, "wrong", []byte("open sesame ")))
		if _, err := wrong.Read(dir); !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), "the passphrase is not the one") {
			t.Errorf("another passphrase: %v", err)
		}
		byFD := parse(t, "passphrase-fd:"+descriptor(t, pass))
		if got, err := byFD.Read(dir); err != nil || got != key {
			t.Errorf("by a file descriptor: %v", err)
		}
	}
	if _, err := parse(t, "passphrase-file:"+write(t, outside, "empty", []byte("\n"))).Writer(tlsid.ClusterKey{}); !errors.Is(err, ErrSource) {
		t.Errorf("an empty passphrase: %v", err)
	}
}

// Another key is left where the source finds it at the node's next start, under the same
// passphrase though that was read once; where only the operator can do that, nothing is
// kept, and the words say what to do, until he has.
func TestAnotherKeyIsKept(t *testing.T) {
	old, next := tlsid.ClusterKey{1}, tlsid.ClusterKey{2}
	outside := t.TempDir()
	pass := write(t, outside, "pass", []byte("open sesame\n"))
	for _, text := range []string{"", "passphrase-file:" + pass, "passphrase-fd:" + descriptor(t, pass)} {
		dir, s := t.TempDir(), parse(t, text)
		from := s
		if s.Sealed() {
			from = parse(t, "passphrase-file:"+pass)
		}
		leave, err := from.Writer(old)
		if err == nil {
			err = leave(dir)
		}
		if err != nil {
			t.Fatal(err)
		}
		key, keep, err := s.Open(dir)
		if err != nil || key != old {
			t.Fatalf("%q: %v", text, err)
		}
		if err := keep(next); err != nil {
			t.Errorf("%q keeps nothing: %v", text, err)
		}
		if got, err := from.Read(dir); err != nil || got != next {
			t.Errorf("%q gives another key at the next start: %v", text, err)
		}
	}
	path := write(t, outside, "digits", []byte(hex.EncodeToString(old[:])))
	for _, text := range []string{"command:cat " + path, "fd:" + descriptor(t, path)} {
		_, keep, err := parse(t, text).Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := keep(old); err != nil {
			t.Errorf("%q: the key that the source gives: %v", text, err)
		}
		if err := keep(next); !errors.Is(err, keyring.ErrElsewhere) || !strings.Contains(err.Error(), "put the new one where "+text) {
			t.Errorf("%q: %v, want %v and what to do", text, err, keyring.ErrElsewhere)
		}
	}
	_, keep, err := parse(t, "command:cat "+path).Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, outside, "digits", []byte(hex.EncodeToString(next[:])))
	if err := keep(next); err != nil {
		t.Errorf("once the command gives it: %v", err)
	}
}

// Whatever bytes stand for a sealed key: what was not sealed does not open. Only lengths
// and headers are tried cheaply; each opening costs 64 MiB.
func FuzzUnseal(f *testing.F) {
	key := tlsid.ClusterKey{1, 2, 3}
	sealed, err := seal(&key, []byte("pass"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:len(sealed)-1])
	f.Add([]byte(sealedMagic))
	f.Add(append([]byte("qpqk\x02"), sealed[len(sealedMagic):]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := unseal(b, []byte("pass"))
		switch {
		case bytes.Equal(b, sealed) && (err != nil || got != key):
			t.Errorf("what was sealed does not open: %v", err)
		case !bytes.Equal(b, sealed) && err == nil:
			t.Errorf("%x opens", b)
		case err != nil && !errors.Is(err, ErrSource):
			t.Errorf("%v is not %v", err, ErrSource)
		}
	})
}
