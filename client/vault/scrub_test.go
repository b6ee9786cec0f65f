package vault

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// word is a text that stands nowhere else, with none of its kind beginning like it:
// an index keeps what terms have in common once.
func word(rng *rand.Rand) string {
	b := make([]byte, 24)
	for i := range b {
		b[i] = byte('a' + rng.IntN(26))
	}
	return string(b)
}

// gone fails if part of a text can be read in the vault's files with the key. Terms
// of an index can lack their beginning.
func gone(t *testing.T, v *Vault, what, text string) {
	t.Helper()
	database, log := holds(t, v, text[8:])
	if database || log {
		t.Errorf("%s: %q can be read: in the database %v, in the log %v", what, text, database, log)
	}
}

// goneAll is gone for many texts at a time.
func goneAll(t *testing.T, v *Vault, what string, texts []string) {
	t.Helper()
	database, log := plain(t, v, databaseFile), plain(t, v, databaseFile+walSuffix)
	n := 0
	for _, text := range texts {
		if part := []byte(text[8:]); bytes.Contains(database, part) || bytes.Contains(log, part) {
			if n++; n < 4 {
				t.Errorf("%s: %q can be read", what, text)
			}
		}
	}
	if n > 0 {
		t.Errorf("%s: %d of %d texts can be read", what, n, len(texts))
	}
}

// After a scrub nothing of what was deleted, changed or has expired is in any file:
// texts, bodies, words of the index, keys of past epochs, what waited to be sent.
func TestScrubLeavesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	secrets := map[string]string{}
	for _, what := range []string{"text", "body", "long text", "old text", "deleted text", "reaction", "fixed", "moving", "moving before", "outgoing", "key package", "notice"} {
		secrets[what] = word(rng)
	}
	long := secrets["long text"] + strings.Repeat(" filler", 3000)
	v := newVault(t)
	talk(t, v, "a neighbour")
	message := func(id byte, text, body string, expires time.Time) *Message {
		return &Message{Conversation: testConversation, ID: [16]byte{id}, Sender: [32]byte{2}, Kind: 1, Sent: time.UnixMilli(5), Received: time.UnixMilli(5), Text: text, Body: []byte(body), Expires: expires}
	}
	end := time.UnixMilli(1_000_000)
	update(t, v, func(tx *Tx) error {
		for _, m := range []*Message{
			message(1, secrets["text"]+" 世界", secrets["body"], end), message(2, long, long, end),
			message(3, secrets["old text"], secrets["old text"], time.Time{}), message(4, secrets["deleted text"], secrets["deleted text"], time.Time{}),
			message(5, "", secrets["notice"], end),
		} {
			if _, err := tx.AddMessage(m); err != nil {
				return err
			}
		}
		if err := tx.SetReaction(testConversation, [16]byte{1}, Reaction{Emoji: secrets["reaction"]}, false); err != nil {
			return err
		}
		if err := tx.SetGroup(testConversation, &Group{Started: time.UnixMilli(1), Fixed: []byte(secrets["fixed"]), Moving: []byte(secrets["moving before"])}); err != nil {
			return err
		}
		return tx.AddOutgoing(&Outgoing{Conversation: testConversation, Content: []byte(secrets["outgoing"])})
	})
	update(t, v, func(tx *Tx) error { return tx.SetGroup(testConversation, &Group{Moving: []byte(secrets["moving"])}) })
	delete(secrets, "key package")
	if err := v.Scrub(); err != nil {
		t.Fatal(err)
	}
	for what, text := range secrets {
		if database, _ := holds(t, v, text[8:]); !database && what != "moving before" {
			t.Errorf("the test does not see %s", what)
		}
	}
	gone(t, v, "the state before", secrets["moving before"])
	update(t, v, func(tx *Tx) error {
		if _, err := tx.DeleteExpired(end); err != nil {
			return err
		}
		for id, text := range map[byte]string{3: "new", 4: ""} {
			m, err := tx.MessageFrom(testConversation, [32]byte{2}, [16]byte{id})
			if err == nil {
				m.Text, m.Body, m.Deleted = text, []byte(text), text == ""
				err = tx.SetMessage(m)
			}
			if err != nil {
				return err
			}
		}
		if err := tx.DeleteGroup(testConversation); err != nil {
			return err
		}
		return tx.DeleteOutgoing(1)
	})
	if err := v.Scrub(); err != nil {
		t.Fatal(err)
	}
	for what, text := range secrets {
		gone(t, v, what, text)
	}
	freePagesAreEmpty(t, v)
	consistent(t, v)
}

