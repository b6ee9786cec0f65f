package content_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"
	"github.com/google/go-cmp/cmp"

	"quicproquo/client/content"
	"quicproquo/schemas"
)

var (
	someID = content.ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	other  = content.ID{0xff, 15: 0xee}
	when   = time.UnixMilli(1796000000123)
)

// bodies has one of each kind.
func bodies() []content.Body {
	return []content.Body{
		content.Text{Text: "hello, 世界 👩‍👩‍👧\n\tnext line\x1b[31m"},
		content.Reply{To: other, Text: "yes"},
		content.Reaction{To: other, Emoji: "👍🏽", Remove: true},
		content.Edit{To: other, Text: "what I meant"},
		content.Delete{To: other},
		content.Receipt{Kind: content.Read, IDs: []content.ID{someID, other}},
		content.Typing{Active: true},
		content.GroupInfo{Title: "friends"},
		content.Timer{After: time.Hour},
		content.Rejoined{Epoch: 1 << 40, Authenticator: bytes.Repeat([]byte{7}, 32)},
		content.Unreadable{Envelopes: []content.ID{{1}, {2}}},
	}
}

func message(b content.Body) content.Message {
	return content.Message{ID: someID, Sent: when, ExpireAfter: 90 * time.Second, Body: b}
}

func encode(t testing.TB, m content.Message) []byte {
	t.Helper()
	b, err := content.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every kind decodes to what was encoded, and the tests have one of every kind.
func TestRoundTrip(t *testing.T) {
	for i, body := range bodies() {
		if kind := content.KindOf(body); int(kind) != i {
			t.Errorf("%v stands at %d: no kind may be missing", kind, i)
		}
		for _, m := range []content.Message{message(body), {ID: other, Sent: time.UnixMilli(0), Body: body}} {
			got, err := content.Decode(encode(t, m))
			if err != nil {
				t.Fatalf("%v: %v", content.KindOf(body), err)
			}
			if diff := cmp.Diff(m, got); diff != "" {
				t.Errorf("%v: %s", content.KindOf(body), diff)
			}
		}
	}
	if next := content.Kind(len(bodies())); !strings.HasPrefix(next.String(), "kind ") {
		t.Errorf("%v is not tested", next)
	}
}

// Zero values of flags, and times finer than milliseconds, survive as documented.
func TestRoundTripOfZeroes(t *testing.T) {
	for _, body := range []content.Body{
		content.Typing{},
		content.Timer{},
		content.Reaction{To: content.ID{}, Emoji: "+"},
		content.Rejoined{Authenticator: []byte{0}},
		content.Text{Text: "\x00"},
		content.Text{Text: "12345678"},
	} {
		m := content.Message{Sent: when.Add(999 * time.Microsecond), Body: body}
		got, err := content.Decode(encode(t, m))
		m.Sent = when
		if diff := cmp.Diff(m, got); err != nil || diff != "" {
			t.Errorf("%v: %v %s", content.KindOf(body), err, diff)
		}
	}
}

// What was decoded shares no memory with its bytes.
func TestDecodedOwnsItsMemory(t *testing.T) {
	for _, body := range append(bodies(), content.Body(nil)) {
		frame := newer(t, 1, 40, false)
		if body != nil {
			frame = encode(t, message(body))
		}
		got, err := content.Decode(frame)
		if err != nil {
			t.Fatal(err)
		}
		again := encode(t, got)
		clear(frame)
		if !bytes.Equal(encode(t, got), again) {
			t.Errorf("%v changed with the bytes it came from", content.KindOf(got.Body))
		}
	}
}

// newer returns a message as a client of a later schema writes it: with a union of
// more kinds, and fields after those that are known here.
func newer(t testing.TB, version, tag uint16, silent bool) []byte {
	t.Helper()
	_, seg := schemas.NewMessage()
	root, err := capnp.NewRootStruct(seg, capnp.ObjectSize{DataSize: 40, PointerCount: 4})
	if err != nil {
		t.Fatal(err)
	}
	root.SetUint16(0, version)
	root.SetBit(16, silent)
	root.SetUint64(8, uint64(when.UnixMilli()))
	root.SetUint16(tagAt, tag)
	root.SetUint64(32, 0xfeed)
	must(t, root.SetData(0, someID[:]))
	body, err := capnp.NewStruct(seg, capnp.ObjectSize{DataSize: 8, PointerCount: 2})
	must(t, err)
	body.SetUint64(0, 7)
	must(t, body.SetText(0, "a kind to come"))
	must(t, root.SetPtr(1, body.ToPtr()))
	must(t, root.SetText(3, "a field to come"))
	return frame(t, root)
}

// tagAt is where the union's tag is among the data of Content, in bytes.
const tagAt = 4

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func frame(t testing.TB, root capnp.Struct) []byte {
	t.Helper()
	segment, err := capnp.Canonicalize(root)
	must(t, err)
	head := binary.LittleEndian.AppendUint32(make([]byte, 4), uint32(len(segment)/8))
	return append(head, segment...)
}

// A message of a kind that only newer clients know keeps its bytes, and encodes to
// the same; one of a newer version, too, whatever its kind.
func TestUnknownKindsAreKept(t *testing.T) {
	for _, c := range []struct {
		version, tag uint16
		silent       bool
	}{{1, 11, false}, {1, 11, true}, {1, 65535, false}, {2, 0, false}, {2, 11, true}, {65535, 3, false}} {
		raw := newer(t, c.version, c.tag, c.silent)
		m, err := content.Decode(raw)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		want := content.Message{ID: someID, Sent: when, Body: content.Unknown{
			Version: c.version, Tag: c.tag, Silent: c.silent, Raw: raw,
		}}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Errorf("%+v: %s", c, diff)
		}
		if got := encode(t, m); !bytes.Equal(got, raw) {
			t.Errorf("%+v: encodes to other bytes", c)
		}
		m.ID = other
		if _, err := content.Encode(m); err == nil {
			t.Errorf("%+v: encoded under an id that its bytes don't have", c)
		}
	}
}

