package vault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// newVault is a vault with the real schema.
func newVault(tb testing.TB) *Vault {
	tb.Helper()
	v, err := Create(filepath.Join(tb.TempDir(), "vault"), testKey(1))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = v.Close() })
	return v
}

var testConversation = ConversationID{1}

// talk adds a conversation, and messages with these texts; the id counts them.
func talk(tb testing.TB, v *Vault, texts ...string) {
	tb.Helper()
	update(tb, v, func(tx *Tx) error {
		c, err := tx.Conversation(testConversation)
		if err == nil && c == nil {
			err = tx.AddConversation(&Conversation{ID: testConversation, GroupID: []byte{1}, Title: "t", Created: time.UnixMilli(1), Active: time.UnixMilli(1)})
		}
		if err != nil {
			return err
		}
		for i, text := range texts {
			m := &Message{Conversation: testConversation, Kind: 1, Sent: time.UnixMilli(1), Received: time.UnixMilli(1), Text: text}
			binary.BigEndian.PutUint64(m.ID[:], uint64(i+1))
			if _, err := tx.AddMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// search returns the texts that a query finds, the latest first.
func search(tb testing.TB, v *Vault, query string) (texts []string) {
	tb.Helper()
	err := v.View(func(tx *Tx) error {
		list, err := tx.Search(query, 100)
		for _, m := range list {
			texts = append(texts, m.Text)
		}
		return err
	})
	if err != nil {
		tb.Fatalf("search %q: %v", query, err)
	}
	return texts
}

// A word is found in any script, however its letters are composed, wide or large,
// and what only looks similar is not.
func TestSearch(t *testing.T) {
	v := newVault(t)
	talk(t, v,
		"你好世界 今天天气很好", "東京都に住んでいます", "ｶﾞｽﾞの元栓", "ガスを止めた", "대한민국 만세", "สวัสดีชาวโลก น้ำเย็น", "សួស្តីពិភពលោក", "ຍິນດີຕ້ອນຮັບ", "မင်္ဂလာပါ",
		"Café au lait", "Cafe\u0301 noir", "STRASSE", "Straße", "Ωmega Ὀδυσσεύς", "Приве́т, Ёлка", "ＦＵＬＬ width", "ﬁne print", "well-known fact",
		"नमस्ते दुनिया", "שלום עולם", "مرحبا بالعالم", "party 🎉🎂 tonight", "🏳\ufe0f\u200d🌈 flag", "al\u200bice hid", "hello world", "helloworld", "第3章 abc漢字def",
		"don't \"quote\" * this", "C++ and x=1")
	for query, want := range map[string][]string{
		"世界": {"你好世界 今天天气很好"}, "天气": {"你好世界 今天天气很好"}, "你好": {"你好世界 今天天气很好"}, "好 世": {"你好世界 今天天气很好"},
		"界世": nil, "好天": nil,
		"京都": {"東京都に住んでいます"}, "住んで": {"東京都に住んでいます"}, "都": {"東京都に住んでいます"},
		"ガス": {"ガスを止めた"}, "ガズ": {"ｶﾞｽﾞの元栓"}, "ｶﾞｽ": {"ガスを止めた"}, "元栓": {"ｶﾞｽﾞの元栓"},
		"민국": {"대한민국 만세"}, "\u1106\u1175\u11ab\u1100\u116e\u11a8": {"대한민국 만세"}, "대한": {"대한민국 만세"},
		"ชาว": {"สวัสดีชาวโลก น้ำเย็น"}, "โลก": {"สวัสดีชาวโลก น้ำเย็น"}, "น้ำ": {"สวัสดีชาวโลก น้ำเย็น"}, "เย็น": {"สวัสดีชาวโลก น้ำเย็น"},
		"ពិភព": {"សួស្តីពិភពលោក"}, "លោក": {"សួស្តីពិភពលោក"}, "ຕ້ອນ": {"ຍິນດີຕ້ອນຮັບ"}, "လာပါ": {"မင်္ဂလာပါ"},
		"café": {"Cafe\u0301 noir", "Café au lait"}, "cafe\u0301": {"Cafe\u0301 noir", "Café au lait"}, "CAFE": {"Cafe\u0301 noir", "Café au lait"}, "caf": {"Cafe\u0301 noir", "Café au lait"}, "afe": nil,
		"strasse": {"Straße", "STRASSE"}, "straße": {"Straße", "STRASSE"}, "ωMEGA": {"Ωmega Ὀδυσσεύς"}, "οδυσσευσ": {"Ωmega Ὀδυσσεύς"},
		"привет елка": {"Приве́т, Ёлка"}, "full": {"ＦＵＬＬ width"}, "ｗｉｄｔｈ": {"ＦＵＬＬ width"}, "fine": {"ﬁne print"}, "known": {"well-known fact"}, "well-known": {"well-known fact"}, "well fact": {"well-known fact"},
		"नमस्ते": {"नमस्ते दुनिया"}, "दुनिया": {"नमस्ते दुनिया"}, "עולם": {"שלום עולם"}, "مرحبا": {"مرحبا بالعالم"},
		"🎉": {"party 🎉🎂 tonight"}, "🎂": {"party 🎉🎂 tonight"}, "🎉🎂": {"party 🎉🎂 tonight"}, "🎂🎉": nil, "🌈": {"🏳\ufe0f\u200d🌈 flag"},
		"alice": {"al\u200bice hid"}, "al\u00adice": {"al\u200bice hid"},
		"hello": {"helloworld", "hello world"}, "hello world": {"hello world"}, "world": {"hello world"},
		"章": {"第3章 abc漢字def"}, "3章": {"第3章 abc漢字def"}, "abc": {"第3章 abc漢字def"}, "字def": {"第3章 abc漢字def"},
		"don't": {"don't \"quote\" * this"}, "\"quote\"": {"don't \"quote\" * this"}, "* this": {"don't \"quote\" * this"}, "c++": {"C++ and x=1", "Cafe\u0301 noir", "Café au lait"}, // "c" is a beginning
		"": nil, "*": nil, "++": nil, "\"": nil, "NOT": nil, "this NOT": nil, "form:cafe": nil,
	} {
		if got := search(t, v, query); !slices.Equal(got, want) {
			t.Errorf("%q finds %q, expected %q", query, got, want)
		}
	}
	err := v.View(func(tx *Tx) error {
		_, err := tx.Search(strings.Repeat("a ", MaxSearchWords+1), 10)
		return err
	})
	if err == nil || err.Error() != "a search takes 100 words at most, not 101" {
		t.Errorf("a search of 101 words: %v", err)
	}
	if got := search(t, v, strings.Repeat("hello ", MaxSearchWords)); len(got) != 2 {
		t.Errorf("a search of 100 words finds %q", got)
	}
}

// What a text says is found until it is changed, deleted or over, and what it said
// before is not; the index agrees with the texts all the time.
func TestSearchFollowsTheTexts(t *testing.T) {
	v := newVault(t)
	talk(t, v, "first 世界", "second 世界", "third 世界")
	change := func(seq uint64, f func(*Message)) {
		t.Helper()
		update(t, v, func(tx *Tx) error {
			m, err := tx.Message(seq)
			if err != nil {
				return err
			}
			f(m)
			return tx.SetMessage(m)
		})
		consistent(t, v)
	}
	change(1, func(m *Message) { m.Text = "other 天气" })
	change(2, func(m *Message) { m.Status = 3 })
	change(3, func(m *Message) { m.Text, m.Deleted = "", true })
	for query, want := range map[string][]string{"世界": {"second 世界"}, "天气": {"other 天气"}, "first": nil, "third": nil} {
		if got := search(t, v, query); !slices.Equal(got, want) {
			t.Errorf("%q finds %q, expected %q", query, got, want)
		}
	}
	update(t, v, func(tx *Tx) error { return tx.run(`DELETE FROM conversation`) })
	consistent(t, v)
	if got := search(t, v, "世界"); got != nil {
		t.Errorf("a conversation that is gone is found: %q", got)
	}
}

// consistent has FTS5 compare its index with the texts.
func consistent(t *testing.T, v *Vault) {
	t.Helper()
	update(t, v, func(tx *Tx) error { return tx.run(`INSERT INTO search (search, rank) VALUES ('integrity-check', 1)`) })
}

// A vault of the version before is opened, its old messages are put into the index a
// few at a time, with changes and deletions in between, and are all found.
func TestSearchInAnOldVault(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	old := settings{migrations: migrations[:slices.Index(migrations, searchTables)]}
	v, err := old.create(dir, testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	update(t, v, func(tx *Tx) error {
		err := tx.AddConversation(&Conversation{ID: testConversation, GroupID: []byte{1}, Title: "t", Created: time.UnixMilli(1), Active: time.UnixMilli(1)})
		for i := range 25 {
			id := make([]byte, 16)
			id[0] = byte(i)
			if err == nil {
				err = tx.run(`INSERT INTO message (conversation, id, sender, mine, kind, sent, received, text, body, status) VALUES (?, ?, ?, 0, 1, 1, 1, ?, x'', 0)`,
					testConversation[:], id, make([]byte, 32), fmt.Sprintf("旧世界 %d", i))
			}
		}
		return err
	})
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err = Open(dir, testKey(1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	talk(t, v, "新世界")
	if got := search(t, v, "世界"); !slices.Equal(got, []string{"新世界"}) {
		t.Errorf("before the old ones are indexed: %q", got)
	}
	steps := 0
	for more := true; more; steps++ {
		update(t, v, func(tx *Tx) (err error) {
			switch steps {
			case 0: // not indexed yet
				err = tx.SetMessage(&Message{Seq: 3, Text: "变了"})
			case 1:
				err = tx.run(`DELETE FROM message WHERE seq IN (1, 24)`)
			}
			if err == nil {
				more, err = tx.Index(10)
			}
			return err
		})
		consistent(t, v)
	}
	if got := search(t, v, "世界"); len(got) != 23 || got[0] != "新世界" || got[22] != "旧世界 1" {
		t.Errorf("found are %d: %q", len(got), got)
	}
	if got := search(t, v, "变了"); len(got) != 1 || steps != 3 {
		t.Errorf("the changed one: %q, after %d steps, expected 3", got, steps)
	}
	if err := v.View(func(tx *Tx) error {
		more, err := tx.Index(10)
		if more {
			t.Error("there is always more to index")
		}
		return err
	}); err != nil {
		t.Errorf("indexing what is indexed writes: %v", err)
	}
}

// An entry is gone from every read at the millisecond of its end, before it is
// deleted, and its reactions go with it.
func TestExpiredIsNotRead(t *testing.T) {
	v := newVault(t)
	end := time.UnixMilli(1_000_000)
	var seq uint64
	talk(t, v, "stays")
	update(t, v, func(tx *Tx) error {
		m := &Message{Conversation: testConversation, ID: [16]byte{9}, Sender: [32]byte{2}, Kind: 1, Sent: end, Received: end, Text: "goes 世界", Expires: end}
		_, err := tx.AddMessage(m)
		seq = m.Seq
		return errors.Join(err, tx.SetReaction(testConversation, m.ID, Reaction{Emoji: "👍"}, false))
	})
	reads := map[string]func(*Tx) (bool, error){
		"Message": func(tx *Tx) (bool, error) { m, err := tx.Message(seq); return m != nil, err },
		"MessageFrom": func(tx *Tx) (bool, error) {
			m, err := tx.MessageFrom(testConversation, [32]byte{2}, [16]byte{9})
			return m != nil, err
		},
		"MessageOf": func(tx *Tx) (bool, error) {
			m, err := tx.MessageOf(testConversation, [16]byte{9})
			return m != nil, err
		},
		"History":    func(tx *Tx) (bool, error) { l, err := tx.History(testConversation, 0, 1); return l[0].Seq == seq, err },
		"Unread":     func(tx *Tx) (bool, error) { n, err := tx.Unread(testConversation, 0, 1); return n == 2, err },
		"Search":     func(tx *Tx) (bool, error) { l, err := tx.Search("世界", 9); return len(l) == 1, err },
		"NextExpiry": func(tx *Tx) (bool, error) { at, err := tx.NextExpiry(); return at.Equal(end), err },
	}
	check := func(at time.Time, want, next bool) {
		t.Helper()
		for name, read := range reads {
			err := v.View(func(tx *Tx) error {
				tx.At(at)
				there, err := read(tx)
				if expected := want && name != "NextExpiry" || next && name == "NextExpiry"; err == nil && there != expected {
					t.Errorf("%s at %d: the entry is there: %v, expected %v", name, at.UnixMilli(), there, expected)
				}
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	check(end.Add(-time.Millisecond), true, true)
	check(end, false, true)
	check(time.Time{}.Add(time.Hour), true, true) // a clock before 1970
	if err := v.View(func(tx *Tx) error {
		m, err := tx.Message(seq)
		if m != nil {
			t.Error("without At the system's clock counts: the entry should be gone")
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	update(t, v, func(tx *Tx) error {
		in, err := tx.DeleteExpired(end.Add(-time.Millisecond))
		if len(in) != 0 {
			t.Error("deleted before its end")
		}
		return err
	})
	update(t, v, func(tx *Tx) error {
		in, err := tx.DeleteExpired(end)
		if !slices.Equal(in, []ConversationID{testConversation}) {
			t.Errorf("deleted in %x", in)
		}
		if list, err := tx.Reactions(testConversation, [16]byte{9}); err != nil || len(list) != 0 {
			t.Errorf("its reactions stay: %v %v", list, err)
		}
		return err
	})
	consistent(t, v)
	check(end.Add(-time.Hour), false, false)
}

// manyMessages are n texts of a dozen words, every hundredth with a rare one.
func manyMessages(b *testing.B, n int) *Vault {
	b.Helper()
	v := newVault(b)
	words := strings.Fields("alpha beta gamma delta 你好世界 今天天气很好 epsilon zeta eta theta iota kappa lambda привет мир")
	for at := 0; at < n; at += 5000 {
		texts := make([]string, 5000)
		for i := range texts {
			var text bytes.Buffer
			for w := range 12 {
				text.WriteString(words[(at+i*7+w*w*5)%len(words)] + " ")
			}
			if i%100 == 0 {
				fmt.Fprintf(&text, "罕见词%d rare%d", at+i, at+i)
			}
			texts[i] = text.String()
		}
		addMany(b, v, at, texts)
	}
	return v
}

func addMany(b *testing.B, v *Vault, from int, texts []string) {
	b.Helper()
	talk(b, v)
	update(b, v, func(tx *Tx) error {
		for i, text := range texts {
			m := &Message{Conversation: testConversation, Kind: 1, Sent: time.UnixMilli(1), Received: time.UnixMilli(1), Text: text}
			binary.BigEndian.PutUint64(m.ID[:], uint64(from+i+1))
			if _, err := tx.AddMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// Searches among 100,000 messages, the last 50 of what is found.
func BenchmarkSearch(b *testing.B) {
	v := manyMessages(b, 100_000)
	for name, query := range map[string]string{"rare": "rare99900", "han": "世界", "han-rare": "见词99900", "one-letter": "a", "two-words": "alpha мир", "nothing": "无此"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := v.View(func(tx *Tx) error { _, err := tx.Search(query, 50); return err }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
