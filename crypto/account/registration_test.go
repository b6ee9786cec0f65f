package account

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// The handshake of a registration opens on every node, also after a rotation, for its name
// and its minute, and no bit of it can be changed; that of a login is none, and the other
// way round.
func TestRegistrationHandshake(t *testing.T) {
	setup := NewSetup()
	s, rotated, other := must(NewServer(setup))(t), must(NewServer(setup.Rotate()))(t), must(NewServer(NewSetup()))(t)
	sealed := must(s.SealRegistration(name(t, "alice"), start))(t)
	if len(sealed) != RegistrationHandshakeSize {
		t.Errorf("it has %d bytes, want %d", len(sealed), RegistrationHandshakeSize)
	}
	first := must(s.OpenRegistration(name(t, "ALICE"), sealed, start))(t)
	if second := must(rotated.OpenRegistration(name(t, "alice"), sealed, start))(t); second != first || !first.Expires.Equal(start.Add(HandshakeLifetime)) {
		t.Errorf("two nodes read %v and %v; want the same, for a minute", first, second)
	}
	if again := must(s.OpenRegistration(name(t, "alice"), must(s.SealRegistration(name(t, "alice"), start))(t), start))(t); again.ID == first.ID {
		t.Error("two responses have the same id")
	}
	refused := func(what string, by *Server, who string, sealed []byte, now time.Time) {
		t.Helper()
		if _, err := by.OpenRegistration(name(t, who), sealed, now); !errors.Is(err, ErrNoPendingLogin) {
			t.Errorf("%s: %v, want %v", what, err, ErrNoPendingLogin)
		}
	}
	refused("another name's", s, "bob", sealed, start)
	refused("another cluster's", other, "alice", sealed, start)
	refused("after its minute", s, "alice", sealed, start.Add(HandshakeLifetime))
	refused("of tomorrow", s, "alice", sealed, start.Add(-24*time.Hour))
	refused("one byte more", s, "alice", append(bytes.Clone(sealed), 0), start)
	for i := range sealed {
		wrong := bytes.Clone(sealed)
		wrong[i] ^= 1
		refused(fmt.Sprintf("byte %d changed", i), s, "alice", wrong, start)
		refused(fmt.Sprintf("cut to %d bytes", i), s, "alice", sealed[:i], start)
	}
	if _, err := s.LoginFinish(name(t, "alice"), make([]byte, FinalizationSize), sealed, start); !errors.Is(err, ErrNoPendingLogin) {
		t.Errorf("as a login's: %v", err)
	}
}

// A token has one text, which people may write in capitals and with space around; what was
// not copied whole is none, and it prints nowhere by accident.
func TestInviteText(t *testing.T) {
	i := NewInvite()
	if j := NewInvite(); i == j || i.Hash() == j.Hash() {
		t.Error("two tokens are the same")
	}
	for _, text := range []string{i.Text(), strings.ToUpper(i.Text()), "  " + i.Text() + "\n"} {
		if got, err := ParseInvite(text); err != nil || got != i {
			t.Errorf("%q is read as %x, %v", text, got[:], err)
		}
	}
	for _, text := range []string{"", i.Text()[1:], i.Text() + "a", i.Text()[:25] + "1", i.Text()[:25] + "b", strings.Repeat("é", 13)} {
		if _, err := ParseInvite(text); !errors.Is(err, ErrInvite) {
			t.Errorf("%q: %v, want %v", text, err, ErrInvite)
		}
	}
	if printed := fmt.Sprintf("%v %s %x %+v", i, i, i, struct{ I Invite }{i}); strings.Contains(printed, i.Text()) || strings.Contains(printed, fmt.Sprintf("%x", i[:])) {
		t.Errorf("it prints as %s", printed)
	}
}

func FuzzOpenRegistration(f *testing.F) {
	setup := NewSetup()
	s, err := NewServer(setup)
	if err != nil {
		f.Fatal(err)
	}
	who, err := ParseUsername("alice")
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := s.SealRegistration(who, start)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(append([]byte{handshakeFormat}, sealed[1:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := s.OpenRegistration(who, b, start); err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("%x opens", b)
		} else if err != nil {
			wantError(t, err, ErrNoPendingLogin)
		}
	})
}

func FuzzParseInvite(f *testing.F) {
	f.Add("aaaaaaaaaaaaaaaaaaaaaaaaaa")
	f.Add(NewInvite().Text())
	f.Add("aaaaaaaaaaaaaaaaaaaaaaaaab")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := ParseInvite(text)
		if err != nil {
			wantError(t, err, ErrInvite)
			return
		}
		if i.Text() != strings.ToLower(strings.TrimSpace(text)) {
			t.Errorf("%q is read as %s", text, i.Text())
		}
	})
}
