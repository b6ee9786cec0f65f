package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quicproquo/schemas"
)

var update = flag.Bool("update", false, "write docs/settings.md anew")

// Every command of the schema has a row in the command table and a line in a
// script, and the table has no row that the schema does not know.
func TestEveryCommandHasARowAndAScript(t *testing.T) {
	scripts := allScripts(t)
	tags := 0
	for tag := schemas.Entry_command_Which(0); !strings.HasPrefix(tag.String(), "Entry_command_Which("); tag++ {
		tags++
		row := commandOf(tag)
		if tag == schemas.Entry_command_Which_none {
			if row != nil {
				t.Error("none must never be a command")
			}
			continue
		}
		if row == nil {
			t.Errorf("%s has no row in the command table", tag)
			continue
		}
		if row.name != tag.String() {
			t.Errorf("the row of %s is called %q", tag, row.name)
		}
		if row.who == 0 || row.since == 0 || row.since > schemas.FeatureLevel || row.maxBytes == 0 ||
			row.maxBytes > schemas.MaxEntry || row.decode == nil || row.routingKey == nil || row.check == nil {
			t.Errorf("the row of %s is not complete", tag)
		}
		if !bytes.Contains(scripts, []byte("\n"+row.name+" ")) && !bytes.Contains(scripts, []byte("\n"+row.name+"\n")) {
			t.Errorf("no script in testdata shows %s", tag)
		}
	}
	if len(commands) != tags {
		t.Errorf("the command table has %d rows, the schema %d tags", len(commands), tags)
	}
}

func allScripts(t *testing.T) []byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	must(t, err)
	var all []byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		all = append(all, data...)
	}
	return all
}

// docs/settings.md shows the table of settings as it is.
func TestSettingsPageIsCurrent(t *testing.T) {
	page, err := os.ReadFile("../docs/settings.md")
	must(t, err)
	var want strings.Builder
	want.WriteString("| name | default | range | unit | what it does |\n|---|---|---|---|---|\n")
	for _, s := range Settings() {
		fmt.Fprintf(&want, "| `%s` | %d | %d to %d | %s | %s |\n", s.Name, s.Default, s.Min, s.Max, s.Unit, s.Doc)
	}
	head, _, ok := strings.Cut(string(page), "| name |")
	if !ok {
		t.Fatal("docs/settings.md has no table")
	}
	if *update {
		must(t, os.WriteFile("../docs/settings.md", []byte(head+want.String()), 0o644))
	} else if string(page) != head+want.String() {
		t.Errorf("docs/settings.md must end in this table; run `go test ./fsm -run SettingsPage -update`:\n%s", want.String())
	}
}

// Every setting's default lies in its range, and its name is its own.
func TestSettingsTable(t *testing.T) {
	names := map[string]bool{}
	for id, s := range Settings() {
		if s.Default < s.Min || s.Default > s.Max || s.Doc == "" || s.Unit == "" || names[s.Name] {
			t.Errorf("setting %q is not a good row: %+v", s.Name, s)
		}
		names[s.Name] = true
		if got, ok := settingByName(s.Name); !ok || got != settingID(id) {
			t.Errorf("settingByName(%q) = %d, %v", s.Name, got, ok)
		}
	}
}

// Command tells a proposer what an entry is, and refuses what Apply would stop at.
func TestCommandInfo(t *testing.T) {
	for line, want := range map[string]CommandInfo{
		"enqueue to=ann body=x":      {Name: "enqueue", Since: 1, Key: accountKey("ann"), MaxBytes: 1052672},
		"batchEnqueue to=bob body=x": {Name: "batchEnqueue", Since: 1, Key: accountKey("bob"), MaxBytes: schemas.MaxEntry},
		"batchEnqueue body=x":        {Name: "batchEnqueue", Since: 1, MaxBytes: schemas.MaxEntry},
		"ack to=ann seq=1":           {Name: "ack", Since: 1, Key: accountKey("ann"), MaxBytes: 4096, Repeatable: true},
		"expire":                     {Name: "expire", Since: 1, MaxBytes: 4096, NodeOnly: true, Repeatable: true},
		"changeSettings a=1":         {Name: "changeSettings", Since: 1, MaxBytes: 32768, NodeOnly: true},
	} {
		c := parseCall(t, line, 1)
		got, err := Command(c.frame(t))
		must(t, err)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %+v, want %+v", line, got, want)
		}
	}
	for name, spoil := range undecodable() {
		if _, err := Command(entryBuilder{id: newID(1)}.frame(t, spoil)); err == nil {
			t.Errorf("%s: must not be accepted", name)
		}
	}
}

// undecodable spoils entries in ways that no rule can judge.
func undecodable() map[string]func(schemas.Entry) error {
	return map[string]func(schemas.Entry) error{
		"no command":         func(e schemas.Entry) error { e.Command().SetNone(); return nil },
		"newer version":      func(e schemas.Entry) error { e.SetVersion(schemas.EntryVersion + 1); return nil },
		"unknown command":    func(e schemas.Entry) error { e.Command().SetNone(); setTag(e, 999); return nil },
		"unknown actor kind": unknownActor,
	}
}

func unknownActor(e schemas.Entry) error {
	actor, err := e.Actor()
	if err != nil {
		return err
	}
	actor.SetKind(schemas.Actor_Kind_account + 1)
	_, err = e.Command().NewExpire()
	return err
}
