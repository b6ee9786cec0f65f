package account

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/bytemare/opaque"
)

// The caller's password is overwritten by the start, whether it succeeds or not.
func TestPasswordsAreOverwritten(t *testing.T) {
	for _, c := range []struct {
		name     Username
		password []byte
		want     error
	}{
		{name(t, "alice"), []byte("correct horse"), nil},
		{Username{}, []byte("correct horse"), ErrUsername},
		{name(t, "alice"), bytes.Repeat([]byte("x"), MaxPassword+1), ErrPassword},
		{name(t, "alice"), nil, ErrPassword},
	} {
		for what, start := range map[string]func([]byte) error{
			"registration": func(b []byte) error { _, _, err := StartRegistration(c.name, b); return err },
			"login":        func(b []byte) error { _, _, err := StartLogin(c.name, b); return err },
		} {
			password := bytes.Clone(c.password)
			if err := start(password); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", what, err, c.want)
			}
			if !allZero(password) {
				t.Errorf("%s: the password is still there", what)
			}
		}
	}
}

// The same password typed with composed and decomposed letters logs in; other
// bytes than UTF-8 are a password as they are.
func TestPasswordsAreNormalized(t *testing.T) {
	// NFC and no other form: other clients have to agree.
	equal(t, "the normal form", normalize([]byte("cafe\u0301")), []byte("caf\u00e9"))
	s := cluster(t, NewSetup(), 1)[0]
	for _, c := range []struct{ registered, typed string }{
		{"caf\u00e9", "cafe\u0301"},
		{"\xff\xfe", "\xff\xfe"},
	} {
		record, _ := register(t, s, "alice", c.registered)
		if _, err := begin(t, s, "alice", c.typed, record, start); err != nil {
			t.Errorf("registered with %q, typed %q: %v", c.registered, c.typed, err)
		}
	}
}

// Answers of a server that are damaged in any byte give an error, never keys:
// the run is over and the password gone.
func TestClientRefusesBadAnswers(t *testing.T) {
	s := cluster(t, NewSetup(), 1)[0]
	record, _ := register(t, s, "alice", "pw")
	for _, c := range []struct {
		what   string
		damage func(response []byte) []byte
		want   error
	}{
		{"empty", func([]byte) []byte { return nil }, ErrMessage},
		{"long", func(b []byte) []byte { return append(b, 0) }, ErrMessage},
		{"evaluation", func(b []byte) []byte { return overwrite(b, 0, make([]byte, 32)) }, ErrMessage},
		{"masking nonce", func(b []byte) []byte { b[40] ^= 1; return b }, ErrLoginFailed},
		{"server key", func(b []byte) []byte { b[70] ^= 1; return b }, ErrLoginFailed},
		{"envelope", func(b []byte) []byte { b[120] ^= 1; return b }, ErrLoginFailed},
		{"server nonce", func(b []byte) []byte { b[200] ^= 1; return b }, ErrLoginFailed},
		{"server mac", func(b []byte) []byte { b[319] ^= 1; return b }, ErrLoginFailed},
	} {
		a, request, err := StartLogin(name(t, "alice"), []byte("pw"))
		if err != nil {
			t.Fatal(err)
		}
		response, _, err := s.LoginStart(name(t, "alice"), record, request, start)
		if err != nil {
			t.Fatal(err)
		}
		finalization, session, export, err := a.Finish(c.damage(response))
		if !errors.Is(err, c.want) || finalization != nil || session != (Key{}) || export != (Key{}) {
			t.Errorf("%s: got %v and %d bytes, want %v and none", c.what, err, len(finalization), c.want)
		}
		if _, _, _, err := a.Finish(response); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: a run that is over gives %v, want %v", c.what, err, ErrMessage)
		}
	}
}

// A client that talks in another context than the server is refused: the
// negative control of every test that logs in.
func TestContextsAreApart(t *testing.T) {
	s := cluster(t, NewSetup(), 1)[0]
	record, _ := register(t, s, "alice", "pw")
	a, request, err := startLogin(name(t, "alice"), []byte("pw"), "qpq/opaque/v0")
	if err != nil {
		t.Fatal(err)
	}
	response, _, err := s.LoginStart(name(t, "alice"), record, request, start)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := a.Finish(response); !errors.Is(err, ErrLoginFailed) {
		t.Errorf("another context: got %v, want %v", err, ErrLoginFailed)
	}
}

// A panic of the library becomes an error, and its text, which may hold the
// password, stays inside.
func TestLibraryPanicsAreErrors(t *testing.T) {
	r := &run{client: &opaque.Client{}}
	for what, step := range map[string]func(*opaque.Client) error{
		"a panic that tells": func(*opaque.Client) error { panic("the password is hunter2") },
		"a nil pointer": func(c *opaque.Client) error {
			_, err := c.Deserialize.KE2(make([]byte, LoginResponseSize))
			return err
		},
		"nil options": func(*opaque.Client) error {
			c := must(opaque.NewClient(configuration(Context)))(t)
			must(c.RegistrationInit([]byte("pw")))(t)
			_, _, err := c.RegistrationFinalize(nil, nil, nil, nil)
			return err
		},
	} {
		err := r.guard(step)
		if !errors.Is(err, ErrMessage) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %v and nothing of the panic", what, err, ErrMessage)
		}
	}
}
