package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
)

// hostile is what a stranger may write into any field: a command to the terminal, C1,
// a turn of direction, what is not seen, a tag, and lines that pretend to be ours.
const hostile = "x\x1b[2J\u009b1m\u202e\u200b\U000E0069\ny\u2028z\tw\xff"

// shown is hostile as one line of a terminal has it, quoted as JSON has it.
const (
	shown  = "x␛[2J\ufffd1m\ufffd\ufffd\ufffd y z w\ufffd"
	quoted = `x\u001b[2J\u009b1m\u202e\u200b\udb40\udc69\ny\u2028z\tw\ufffd`
)

// Every field of every record that can come from somebody else is harmless, in a
// line, in a table and as JSON: literally this.
func TestEveryFieldIsHarmless(t *testing.T) {
	at := time.Date(2020, 1, 2, 15, 4, 0, 0, time.Local)
	entry := func(change func(*client.Entry)) *entryRecord {
		e := &client.Entry{
			Seq: 7, Kind: "text", Sender: hostile, Title: hostile, Text: "hi", Sent: at, Received: at.Add(time.Hour),
		}
		change(e)
		return entryOf(e)
	}
	id := content.ID{1}
	failed := errors.New(hostile)
	for _, c := range []struct {
		name string
		r    record
		want string
	}{
		{"text", entry(func(e *client.Entry) { e.Text = hostile }), "#7 2020-01-02 15:04 " + shown + ": x␛[2J\ufffd1m\ufffd\ufffd\ufffd\n    y z w\ufffd"},
		{"deleted", entry(func(e *client.Entry) { e.Deleted = true }), "#7 2020-01-02 15:04 " + shown + ": (deleted)"},
		{"unknown", entry(func(e *client.Entry) { e.Kind = "unknown" }), "#7 2020-01-02 15:04 " + shown + ": (a message that a newer version of this program can show)"},
		{"notice", entry(func(e *client.Entry) { e.Kind, e.Text = "notice", hostile }), "#7 2020-01-02 15:04 * " + shown},
		{"reaction", entry(func(e *client.Entry) { e.Reactions = []client.Reaction{{Emoji: hostile, By: hostile}} }), "#7 2020-01-02 15:04 " + shown + ": hi [" + shown + " " + shown + "]"},
		{"reply", entry(func(e *client.Entry) {
			e.Kind, e.ReplyTo, e.Answers = "reply", &id, &client.Quote{Seq: 3, Sender: hostile, Text: hostile}
		}), "#7 2020-01-02 15:04 " + shown + " (answers " + shown + ": “" + shown + "”): hi"},
		{"reply to what was deleted", entry(func(e *client.Entry) {
			e.Kind, e.ReplyTo, e.Answers = "reply", &id, &client.Quote{Seq: 3, Sender: hostile, Text: "secret", Gone: client.QuoteDeleted}
		}), "#7 2020-01-02 15:04 " + shown + " (answers " + shown + ": (deleted)): hi"},
		{"reply to what is gone", entry(func(e *client.Entry) {
			e.Kind, e.ReplyTo, e.Answers = "reply", &id, &client.Quote{Gone: client.QuoteMissing}
		}), "#7 2020-01-02 15:04 " + shown + " (answers a message that is not here any more): hi"},
		{"warning", entry(func(e *client.Entry) { e.Warning = hostile }), "#7 2020-01-02 15:04 " + shown + ": hi [⚠ " + shown + "]"},
		{"edited, ours, failed", entry(func(e *client.Entry) { e.Edited, e.Mine, e.Status = true, true, "failed" }), "#7 2020-01-02 15:04 " + shown + ": hi (edited) (failed)"},
		{"event", eventOf(&client.Event{Kind: client.EventInvalid, Title: hostile, By: hostile, Who: []string{hostile, "b"}, Note: hostile}), "[" + shown + "] invalid: " + shown + " " + shown + ", b " + shown},
		{"event of an entry", eventOf(&client.Event{Kind: client.EventEdit, Title: hostile, By: hostile, Entry: &client.Entry{Seq: 7, Kind: "text", Sender: hostile, Text: hostile, Sent: at}}), "[" + shown + "] edit by " + shown + ": #7 2020-01-02 15:04 " + shown + ": x␛[2J\ufffd1m\ufffd\ufffd\ufffd\n    y z w\ufffd"},
		{"event with a warning", eventOf(&client.Event{Kind: client.EventMessage, Title: "t", Warning: hostile, Note: "expired"}), "[t ⚠ " + shown + "] message: expired"},
		{"conversation", &conversationRecord{ID: "0123456789", Kind: "group", Title: hostile, State: "broken", Reason: hostile, Warning: hostile}, "01234567 group " + shown + " ⚠ " + shown + " (broken): " + shown},
		{"contact", &contactRecord{Username: hostile, Account: "aa", SafetyNumber: "11"}, shown + "\naccount        aa\nsafety number  11\nverified       no"},
		{"request", &requestRecord{ID: "0123456789", By: hostile}, shown + " asks you into a conversation (0123456789)"},
		{"blocked", &blockedRecord{Name: hostile}, shown},
		{"member", &memberRecord{Username: hostile}, shown},
		{"device", &deviceRecord{ID: "aa", Name: hostile}, "aa " + shown},
		{"account", &accountRecord{Username: hostile, Account: "aa", Device: "bb"}, shown + "  account aa  device bb  logged out"},
		{"check", &checkRecord{Check: "node", Detail: hostile, Hint: hostile, Next: hostile}, "WRONG  node         x␛[2J\ufffd1m\ufffd\ufffd\ufffd; y z w\ufffd\n                    " + shown + "\n                    next: " + shown},
		{"link", &linkRecord{Link: hostile}, shown},
		{"status", &statusRecord{
			Username: hostile, Node: hostile, Endpoint: hostile, Status: hostile, Reason: hostile,
			Nodes: []nodeRecord{{Endpoint: hostile, Error: hostile, err: failed}, {Node: hostile, Endpoint: hostile, Status: hostile}},
		}, shown + ", logged out\nserved by      " + shown + " at " + shown + " (" + shown + "), 0.0 ms away, seen index 0\nto be sent     0 messages, 0 changes\nto be fetched  0 envelopes, 0 held for earlier ones\nwaits because  " + shown +
			"\nnode           " + shown + " unreachable: x␛[2J\ufffd1m\ufffd\ufffd\ufffd; y z w\ufffd\nnode           " + shown + " at " + shown + ": " + shown + ", index 0, 0 behind"},
	} {
		var out bytes.Buffer
		a := &app{out: &out}
		if err := a.print(c.r); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != c.want+"\n" {
			t.Errorf("%s is printed as\n%+q, expected\n%+q", c.name, got, c.want+"\n")
		}
		out.Reset()
		a.options.json = true
		if err := a.print(c.r); err != nil {
			t.Fatal(err)
		}
		checkObject(t, c.name, c.r, out.String())
	}
}

