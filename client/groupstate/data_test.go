package groupstate_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls/tree"
)

func adminKey(n int) (k [identity.KeySize]byte) {
	binary.BigEndian.PutUint32(k[:], uint32(n))
	return k
}

func adminKeys(n int) (list [][identity.KeySize]byte) {
	for i := range n {
		list = append(list, adminKey(i))
	}
	return list
}

func full() *groupstate.Data {
	return &groupstate.Data{
		Kind: groupstate.KindGroup, Title: "Überraschung 🎂", Admins: adminKeys(3), Expire: 90 * time.Second,
		Link: bytes.Repeat([]byte{5}, groupstate.LinkSecretSize),
	}
}

func parseData(b []byte) (*groupstate.Data, error) {
	return groupstate.DataOf(tree.Extensions{{Type: groupstate.ExtensionType, Data: b}})
}

// Data come back as they were written, at every limit too.
func TestDataRoundTrip(t *testing.T) {
	for name, d := range map[string]*groupstate.Data{
		"all":            full(),
		"a conversation": {Kind: groupstate.KindDM},
		"longest title":  {Kind: groupstate.KindGroup, Title: strings.Repeat("x", groupstate.MaxTitle)},
		"most admins":    {Kind: groupstate.KindGroup, Admins: adminKeys(groupstate.MaxAdmins)},
		"longest time":   {Kind: groupstate.KindGroup, Expire: (1<<32 - 1) * time.Second},
	} {
		got, err := parseData(codec.Marshal(d))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(codec.Marshal(got), codec.Marshal(d)) || got.Title != d.Title || got.Kind != d.Kind ||
			got.Expire != d.Expire || !slices.Equal(got.Admins, d.Admins) || !bytes.Equal(got.Link, d.Link) {
			t.Errorf("%s: got %+v, want %+v", name, got, d)
		}
	}
}

// Whatever a member may not say of a group is refused: what exceeds a limit by one, what
// has two encodings, what would not be text.
func TestDataRefused(t *testing.T) {
	change := func(f func(*groupstate.Data)) []byte {
		d := full()
		f(d)
		return codec.Marshal(d)
	}
	good := codec.Marshal(full())
	for name, b := range map[string][]byte{
		"nothing":              {},
		"version 0":            append([]byte{0}, good[1:]...),
		"kind 0":               change(func(d *groupstate.Data) { d.Kind = 0 }),
		"kind 3":               change(func(d *groupstate.Data) { d.Kind = groupstate.KindGroup + 1 }),
		"title too long":       change(func(d *groupstate.Data) { d.Title = strings.Repeat("x", groupstate.MaxTitle+1) }),
		"title not UTF-8":      change(func(d *groupstate.Data) { d.Title = "a\xffb" }),
		"title with newline":   change(func(d *groupstate.Data) { d.Title = "alice\nbob" }),
		"title with escape":    change(func(d *groupstate.Data) { d.Title = "\x1b[2J" }),
		"title with DEL":       change(func(d *groupstate.Data) { d.Title = "a\x7f" }),
		"title with C1":        change(func(d *groupstate.Data) { d.Title = "a\u009b" }),
		"too many admins":      change(func(d *groupstate.Data) { d.Admins = adminKeys(groupstate.MaxAdmins + 1) }),
		"an admin twice":       change(func(d *groupstate.Data) { d.Admins = append(d.Admins, d.Admins[2]) }),
		"admins out of order":  change(func(d *groupstate.Data) { slices.Reverse(d.Admins) }),
		"a link too short":     change(func(d *groupstate.Data) { d.Link = d.Link[1:] }),
		"a link too long":      change(func(d *groupstate.Data) { d.Link = append(d.Link, 0) }),
		"a link of one byte":   change(func(d *groupstate.Data) { d.Link = []byte{1} }),
		"an empty grant":       append(bytes.Clone(good), 0),
		"a grant too long":     change(func(d *groupstate.Data) { d.Grant = make([]byte, 1025) }),
		"a grant cut short":    append(bytes.Clone(good), 5, 1, 2),
		"an admin cut in half": {1, byte(groupstate.KindGroup), 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 0, 0, 0, 0},
	} {
		if d, err := parseData(b); !errors.Is(err, groupstate.ErrData) {
			t.Errorf("%s: got %+v, %v, want ErrData", name, d, err)
		}
	}
	for n := range good {
		if _, err := parseData(good[:n]); !errors.Is(err, groupstate.ErrData) {
			t.Errorf("cut to %d bytes: got %v, want ErrData", n, err)
		}
	}
	if _, err := groupstate.DataOf(tree.Extensions{{Type: groupstate.ExtensionType + 1, Data: good}}); !errors.Is(err, groupstate.ErrData) {
		t.Errorf("no data: got %v, want ErrData", err)
	}
}

