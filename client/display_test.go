package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/client/content"
	"quicproquo/client/vault"
)

// desk is a client without a cluster, its clock in the test's hand, with a group of
// alice (us), bob and carol in which things are said without being sent.
type desk struct {
	*Client
	t    *testing.T
	time time.Time
	row  vault.ConversationID
	v    *Conversation
}

var bobKey, carolKey, malloryKey = AccountKey{2}, AccountKey{3}, AccountKey{9}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, time: time.UnixMilli(1_700_000_000_000)}
	profile := Profile{Dir: filepath.Join(t.TempDir(), "alice"), Now: func() time.Time { return d.time }}
	v, err := vault.Create(profile.Dir, vault.Raw(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	seed := bytes.Repeat([]byte{1}, 32)
	if err := v.Update(func(tx *vault.Tx) error {
		return tx.SetProfile(&vault.Profile{Username: "alice", AccountKey: seed, DeviceKey: seed, Device: [16]byte{1}, Registered: true, Created: d.time})
	}); err != nil {
		t.Fatal(err)
	}
	if d.Client, err = open(profile, v); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	d.contact("bob", bobKey, false)
	d.contact("carol", carolKey, false)
	d.row = d.group("book club")
	d.v = &Conversation{d.Client, d.row}
	return d
}

func (d *desk) do(f func(*turn) error) {
	d.t.Helper()
	if err := d.turn(f); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) contact(name string, key AccountKey, verified bool) {
	d.t.Helper()
	d.time = d.time.Add(time.Second)
	d.do(func(t *turn) error {
		return t.SetContact(&vault.Contact{Account: key, Username: name, Verified: verified, Since: t.now})
	})
}

func (d *desk) group(title string) (id vault.ConversationID) {
	d.t.Helper()
	d.time = d.time.Add(time.Second)
	d.do(func(t *turn) error {
		row := &talk{Conversation: vault.Conversation{ID: newID(), Kind: kindGroup, Title: title, State: stateActive, Created: t.now, Active: t.now}}
		row.GroupID = row.ID[:]
		id = row.ID
		return t.add(row)
	})
	return id
}

// hears takes a message as if a member had sent it.
func (d *desk) hears(from AccountKey, body content.Body, after time.Duration) content.ID {
	d.t.Helper()
	m := content.Message{ID: newID(), Sent: d.time.Add(-time.Hour), ExpireAfter: after, Body: body}
	raw, err := content.Encode(m)
	if err != nil {
		d.t.Fatal(err)
	}
	d.do(func(t *turn) error {
		row, err := t.talk(d.row)
		if err != nil {
			return err
		}
		return t.newMessage(row, from, &m, raw)
	})
	return m.ID
}

func (d *desk) says(body content.Body) content.ID {
	d.t.Helper()
	id, err := d.v.Send(d.t.Context(), body)
	if err != nil {
		d.t.Fatal(err)
	}
	return id
}

func (d *desk) entries() []Entry {
	d.t.Helper()
	list, err := d.v.History(0, 100)
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

func (d *desk) last() Entry {
	d.t.Helper()
	list := d.entries()
	if len(list) == 0 {
		d.t.Fatal("there is no entry")
	}
	return list[len(list)-1]
}

// What is not ours, not there or gone already can't be changed, taken back or marked;
// the error says which, and nothing is sent.
func TestMessagesThatCannotBeChanged(t *testing.T) {
	d := newDesk(t)
	mine, theirs := d.says(content.Text{Text: "mine"}), d.hears(bobKey, content.Text{Text: "theirs"}, 0)
	taken := d.says(content.Text{Text: "to be taken back"})
	d.says(content.Delete{To: taken})
	over := d.hears(bobKey, content.Text{Text: "goes"}, time.Second)
	d.time = d.time.Add(time.Second)
	d.says(content.Reaction{To: mine, Emoji: "👍"})
	nobody := content.ID{77}
	waiting := d.waiting()
	for _, c := range []struct {
		what string
		body content.Body
		want error
	}{
		{"edit another's", content.Edit{To: theirs, Text: "x"}, ErrNotYours},
		{"edit what is not there", content.Edit{To: nobody, Text: "x"}, ErrNoMessage},
		{"edit what was taken back", content.Edit{To: taken, Text: "x"}, ErrDeleted},
		{"edit what is over", content.Edit{To: over, Text: "x"}, ErrNoMessage},
		{"delete another's", content.Delete{To: theirs}, ErrNotYours},
		{"delete what is not there", content.Delete{To: nobody}, ErrNoMessage},
		{"delete twice", content.Delete{To: taken}, ErrDeleted},
		{"delete what is over", content.Delete{To: over}, ErrNoMessage},
		{"react to what is not there", content.Reaction{To: nobody, Emoji: "👍"}, ErrNoMessage},
		{"react to what was taken back", content.Reaction{To: taken, Emoji: "👍"}, ErrDeleted},
		{"react to what is over", content.Reaction{To: over, Emoji: "👍"}, ErrNoMessage},
		{"take back a mark that is not there", content.Reaction{To: theirs, Emoji: "👍", Remove: true}, ErrNoMessage},
		{"take back another mark", content.Reaction{To: mine, Emoji: "👎", Remove: true}, ErrNoMessage},
	} {
		if _, err := d.v.Send(t.Context(), c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, expected %v", c.what, err, c.want)
		}
	}
	if n := d.waiting(); n != waiting {
		t.Errorf("%d messages wait to be sent, expected %d as before", n, waiting)
	}
	for _, body := range []content.Body{
		content.Edit{To: mine, Text: "edited"}, content.Reaction{To: theirs, Emoji: "👍"}, content.Reaction{To: mine, Emoji: "👍", Remove: true}, content.Delete{To: mine},
	} {
		if _, err := d.v.Send(t.Context(), body); err != nil {
			t.Errorf("%T: %v, expected it to be done", body, err)
		}
	}
}

func (d *desk) waiting() (n int) {
	d.t.Helper()
	if err := d.look(func(t *turn) error {
		list, err := t.Outgoing()
		n = len(list)
		return err
	}); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// A notice is nobody's message, and another's notice of the same id neither.
func TestNoticesCannotBeChanged(t *testing.T) {
	d := newDesk(t)
	d.do(func(t *turn) error {
		row, err := t.talk(d.row)
		if err != nil {
			return err
		}
		return t.event(row, EventRekeyed, 0, notice{By: &bobKey})
	})
	id := d.last().ID
	for _, body := range []content.Body{content.Edit{To: id, Text: "x"}, content.Delete{To: id}, content.Reaction{To: id, Emoji: "👍"}} {
		if _, err := d.v.Send(t.Context(), body); !errors.Is(err, ErrNoMessage) {
			t.Errorf("%T of a notice: %v, expected ErrNoMessage", body, err)
		}
	}
}

// A place that the conversation does not have can't be read up to.
func TestReadWhatIsNotThere(t *testing.T) {
	d := newDesk(t)
	d.hears(bobKey, content.Text{Text: "here"}, 0)
	place := d.last().Seq
	other := &Conversation{d.Client, d.group("another")}
	over := d.hears(bobKey, content.Text{Text: "goes"}, time.Second)
	overAt := d.last().Seq
	d.time = d.time.Add(time.Second)
	for what, c := range map[string]struct {
		v    *Conversation
		at   uint64
		want error
	}{
		"not there": {d.v, 999, ErrNoMessage}, "another conversation's": {other, place, ErrNoMessage}, "over": {d.v, overAt, ErrNoMessage},
		"there": {d.v, place, nil}, "there, again": {d.v, place, nil}, "nothing": {other, 0, nil},
	} {
		if err := c.v.MarkRead(t.Context(), c.at); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("read up to what is %s: %v, expected %v (%x)", what, err, c.want, over[:2])
		}
	}
}

// A reply shows what it answers as that is now; of what was taken back or is over
// nothing is told.
func TestReplyShowsWhatItAnswers(t *testing.T) {
	d := newDesk(t)
	asked := d.hears(bobKey, content.Text{Text: "one?"}, 0)
	seq := d.last().Seq
	d.says(content.Reply{To: asked, Text: "yes"})
	quote := func() Quote {
		t.Helper()
		e := d.last()
		if e.Text != "yes" || e.Answers == nil || *e.ReplyTo != asked {
			t.Fatalf("the reply is %+v", e)
		}
		return *e.Answers
	}
	want := Quote{Seq: seq, Sender: "bob", SenderKey: bobKey, Text: "one?"}
	if got := quote(); got != want {
		t.Errorf("%+v, expected %+v", got, want)
	}
	d.do(func(t *turn) error {
		row, err := t.talk(d.row)
		if err == nil {
			_, err = t.edit(row, bobKey, content.ID{}, content.Edit{To: asked, Text: "two?"})
		}
		return err
	})
	if want.Text = "two?"; quote() != want {
		t.Errorf("after an edit %+v, expected %+v", quote(), want)
	}
	d.do(func(t *turn) error {
		row, err := t.talk(d.row)
		if err == nil {
			_, err = t.erase(row, bobKey, content.Delete{To: asked})
		}
		return err
	})
	if want.Text, want.Gone = "", QuoteDeleted; quote() != want {
		t.Errorf("after it was taken back %+v, expected %+v", quote(), want)
	}
	asked = d.hears(bobKey, content.Text{Text: "for a second"}, time.Second)
	d.says(content.Reply{To: asked, Text: "yes"})
	if q := quote(); q.Text != "for a second" || !q.Expires.Equal(d.time.Add(time.Second)) {
		t.Errorf("before its end: %+v", q)
	}
	d.time = d.time.Add(time.Second)
	if got := quote(); got != (Quote{Gone: QuoteMissing}) {
		t.Errorf("at its end %+v, expected nothing of it", got)
	}
}

// At the second of its end a message is gone from whatever is read, offline too; a
// late consumer is told that there was one. Soon it is out of the vault.
func TestExpiredMessagesAreGone(t *testing.T) {
	d := newDesk(t)
	d.hears(bobKey, content.Text{Text: "stays"}, 0)
	id := d.hears(bobKey, content.Text{Text: "disappears soon"}, 5*time.Second)
	d.do(func(t *turn) error {
		return t.SetReaction(d.row, id, vault.Reaction{Sender: carolKey, Emoji: "👍"}, false)
	})
	seen := func() string {
		t.Helper()
		var all strings.Builder
		info, err := d.v.Info()
		found, searched := d.Search("disappears", 9)
		fmt.Fprintf(&all, "unread %d last %q found %d history", info.Unread, info.Last, len(found))
		for _, e := range d.entries() {
			fmt.Fprintf(&all, " %q", e.Text)
		}
		var events []string
		for e, err := range d.Consume(newConsumer(t)) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Entry != nil {
				events = append(events, e.Entry.Text)
			} else {
				events = append(events, e.Note)
			}
		}
		if err := errors.Join(err, searched); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s events %q", all.String(), events)
	}
	d.time = d.time.Add(5*time.Second - time.Millisecond)
	if got, want := seen(), `unread 2 last "disappears soon" found 1 history "stays" "disappears soon" events ["stays" "disappears soon"]`; got != want {
		t.Errorf("before its end: %s\nexpected        %s", got, want)
	}
	d.time = d.time.Add(time.Millisecond)
	want := `unread 1 last "stays" found 0 history "stays" events ["stays" "expired: what this was about has disappeared"]`
	if got := seen(); got != want {
		t.Errorf("at its end: %s\nexpected    %s", got, want)
	}
	if next, err := d.dropExpired(); next != 0 || err != nil || !d.scrubDue.Load() {
		t.Errorf("dropped: next in %v, %v; a scrub is due: %v", next, err, d.scrubDue.Load())
	}
	if next, err := d.dropExpired(); next != time.Hour || err != nil {
		t.Errorf("nothing is left: next in %v, %v; expected an hour", next, err)
	}
	d.time = d.time.Add(-time.Hour) // the clock is set back: it is gone all the same
	if got := seen(); got != want {
		t.Errorf("after it was dropped: %s\nexpected             %s", got, want)
	}
}

var consumers int

func newConsumer(t *testing.T) string {
	t.Helper()
	consumers++
	return fmt.Sprint("consumer", consumers)
}

// Opening a profile deletes what has expired meanwhile.
func TestOpenDropsTheExpired(t *testing.T) {
	d := newDesk(t)
	d.hears(bobKey, content.Text{Text: "goes"}, time.Second)
	dir := d.profileDir()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	later := func() time.Time { return d.time.Add(time.Second) }
	c, err := Open(Profile{Dir: dir, Key: vault.Raw(bytes.Repeat([]byte{7}, 32)), Now: later})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	err = c.vault.View(func(tx *vault.Tx) error {
		tx.At(time.UnixMilli(1))
		list, err := tx.History(d.row, 0, 10)
		if len(list) != 0 {
			t.Errorf("%d entries are in the vault, expected none", len(list))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func (d *desk) profileDir() string { return filepath.Dir(d.logFile()) }

// logFile is the vault's log.
func (d *desk) logFile() string {
	d.t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(d.t.TempDir()), "*", "alice", "vault.db-wal"))
	if err != nil || len(found) != 1 {
		d.t.Fatalf("the vault's log: %v %v", found, err)
	}
	return found[0]
}

// What was deleted, changed or has expired is scrubbed at once, and then not again
// before 24 times as long have passed: under 5 % of a vault's time.
func TestScrubIsDueAndBounded(t *testing.T) {
	d := newDesk(t)
	for what, f := range map[string]func(*turn, *talk) error{
		"taken back": func(t *turn, row *talk) error {
			_, err := t.erase(row, bobKey, content.Delete{To: d.hearsIn(t, row, "text")})
			return err
		},
		"edited": func(t *turn, row *talk) error {
			_, err := t.edit(row, bobKey, content.ID{}, content.Edit{To: d.hearsIn(t, row, "text"), Text: "x"})
			return err
		},
		"keys forgotten": func(t *turn, row *talk) error { return t.forget(row) },
	} {
		d.scrubDue.Store(false)
		d.do(func(t *turn) error {
			row, err := t.talk(d.row)
			if err != nil {
				return err
			}
			return f(t, row)
		})
		if !d.scrubDue.Load() {
			t.Errorf("%s: no scrub is due", what)
		}
	}
	size := func() int64 {
		info, err := os.Stat(d.logFile())
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if size() == 0 {
		t.Fatal("the test sees no log")
	}
	began := time.Now()
	d.scrubOnce()
	took := time.Since(began)
	if size() != 0 || d.scrubDue.Load() {
		t.Errorf("after a scrub the log has %d bytes, and another is due: %v", size(), d.scrubDue.Load())
	}
	pause := time.Until(d.scrubAfter)
	if pause < 24*took/2-time.Second && pause < scrubPause/2 || pause > max(scrubPause, 25*took) {
		t.Errorf("it took %v, the next one may be in %v", took, pause)
	}
	if scrubShare < 20 {
		t.Errorf("scrubbing may take 1/%d of the time, more than 5 %%", scrubShare)
	}
	d.hears(bobKey, content.Text{Text: "more"}, 0)
	d.scrubAfter = time.Now().Add(time.Hour)
	d.scrubDue.Store(true)
	if wait := d.scrubOnce(); wait < 59*time.Minute || size() == 0 || !d.scrubDue.Load() {
		t.Errorf("too soon: look again in %v, the log has %d bytes, due: %v", wait, size(), d.scrubDue.Load())
	}
	d.scrubDue.Store(false)
	d.scrubAfter = time.Time{}
	if d.scrubOnce(); size() == 0 {
		t.Error("scrubbed though nothing asked for it")
	}
}

// hearsIn is hears within a turn.
func (d *desk) hearsIn(t *turn, row *talk, text string) content.ID {
	d.t.Helper()
	m := content.Message{ID: newID(), Sent: t.now, Body: content.Text{Text: text}}
	raw, err := content.Encode(m)
	if err == nil {
		err = t.newMessage(row, bobKey, &m, raw)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return m.ID
}

// An edited message keeps nothing of its old text, a reply stays one.
func TestEditKeepsNothing(t *testing.T) {
	d := newDesk(t)
	asked := d.hears(bobKey, content.Text{Text: "asked"}, 0)
	for _, body := range []content.Body{content.Text{Text: "was"}, content.Reply{To: asked, Text: "was"}} {
		id := d.says(body)
		d.says(content.Edit{To: id, Text: "is"})
		e := d.last()
		want := content.Body(content.Text{Text: "is"})
		if _, reply := body.(content.Reply); reply {
			want = content.Reply{To: asked, Text: "is"}
		}
		if e.Text != "is" || !e.Edited || e.Body != want {
			t.Errorf("%T is now %q with the body %+v, expected %+v", body, e.Text, e.Body, want)
		}
	}
}

// A change of roles names whom it is about.
func TestRolesNameWhom(t *testing.T) {
	for note, want := range map[string]string{
		roleGiven: "bob made carol, dave an admin", roleTaken: "bob: carol, dave is no longer an admin",
	} {
		if got := sentence(EventRoles, "bob", "carol, dave", note); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
	d := newDesk(t)
	d.do(func(t *turn) error {
		row, err := t.talk(d.row)
		if err != nil {
			return err
		}
		return t.event(row, EventRoles, 0, notice{By: &bobKey, Who: []AccountKey{carolKey}, Note: roleGiven})
	})
	if got := d.last().Text; got != "bob made carol an admin" {
		t.Errorf("the history says %q", got)
	}
}

// Names that look like those that the user knew before are marked, wherever they
// stand; the one that was there first, or was verified, is not.
func TestNamesThatLookAlike(t *testing.T) {
	d := newDesk(t)
	d.contact("bоb", malloryKey, false) // a Cyrillic о
	d.contact("caro1", AccountKey{8}, false)
	d.contact("аlice", AccountKey{7}, false)
	d.contact("дaphne", AccountKey{6}, false) // mixes scripts, like nobody's
	d.contact("иван", AccountKey{5}, false)
	for name, c := range map[string]struct {
		account AccountKey
		want    string
	}{
		"bob": {bobKey, ""}, "bоb": {malloryKey, "looks like bob"}, "caro1": {AccountKey{8}, "looks like carol"}, "carol": {carolKey, ""},
		"аlice": {AccountKey{7}, "looks like alice"}, "дaphne": {AccountKey{6}, "mixes scripts"}, "иван": {AccountKey{5}, ""},
	} {
		if err := d.look(func(tr *turn) error {
			got, err := tr.names().accountWarning(c.account, name)
			if got != c.want {
				t.Errorf("%s: %q, expected %q", name, got, c.want)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	d.hears(malloryKey, content.Text{Text: "hello"}, 0)
	if got := d.last().Warning; got != "“bоb” looks like bob" {
		t.Errorf("mallory's message says %q", got)
	}
	d.hears(bobKey, content.Text{Text: "hello"}, 0)
	if got := d.last().Warning; got != "" {
		t.Errorf("bob's message says %q", got)
	}
	d.do(func(t *turn) error { // bob is one whom we talk to, and was met later
		return errors.Join(t.Accept(bobKey), t.SetContact(&vault.Contact{Account: bobKey, Username: "bob", Since: t.now.Add(time.Hour)}))
	})
	d.hears(malloryKey, content.Text{Text: "hello"}, 0)
	if got := d.last().Warning; got != "“bоb” looks like bob" {
		t.Errorf("mallory's message says %q, of one whom we talk to", got)
	}
	d.contact("bоb", malloryKey, true) // compared by the user: it is who it says
	d.hears(malloryKey, content.Text{Text: "hello"}, 0)
	if got := d.last().Warning; got != "" {
		t.Errorf("mallory's message says %q after verification", got)
	}
}

// Who asks by a name that looks like a contact's, or for a group of such a title, is
// marked before anything is accepted; a title that nobody has accepted is no name that
// others could look like.
func TestRequestsThatLookAlike(t *testing.T) {
	d := newDesk(t)
	d.contact("bоb", malloryKey, false) // a Cyrillic о
	asked := d.group("cаrol")           // Cyrillic
	plain := d.group("sailing")
	d.do(func(t *turn) error {
		for id, by := range map[vault.ConversationID]AccountKey{asked: malloryKey, plain: bobKey} {
			row, err := t.talk(id)
			if err != nil {
				return err
			}
			row.State, row.Inviter = stateRequested, by
			t.changed(row)
		}
		return nil
	})
	list, err := d.Requests()
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v %v", list, err)
	}
	for _, r := range list {
		want := map[string]string{"cаrol": "“bоb” looks like bob; “cаrol” looks like carol", "sailing": ""}[r.Title]
		if r.Warning != want {
			t.Errorf("%s: %q, expected %q", r.Title, r.Warning, want)
		}
	}
	d.time = d.time.Add(time.Hour)
	if info, err := (&Conversation{d.Client, d.group("sai1ing")}).Info(); err != nil || info.Warning != "" {
		t.Errorf("like a title that only asks: %q %v", info.Warning, err)
	}
}

// Titles that look like a person's name, ours, or that of an older group are marked
// in the list, in events and in the notice of a new title.
func TestTitlesThatLookAlike(t *testing.T) {
	d := newDesk(t)
	for title, want := range map[string]string{
		"bob": "looks like bob", "B0B": "looks like bob", "Bоb ": "looks like bob", "ALICE": "looks like alice", "Вook club": "looks like book club", "book club": "looks like book club",
		"bob's friends": "", "sailing": "", "Проект": "", "東京 tokyo": "", "pаypal support": "mixes scripts", "al\u200bice": "looks like alice",
	} {
		id := d.group(title)
		info, err := (&Conversation{d.Client, id}).Info()
		if err != nil || info.Warning != want {
			t.Errorf("%+q: %q %v, expected %q", title, info.Warning, err, want)
		}
		d.do(func(t *turn) error { return t.run(id) })
	}
	if info, err := d.v.Info(); err != nil || info.Warning != "" {
		t.Errorf("the first group: %q %v", info.Warning, err)
	}
	d.row = d.group("cаrol") // Cyrillic
	d.v = &Conversation{d.Client, d.row}
	d.hears(bobKey, content.Text{Text: "hi"}, 0)
	d.do(func(t *turn) error {
		row, err := t.talk(d.row)
		if err != nil {
			return err
		}
		return t.event(row, EventRenamed, 0, notice{By: &bobKey, Note: "B0B"})
	})
	if got := d.last().Warning; got != "“B0B” looks like bob" {
		t.Errorf("the notice of a new title says %q", got)
	}
	var warnings []string
	for e, err := range d.Consume(newConsumer(t)) {
		if err != nil {
			t.Fatal(err)
		}
		warnings = append(warnings, e.Warning)
	}
	if len(warnings) == 0 || slices.ContainsFunc(warnings, func(w string) bool { return w != "looks like carol" }) {
		t.Errorf("the events' titles say %q", warnings)
	}
}

// run takes a conversation out of the way.
func (t *turn) run(id vault.ConversationID) error {
	row, err := t.talk(id)
	if err != nil {
		return err
	}
	row.Title = fmt.Sprintf("%x", id)
	t.changed(row)
	return nil
}

// A word in a text that looks like somebody's name and is not written like it is
// marked.
func TestTextsThatNameSomebodyElse(t *testing.T) {
	d := newDesk(t)
	for text, want := range map[string]string{
		"send it to b0b, please":           "“b0b” looks like bob",
		"ask @cаrol.":                      "“cаrol” looks like carol",
		"(alіce)":                          "“alіce” looks like alice",
		"Bob and CAROL and alice and bob.": "",
		"a b c":                            "",
		"book сlub":                        "",
		"bobby carolus":                    "",
		"":                                 "",
	} {
		if text == "" {
			continue
		}
		d.hears(bobKey, content.Text{Text: text}, 0)
		if got := d.last().Warning; got != want {
			t.Errorf("%q: %q, expected %q", text, got, want)
		}
	}
	d.says(content.Text{Text: "b0b"})
	if got := d.last().Warning; got != "" {
		t.Errorf("our own text: %q", got)
	}
}

// A vault that has a notice of the version before is read as it was kept.
func TestOldNotice(t *testing.T) {
	d := newDesk(t)
	data, err := json.Marshal(notice{By: &bobKey, Who: []AccountKey{carolKey}, Note: "no longer an admin"})
	if err != nil {
		t.Fatal(err)
	}
	e := &Entry{}
	if err := d.look(func(t *turn) error {
		return readNotice(e, &vault.Message{Kind: entryNotice, Body: noticeBody(EventRoles, data)}, t.names())
	}); err != nil || e.Text != "bob: carol is no longer an admin" {
		t.Errorf("%q %v", e.Text, err)
	}
}