// checkObject: JSON has each hostile field as its escapes, and decodes to what it was.
func checkObject(t *testing.T, name string, r record, line string) {
	t.Helper()
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Errorf("%s as JSON has %d lines", name, strings.Count(line, "\n"))
	}
	want, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if fields := strings.Count(string(want), "\U000E0069"); strings.Count(line, quoted) != fields {
		t.Errorf("%s has %d hostile fields, as JSON %d: %s", name, fields, strings.Count(line, quoted), line)
	}
	var one, other any
	if err := errors.Join(json.Unmarshal(want, &one), json.Unmarshal([]byte(line), &other)); err != nil || !reflect.DeepEqual(one, other) {
		t.Errorf("%s decodes to something else: %v\n%s", name, err, line)
	}
	for _, r := range line {
		if r == 0x7f || r >= 0x80 && r < 0xA0 || r >= 0x200B && r <= 0x200F || r >= 0x2028 && r <= 0x202E || r >= 0xE0000 && r <= 0xE0FFF {
			t.Errorf("%s as JSON has %U raw", name, r)
		}
	}
}

// Cells of tables are one line each and harmless; so are their heads' neighbours.
func TestTablesAreHarmless(t *testing.T) {
	at := time.Date(2020, 1, 2, 15, 4, 0, 0, time.Local)
	for name, c := range map[string]struct {
		print func(*app) error
		want  []string
	}{
		"conversations": {func(a *app) error {
			return table(a, conversationHeads, []*conversationRecord{{ID: "0123456789", Kind: "dm", Title: hostile, State: hostile, Warning: "looks like bob", at: at}})
		}, []string{"ID        KIND  TITLE", "01234567  dm    " + shown + " ⚠ looks like bob  " + shown + "  0        0       2020-01-02 15:04"}},
		"members": {func(a *app) error {
			return table(a, "NAME", []*memberRecord{{Username: hostile, Account: hostile, Self: true, Warning: "mixes scripts"}})
		}, []string{"NAME", shown + " ⚠ mixes scripts (you)  no  0  yes  " + shown}},
		"devices": {func(a *app) error { return table(a, "ID", []*deviceRecord{{ID: "aa", Name: hostile}}) }, []string{"ID", "aa  " + shown + "  -  no"}},
		"contacts": {func(a *app) error {
			return table(a, "NAME", []*contactRecord{{Username: hostile, Account: "aa", since: at}})
		}, []string{"NAME", shown + "  no  2020-01-02 15:04  aa"}},
	} {
		var out bytes.Buffer
		if err := c.print(&app{out: &out}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(c.want) || !strings.HasPrefix(lines[0], c.want[0]) || lines[1] != c.want[1] {
			t.Errorf("%s:\n%+q, expected\n%+q", name, lines, c.want)
		}
	}
}

// An error's words are harmless, and none of their lines looks like one of ours.
func TestErrorsAreHarmless(t *testing.T) {
	var notes bytes.Buffer
	a := &app{notes: &notes, began: true}
	code := a.exit(fmt.Errorf("%s\nnext: rm -rf: %w", hostile, client.ErrNoMessage))
	want := "qpq: x␛[2J\ufffd1m\ufffd\ufffd\ufffd\n     y z w\ufffd\n     next: rm -rf: there is no such message here\n" +
		"     Look at the history: it may have disappeared, or be in another conversation.\nnext: qpq history CONVERSATION\n"
	if got := notes.String(); got != want || code != exitUser {
		t.Errorf("exit %d and\n%+q, expected 1 and\n%+q", code, got, want)
	}
	notes.Reset()
	a.options.json = true
	a.exit(errors.New(hostile))
	if line := notes.String(); !strings.Contains(line, `"message":"`+quoted+`"`) || strings.Count(line, "\n") != 1 {
		t.Errorf("as JSON: %q", line)
	}
	p := &problem{Message: "m", Hint: hostile, Next: hostile}
	if got, want := p.text(), "qpq: m\n     x␛[2J\ufffd1m\ufffd\ufffd\ufffd\n     y z w\ufffd\nnext: "+shown+"\n"; got != want {
		t.Errorf("hint and next: %+q, expected %+q", got, want)
	}
}

// What can't be done to a message ends with 1 and a word for scripts.
func TestMessageErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
	}{{client.ErrNoMessage, "NO_MESSAGE"}, {client.ErrNotYours, "NOT_YOURS"}, {client.ErrDeleted, "MESSAGE_DELETED"}} {
		if p := explain(fmt.Errorf("edit: %w", c.err)); p.Code != c.code || p.Exit != exitUser || p.Next != "qpq history CONVERSATION" || p.Hint == "" {
			t.Errorf("%v is %+v, expected %s", c.err, p, c.code)
		}
	}
}