// Fields that a newer schema adds to a known kind are ignored.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	m, err := content.Decode(newer(t, 1, uint16(content.KindText), false))
	want := content.Message{ID: someID, Sent: when, Body: content.Text{Text: "a kind to come"}}
	if diff := cmp.Diff(want, m); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// Messages of people show up where their kind is unknown; messages of programs don't.
func TestOnlyWhatPeopleSayIsShownToOlderClients(t *testing.T) {
	for _, body := range bodies() {
		raw := encode(t, message(body))
		raw[16]++ // the version
		m, err := content.Decode(raw)
		must(t, err)
		spoken := content.KindOf(body) == content.KindText || content.KindOf(body) == content.KindReply
		if u, ok := m.Body.(content.Unknown); !ok || u.Silent == spoken {
			t.Errorf("%v of a newer version: %+v", content.KindOf(body), m.Body)
		}
	}
}

// A message is accepted at each limit and refused one beyond, on both sides.
func TestLimits(t *testing.T) {
	text := strings.Repeat("x", content.MaxText)
	ids := make([]content.ID, content.MaxReceiptIDs)
	for _, c := range []struct{ at, over content.Body }{
		{content.Text{Text: text}, content.Text{Text: text + "x"}},
		{content.Reply{Text: text}, content.Reply{Text: text + "x"}},
		{content.Edit{Text: text}, content.Edit{Text: text + "x"}},
		{content.Reaction{Emoji: text[:64]}, content.Reaction{Emoji: text[:65]}},
		{content.GroupInfo{Title: text[:256]}, content.GroupInfo{Title: text[:257]}},
		{content.Receipt{Kind: 1, IDs: ids}, content.Receipt{Kind: 1, IDs: append(ids, someID)}},
		{content.Timer{After: content.MaxTimer}, content.Timer{After: content.MaxTimer + 1}},
		{content.Timer{After: time.Millisecond}, content.Timer{After: -time.Second}},
		{content.Timer{}, content.Timer{After: time.Microsecond}},
		{content.Rejoined{Authenticator: ids[0][:]}, content.Rejoined{Authenticator: make([]byte, 65)}},
		{content.Unreadable{Envelopes: make([]content.ID, 64)}, content.Unreadable{Envelopes: make([]content.ID, 65)}},
	} {
		frame := encode(t, message(c.at))
		if m, err := content.Decode(frame); err != nil || !cmp.Equal(m.Body, c.at) {
			t.Errorf("%v at its limit: %v", content.KindOf(c.at), err)
		}
		if _, err := content.Encode(message(c.over)); !errors.Is(err, content.ErrLimit) {
			t.Errorf("%v over its limit is encoded: %v", content.KindOf(c.over), err)
		}
	}
	far := message(content.Typing{})
	far.Sent = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := content.Encode(far); !errors.Is(err, content.ErrLimit) {
		t.Errorf("sent in the year 10000: %v", err)
	}
	if _, err := content.Decode(make([]byte, content.MaxMessage+8)); !errors.Is(err, content.ErrLimit) {
		t.Errorf("a frame over MaxMessage: %v", err)
	}
}

