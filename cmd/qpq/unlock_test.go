package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/client/vault"
	"quicproquo/schemas"
)

// A secret is the first line and nothing of the second; an empty one, or one that is
// too long, is none.
func TestFirstLine(t *testing.T) {
	for _, c := range []struct {
		in, want string
		bad      bool
	}{
		{"open sesame\nsecond", "open sesame", false},
		{"dos\r\n", "dos", false},
		{"no end", "no end", false},
		{" spaces \n", " spaces ", false},
		{"", "", true},
		{"\n", "", true},
		{"\r\nx", "", true},
		{strings.Repeat("x", maxSecret-1) + "\n", strings.Repeat("x", maxSecret-1), false},
		{strings.Repeat("x", maxSecret) + "\n", "", true},
	} {
		r := strings.NewReader(c.in)
		got, err := firstLine(r)
		if (err != nil) != c.bad || string(got) != c.want {
			t.Errorf("%.20q: %.20q %v, expected %.20q", c.in, got, err, c.want)
		}
	}
	r := strings.NewReader("one\ntwo")
	if _, err := firstLine(r); err != nil || r.Len() != len("two") {
		t.Errorf("%d bytes of the rest are left, expected 3 (%v)", r.Len(), err)
	}
}

// A file of secrets that others can read is told of; without a terminal nobody is
// asked, and the error names the flag.
func TestSecret(t *testing.T) {
	var notes bytes.Buffer
	a := &app{notes: &notes}
	file := filepath.Join(t.TempDir(), "pass")
	for mode, noted := range map[os.FileMode]bool{0o600: false, 0o640: true, 0o604: true} {
		notes.Reset()
		if err := errors.Join(os.WriteFile(file, []byte("sesame\n"), 0o600), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
		got, err := a.secret("passphrase", "passphrase-file", file, false)
		if err != nil || string(got) != "sesame" || strings.Contains(notes.String(), "chmod 600") != noted {
			t.Errorf("mode %o: %q %v, noted %q", mode, got, err, notes.String())
		}
	}
	_, err := a.secret("passphrase", "passphrase-file", "", false)
	p := explain(err)
	if p.Code != "NO_TERMINAL" || p.Exit != exitUser || !strings.Contains(p.Hint, "--passphrase-file") && !strings.Contains(p.Message, "--passphrase-file") {
		t.Errorf("without a terminal: %+v", p)
	}
}

// Exit codes are a promise to scripts.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
		exit int
	}{
		{client.ErrUntrustedKey, "UNTRUSTED_KEY", 4},
		{conn.ErrUntrusted, "UNTRUSTED_SERVER", 4},
		{client.ErrNoServer, "NO_SERVER", 1},
		{vault.ErrBusy, "PROFILE_BUSY", 3},
		{vault.ErrCorrupt, "PROFILE_DAMAGED", 3},
		{vault.ErrWrongKey, "WRONG_PASSPHRASE", 1},
		{&conn.Error{Code: schemas.Code_rateLimited}, schemas.Code_rateLimited.ID(), 5},
		{&conn.Error{Code: schemas.Code_unavailable}, schemas.Code_unavailable.ID(), 3},
		{&conn.Error{Code: schemas.Code_lagging}, schemas.Code_lagging.ID(), 3},
		{&conn.Error{Code: schemas.Code_internal}, schemas.Code_internal.ID(), 2},
		{&conn.Error{Code: schemas.Code_accountNotFound}, schemas.Code_accountNotFound.ID(), 1},
		{usage("no"), "USAGE", 1},
		{&os.PathError{Err: errors.New("x")}, "FILE", 3},
		{errors.New("what"), "UNEXPECTED", 2},
	} {
		if p := explain(c.err); p.Code != c.code || p.Exit != c.exit {
			t.Errorf("%v: %s, exit %d; expected %s, %d", c.err, p.Code, p.Exit, c.code, c.exit)
		}
	}
	a := &app{notes: &bytes.Buffer{}}
	if got := a.exit(nil); got != 0 {
		t.Errorf("no error ends with %d", got)
	}
	if got := a.exit(errors.New("unknown flag")); got != exitUser {
		t.Errorf("before a command runs an error is the user's: exit %d, expected 1", got)
	}
}

// The same cause is told once, and a profile's name is no path.
func TestMessagesAndProfiles(t *testing.T) {
	if got := message(fmt.Errorf("%s", "a\nb\na\n\n")); got != "a\nb" {
		t.Errorf("%q, expected a and b", got)
	}
	for name, good := range map[string]bool{
		"default": true, "a b": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false,
		"": false, ".": false, "..": false, "a/b": false, "/": false, "../x": false, "a/": false,
	} {
		if err := checkProfile(name); (err == nil) != good {
			t.Errorf("profile %q: %v, expected it to be good: %v", name, err, good)
		}
	}
}

// A device is named by four digits of its id at least, and by no more than one fits.
func TestDeviceNamed(t *testing.T) {
	devices := []conn.Device{{ID: conn.DeviceID{0xab, 0xcd, 1}}, {ID: conn.DeviceID{0xab, 0xcd, 2}}, {ID: conn.DeviceID{0x12, 0x34}}}
	for prefix, want := range map[string]int{"abcd01": 0, "abcd02": 1, "1234": 2, "abcd": -1, "123": -1, "": -1, "ffff": -1, strings.Repeat("0", 200): -1} {
		got, err := deviceNamed(devices, prefix)
		if want < 0 != (err != nil) || want >= 0 && got != devices[want].ID {
			t.Errorf("%q: %x %v", prefix, got, err)
		}
	}
}