// What a newer version has added is kept, with its version, when we change the rest.
func TestDataOfNewerVersion(t *testing.T) {
	newer := append(append(codec.Marshal(full()), 0), "from the future"...) // without a grant
	newer[0] = 7
	d, err := parseData(newer)
	if err != nil {
		t.Fatal(err)
	}
	if string(d.Rest) != "from the future" {
		t.Errorf("got %q, want the bytes of the newer version", d.Rest)
	}
	c := d.Clone()
	c.Title = "new"
	got := codec.Marshal(c)
	if got[0] != 7 || !bytes.HasSuffix(got, []byte("from the future")) {
		t.Errorf("got %x, want version 7 with its bytes", got)
	}
	if !bytes.Equal(codec.Marshal(d), newer) {
		t.Error("the data that were copied changed with the copy")
	}
}

// A copy shares nothing with what it was made of.
func TestClone(t *testing.T) {
	d := full()
	d.Rest = []byte{1}
	before := codec.Marshal(d)
	c := d.Clone()
	if !reflect.DeepEqual(c, d) {
		t.Errorf("got %+v, want %+v", c, d)
	}
	c.Admins[0][31], c.Link[0], c.Rest[0] = 1, 1, 9
	if !bytes.Equal(codec.Marshal(d), before) {
		t.Error("a change of the copy changed the original")
	}
}

// Admins stay in order and each once, whoever comes and goes.
func TestSetAdmin(t *testing.T) {
	d := &groupstate.Data{Kind: groupstate.KindGroup}
	for _, n := range []int{5, 1, 9, 5, 3} {
		d.SetAdmin(adminKey(n), true)
	}
	if want := [][identity.KeySize]byte{adminKey(1), adminKey(3), adminKey(5), adminKey(9)}; !slices.Equal(d.Admins, want) {
		t.Errorf("got %v, want 1, 3, 5, 9", d.Admins)
	}
	d.SetAdmin(adminKey(5), false)
	d.SetAdmin(adminKey(6), false)
	for n, want := range map[int]bool{1: true, 3: true, 5: false, 6: false, 9: true} {
		if d.Listed(adminKey(n)) != want {
			t.Errorf("admin %d: got %v, want %v", n, !want, want)
		}
	}
	if _, err := parseData(codec.Marshal(d)); err != nil {
		t.Error(err)
	}
}

// New data take the place of the former, and other extensions stay.
func TestExtensions(t *testing.T) {
	other := tree.Extension{Type: 0xF00F, Data: []byte{1}}
	first := (&groupstate.Data{Kind: groupstate.KindGroup, Title: "old"}).Extensions(tree.Extensions{other})
	second := (&groupstate.Data{Kind: groupstate.KindGroup, Title: "new"}).Extensions(first)
	if len(second) != 2 || !second[:1].Equal(tree.Extensions{other}) {
		t.Errorf("got %v, want the other extension and one of ours", second)
	}
	if d, err := groupstate.DataOf(second); err != nil || d.Title != "new" {
		t.Errorf("got %+v, %v, want the new title", d, err)
	}
	if d, err := groupstate.DataOf(first); err != nil || d.Title != "old" {
		t.Errorf("got %+v, %v: the former extensions changed", d, err)
	}
}

// What is read has exactly one encoding: what was read.
func FuzzData(f *testing.F) {
	f.Add(codec.Marshal(full()))
	f.Add(codec.Marshal(&groupstate.Data{Kind: groupstate.KindDM}))
	f.Add(append(codec.Marshal(full()), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseData(b)
		if err != nil {
			if !errors.Is(err, groupstate.ErrData) {
				t.Fatal(err)
			}
			return
		}
		if got := codec.Marshal(d); !bytes.Equal(got, b) {
			t.Errorf("%x comes back as %x", b, got)
		}
		if len(d.Title) > groupstate.MaxTitle || len(d.Admins) > groupstate.MaxAdmins || strings.ContainsAny(d.Title, "\n\r\x1b\x00") {
			t.Errorf("%x exceeds a limit", b)
		}
		if !slices.IsSortedFunc(d.Admins, func(a, b [identity.KeySize]byte) int { return bytes.Compare(a[:], b[:]) }) {
			t.Errorf("%x has admins out of order", b)
		}
	})
}