// Empty and impossible values are refused when they are encoded, and when another
// has encoded them.
func TestRefused(t *testing.T) {
	for _, body := range []content.Body{
		nil,
		content.Text{},
		content.Reply{},
		content.Edit{},
		content.Reaction{},
		content.GroupInfo{},
		content.Receipt{Kind: 1},
		content.Receipt{IDs: []content.ID{someID}},
		content.Receipt{Kind: 3, IDs: []content.ID{someID}},
		content.Text{Text: "\xff"},
		content.Rejoined{},
		content.Unreadable{},
		content.Unknown{},
		content.Unknown{Raw: []byte("garbage!")},
	} {
		if _, err := content.Encode(message(body)); !errors.Is(err, content.ErrMalformed) {
			t.Errorf("%#v: got %v", body, err)
		}
	}
	for name, change := range map[string]func(schemas.Content) error{
		"no id":          func(m schemas.Content) error { return m.SetId(nil) },
		"short id":       func(m schemas.Content) error { return m.SetId(someID[:15]) },
		"version 0":      func(m schemas.Content) error { m.SetVersion(0); return nil },
		"far future":     func(m schemas.Content) error { m.SetSentMs(1 << 63); return nil },
		"long timer":     func(m schemas.Content) error { m.SetExpireAfterMs(1 << 63); return nil },
		"empty text":     func(m schemas.Content) error { _, err := m.Body().NewText(); return err },
		"no body":        func(m schemas.Content) error { return m.Body().SetText(schemas.Content_Plain{}) },
		"text not UTF-8": func(m schemas.Content) error { s, _ := m.Body().NewText(); return s.SetText("\xc0\x80") },
		"half an id": func(m schemas.Content) error {
			s, _ := m.Body().NewReceipt()
			s.SetKind(1)
			return s.SetIds(make([]byte, 24))
		},
		"too many ids": func(m schemas.Content) error {
			s, _ := m.Body().NewReceipt()
			s.SetKind(1)
			return s.SetIds(make([]byte, 16*1001))
		},
		"long text": func(m schemas.Content) error {
			s, _ := m.Body().NewText()
			return s.SetText(strings.Repeat("x", content.MaxText+1))
		},
	} {
		_, seg := schemas.NewMessage()
		root, err := schemas.NewRootContent(seg)
		must(t, err)
		root.SetVersion(1)
		must(t, root.SetId(someID[:]))
		typing, err := root.Body().NewTyping()
		must(t, err)
		typing.SetActive(true)
		must(t, change(root))
		if m, err := content.Decode(frame(t, capnp.Struct(root))); err == nil {
			t.Errorf("%s: decoded to %+v", name, m)
		}
	}
}

// Equal messages are equal bytes, and no other bytes are the same message: every
// frame that is cut, extended or not in canonical form is refused.
func TestCanonical(t *testing.T) {
	for _, body := range bodies() {
		whole := encode(t, message(body))
		if !bytes.Equal(whole, encode(t, message(body))) {
			t.Errorf("%v has two encodings", content.KindOf(body))
		}
		for n := range whole {
			if _, err := content.Decode(whole[:n]); err == nil {
				t.Errorf("%v cut to %d bytes is decoded", content.KindOf(body), n)
			}
		}
		longer := append(bytes.Clone(whole), make([]byte, 8)...)
		longer[4]++
		if _, err := content.Decode(longer); err == nil {
			t.Errorf("%v with an unused word is decoded", content.KindOf(body))
		}
	}
	msg, seg := schemas.NewMessage()
	root, err := schemas.NewRootContent(seg)
	must(t, err)
	root.SetVersion(1)
	must(t, root.SetId(someID[:]))
	text, err := root.Body().NewText()
	must(t, err)
	must(t, text.SetText("an id before the body, and no zero word cut"))
	loose, err := msg.Marshal()
	must(t, err)
	if _, err := content.Decode(loose); !errors.Is(err, content.ErrMalformed) {
		t.Errorf("a message that is not canonical: %v", err)
	}
}

// Lists of very many elements of no size, and pointers that go round, cost nothing.
func TestBombs(t *testing.T) {
	raw := newer(t, 1, 11, false)
	for name, words := range map[string][]uint64{
		"composite of nothing":   {0x1 | 7, 0x7ffffffc},
		"composite of minus one": {0x1 | 7, 0xfffffffc},
		"list of void":           {1, 0},
	} {
		frame := append(bytes.Clone(raw), make([]byte, 8*len(words))...)
		binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)/8-1))
		at := 8 + 8 + 40 + 16 // the third pointer of the root
		offset := (len(raw) - at - 8) / 8
		pointer := uint64(offset)<<2 | 1 | 7<<32
		if name == "list of void" {
			pointer = uint64(offset)<<2 | 1 | 0xfffffff8<<32
		}
		binary.LittleEndian.PutUint64(frame[at:], pointer)
		binary.LittleEndian.PutUint64(frame[len(raw):], words[1])
		began := time.Now()
		_, err := content.Decode(frame)
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: %v, after %v", name, err, took)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	m := message(content.Text{Text: strings.Repeat("text ", 40)})
	for b.Loop() {
		if _, err := content.Encode(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	frame := encode(b, message(content.Text{Text: strings.Repeat("text ", 40)}))
	for b.Loop() {
		if _, err := content.Decode(frame); err != nil {
			b.Fatal(err)
		}
	}
}
