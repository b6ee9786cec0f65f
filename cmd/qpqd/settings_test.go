package main

import (
	"bytes"
	"strings"
	"testing"

	"quicproquo/cluster"
)

// Settings are shown with default, unit and word, those that were changed are marked; one that
// only a newer node knows is shown too, and its name can't play tricks on the terminal.
func TestSettingRows(t *testing.T) {
	rows := settingRows([]cluster.SettingValue{{Name: "registration", Value: 2}, {Name: "session_max", Value: 64}, {Name: "later\x1b[2J", Value: 9}})
	var out bytes.Buffer
	if err := printSettings(&out, rows); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"NAME VALUE DEFAULT UNIT",
		"registration 2 (closed) * 0 0, 1 or 2",
		"session_max 64 64 sessions",
		`"later\x1b[2J" 9 - only newer builds know it`,
		"", "* not the default",
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for i, line := range lines {
		if i >= len(want) || strings.Join(strings.Fields(line), " ") != want[i] {
			t.Errorf("line %d is %q", i, line)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d lines, want %d", len(lines), len(want))
	}
}