// A vault that lives: pages split and merge while messages come, change and expire.
// Of those that went nothing is left, wherever their pages have been.
func TestScrubAfterALongLife(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	v := newVault(t)
	talk(t, v)
	var dead []string
	alive := map[uint64]string{}
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	state := word(rng)
	for round := range rounds {
		update(t, v, func(tx *Tx) error {
			for range 25 {
				m := &Message{Conversation: testConversation, Kind: 1, Sent: time.UnixMilli(5), Received: time.UnixMilli(5)}
				binary.BigEndian.PutUint64(m.ID[:], rng.Uint64())
				m.Text = word(rng)
				m.Body = []byte(m.Text + strings.Repeat("x", rng.IntN(300)))
				if rng.IntN(10) == 0 {
					m.Body = bytes.Repeat(m.Body, 40)
				}
				if rng.IntN(2) == 0 {
					m.Expires = time.UnixMilli(int64(round + 1 + rng.IntN(10)))
				}
				if _, err := tx.AddMessage(m); err != nil {
					return err
				}
				alive[m.Seq] = m.Text
			}
			dead = append(dead, state)
			state = word(rng)
			return tx.SetGroup(testConversation, &Group{Started: time.UnixMilli(1), Fixed: []byte(strings.Repeat(state, 50+rng.IntN(200))), Moving: []byte(strings.Repeat(state, 10+rng.IntN(100)))})
		})
		update(t, v, func(tx *Tx) error {
			if _, err := tx.DeleteExpired(time.UnixMilli(int64(round))); err != nil {
				return err
			}
			tx.At(time.UnixMilli(0))
			for seq, text := range alive {
				m, err := tx.Message(seq)
				if err != nil {
					return err
				}
				if m == nil {
					dead = append(dead, text)
					delete(alive, seq)
				} else if rng.IntN(60) == 0 {
					m.Text, m.Body, m.Deleted = "", nil, true
					if err := tx.SetMessage(m); err != nil {
						return err
					}
					dead = append(dead, text)
					delete(alive, seq)
				}
			}
			return nil
		})
	}
	if err := v.Scrub(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d texts live, %d are dead", len(alive), len(dead))
	goneAll(t, v, "after a long life", dead)
	freePagesAreEmpty(t, v)
	consistent(t, v)
	if err := v.Check(); err != nil {
		t.Error(err)
	}
}

// freePagesAreEmpty walks the list of pages that SQLite keeps for later use
// (https://sqlite.org/fileformat2.html#the_freelist): they are zeros, but for the
// list itself, what stands behind its end of a longer one (numbers of pages too), and the
// checksums.
func freePagesAreEmpty(t *testing.T, v *Vault) {
	t.Helper()
	const checksum = 8
	raw := plain(t, v, databaseFile)
	page := func(n uint32) []byte { return raw[int(n-1)*blockSize : int(n)*blockSize-checksum] }
	total, seen := binary.BigEndian.Uint32(raw[36:]), uint32(0)
	for trunk := binary.BigEndian.Uint32(raw[32:]); trunk != 0; trunk = binary.BigEndian.Uint32(page(trunk)) {
		leaves := binary.BigEndian.Uint32(page(trunk)[4:])
		for i := range leaves {
			leaf := binary.BigEndian.Uint32(page(trunk)[8+4*i:])
			if used := bytes.TrimLeft(page(leaf), "\x00"); len(used) > 0 {
				t.Errorf("free page %d has content: %.40q", leaf, used)
			}
		}
		for rest := page(trunk)[8+4*leaves:]; len(rest) >= 4; rest = rest[4:] {
			if n := binary.BigEndian.Uint32(rest); int(n) > len(raw)/blockSize {
				t.Errorf("free page %d has content behind its list: %.40q", trunk, rest)
				break
			}
		}
		seen += 1 + leaves
	}
	if seen != total {
		t.Errorf("%d free pages are in the list, the header says %d", seen, total)
	}
}

// What a scrub costs in a busy vault: between two of them 60 turns of a client run,
// each a message with its keys. scrubShare in package client spaces them out by time;
// "share" is what they take of the vault's, in percent.
func BenchmarkScrub(b *testing.B) {
	v := newVault(b)
	talk(b, v)
	var working, scrubbing time.Duration
	next, seq := time.Time{}, uint64(0)
	for b.Loop() {
		began := time.Now()
		update(b, v, func(tx *Tx) error {
			seq++
			m := &Message{Conversation: testConversation, Kind: 1, Sent: began, Received: began, Text: fmt.Sprint("message number ", seq), Body: make([]byte, 300)}
			binary.BigEndian.PutUint64(m.ID[:], seq)
			if _, err := tx.AddMessage(m); err != nil {
				return err
			}
			return tx.SetGroup(testConversation, &Group{Started: time.UnixMilli(1), Fixed: make([]byte, 4000), Moving: make([]byte, 6000)})
		})
		working += time.Since(began)
		if began := time.Now(); began.After(next) { // as client.scrubOnce
			if err := v.Scrub(); err != nil {
				b.Fatal(err)
			}
			took := time.Since(began)
			scrubbing += took
			next = time.Now().Add(max(500*time.Millisecond, 24*took))
		}
	}
	b.ReportMetric(100*scrubbing.Seconds()/(working+scrubbing).Seconds(), "share-%")
}
