package groupstate_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"quicproquo/client/groupstate"
)

func linkOf(groupID int) groupstate.Link {
	return groupstate.Link{GroupID: bytes.Repeat([]byte{1}, groupID), Secret: bytes.Repeat([]byte{2}, groupstate.LinkSecretSize)}
}

// A link comes back as it was, with blanks around it too; the shortest and the longest
// group ids are taken.
func TestLinkRoundTrip(t *testing.T) {
	for _, n := range []int{16, 32, 64} {
		want := linkOf(n)
		for _, text := range []string{want.String(), "  " + want.String() + "\n"} {
			got, err := groupstate.ParseLink(text)
			if err != nil || !bytes.Equal(got.GroupID, want.GroupID) || !bytes.Equal(got.Secret, want.Secret) {
				t.Errorf("%q: got %v, %v", text, got, err)
			}
		}
	}
}

// Whatever is not exactly a link is refused, and the error says nothing of the secret.
func TestLinkRefused(t *testing.T) {
	encode := func(b ...byte) string { return "qpq:group/" + base64.RawURLEncoding.EncodeToString(b) }
	good := linkOf(32).String()
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(good, "qpq:group/"))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		"nothing":              "",
		"prefix alone":         "qpq:group/",
		"another prefix":       strings.Replace(good, "group", "user", 1),
		"group id of 15 bytes": linkOf(15).String(),
		"group id of 65 bytes": linkOf(65).String(),
		"a byte too many":      encode(append(bytes.Clone(raw), 0)...),
		"version 0":            encode(append([]byte{0}, raw[1:]...)...),
		"version 2":            encode(append([]byte{2}, raw[1:]...)...),
		"padding":              good + "=",
		"another alphabet":     good[:len(good)-1] + "+",
		"far too long":         "qpq:group/" + strings.Repeat("A", 257),
		"unused bits set":      unusedBits(linkOf(16).String()),
	}
	for n := range raw {
		cases["cut short"] = encode(raw[:n]...)
		for name, text := range cases {
			l, err := groupstate.ParseLink(text)
			if !errors.Is(err, groupstate.ErrLink) || l.GroupID != nil || l.Secret != nil {
				t.Fatalf("%s, %d: got %v, %v, want nothing and ErrLink", name, n, l, err)
			}
			if len(text) > 40 && strings.Contains(err.Error(), text[20:40]) {
				t.Errorf("%s: the error quotes from the link", name)
			}
		}
	}
}

// unusedBits sets the bits of the last letter that say nothing: another text for the
// same bytes.
func unusedBits(text string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	at := strings.IndexByte(letters, text[len(text)-1])
	return text[:len(text)-1] + letters[at|1:at|1+1]
}

// Every new secret is another one, of the right size.
func TestNewLinkSecret(t *testing.T) {
	seen := map[string]bool{}
	for range 8 {
		secret, err := groupstate.NewLinkSecret()
		if err != nil || len(secret) != groupstate.LinkSecretSize || seen[string(secret)] {
			t.Fatalf("got %x, %v, want %d new bytes", secret, err, groupstate.LinkSecretSize)
		}
		seen[string(secret)] = true
	}
}

// What is read as a link is what a link writes, but for white space.
func FuzzLink(f *testing.F) {
	f.Add(linkOf(16).String())
	f.Add(" " + linkOf(64).String() + "\r\n")
	f.Add("qpq:group/AQ")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := groupstate.ParseLink(text)
		if err != nil {
			if !errors.Is(err, groupstate.ErrLink) {
				t.Fatal(err)
			}
			return
		}
		bare := strings.Map(func(r rune) rune {
			if r == '\r' || r == '\n' {
				return -1
			}
			return r
		}, strings.TrimSpace(text))
		if l.String() != bare {
			t.Errorf("%q comes back as %q", text, l.String())
		}
	})
}

// The way into a group opens with the group's link as it is now: not with another
// group's, not with one that was replaced, and with none where there is none.
func TestReturnByLink(t *testing.T) {
	t.Parallel()
	alice := newDevice(t, "alice")
	alice.found("friends of this test", groupstate.KindGroup, "friends")
	link := func() groupstate.Link {
		secret, err := groupstate.NewLinkSecret()
		if err != nil {
			t.Fatal(err)
		}
		return groupstate.Link{GroupID: alice.group.ID(), Secret: secret}
	}
	now := link()
	sealed := func(secret []byte) []byte {
		b, err := groupstate.SealReturn(alice.group, alice.known, secret, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if back, err := groupstate.OpenReturnByLink(now, sealed(now.Secret)); err != nil || back.Epoch != alice.group.Epoch() {
		t.Errorf("the link opens %+v (%v), want the present epoch", back, err)
	}
	other := groupstate.Link{GroupID: []byte("a group of somebody else"), Secret: now.Secret}
	for name, scene := range map[string]struct {
		link   groupstate.Link
		secret []byte
	}{
		"another group's": {other, now.Secret},
		"a replaced one":  {link(), now.Secret},
		"where is none":   {now, nil},
	} {
		if back, err := groupstate.OpenReturnByLink(scene.link, sealed(scene.secret)); !errors.Is(err, groupstate.ErrLink) {
			t.Errorf("%s: opens %+v (%v), want ErrLink", name, back, err)
		}
	}
}