// A time is of today without its date, else with it; none is a dash. Programs get UTC
// with milliseconds.
func TestClock(t *testing.T) {
	now := time.Now()
	noon := time.Date(now.Year(), now.Month(), now.Day(), 12, 34, 0, 0, time.Local)
	for _, c := range []struct {
		at         time.Time
		text, json string
	}{
		{noon, "12:34", noon.UTC().Format("2006-01-02T15:04:05.000Z")},
		{noon.AddDate(0, 0, -1), noon.AddDate(0, 0, -1).Format("2006-01-02") + " 12:34", noon.AddDate(0, 0, -1).UTC().Format("2006-01-02T15:04:05.000Z")},
		{noon.AddDate(1, 0, 0), noon.AddDate(1, 0, 0).Format("2006-01-02") + " 12:34", noon.AddDate(1, 0, 0).UTC().Format("2006-01-02T15:04:05.000Z")},
		{time.Time{}, "-", ""},
		{time.UnixMilli(1), time.UnixMilli(1).Format("2006-01-02 15:04"), "1970-01-01T00:00:00.001Z"},
	} {
		if got := clock(c.at); got != c.text {
			t.Errorf("clock(%v) = %q, expected %q", c.at, got, c.text)
		}
		if got := stamp(c.at); got != c.json {
			t.Errorf("stamp(%v) = %q, expected %q", c.at, got, c.json)
		}
	}
	e := entryOf(&client.Entry{Sent: noon.AddDate(0, 0, -1), Received: noon, Expires: noon, Sender: "a", Text: "b", Kind: "text"})
	if !strings.HasPrefix(e.line(), "#0 "+noon.AddDate(0, 0, -1).Format("2006-01-02")+" 12:34 a: b") {
		t.Errorf("%q does not begin with when it was sent", e.line())
	}
	if e.SentAt != stamp(noon.AddDate(0, 0, -1)) || e.ReceivedAt != stamp(noon) || e.ExpiresAt != stamp(noon) {
		t.Errorf("sent %s, received %s, expires %s", e.SentAt, e.ReceivedAt, e.ExpiresAt)
	}
}

// A quote is cut between characters.
func TestShortened(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "short": "short", strings.Repeat("é", 40): strings.Repeat("é", 40), strings.Repeat("é", 41): strings.Repeat("é", 40) + "…",
	} {
		if got := shortened(text); got != want {
			t.Errorf("shortened(%q) = %q, expected %q", text, got, want)
		}
	}
}
