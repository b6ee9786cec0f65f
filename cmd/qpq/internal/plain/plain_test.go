package plain

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// What is shown never commands the terminal, and ordinary texts stay as they are.
func TestTextsAreHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"hello, wörld 👩‍👩‍👧 नमस्ते": "hello, wörld 👩‍👩‍👧 नमस्ते",
		"two\nlines":     "two\nlines",
		"dos\r\nlines":   "dos\nlines",
		"a\tb":           "a b",
		"\x1b[2Jgone":    "␛[2Jgone",
		"bell\a del\x7f": "bell␇ del␡",
		"\u009b31m":      "\ufffd31m",
		"abc\u202edef":   "abc\ufffddef",
		"bad \xff byte":  "bad \ufffd byte",
	} {
		if got := Text(text); got != want {
			t.Errorf("Text(%q) = %q, expected %q", text, got, want)
		}
	}
	if got := Line("two\nlines\u2028three"); got != "two lines three" {
		t.Errorf("Line kept a break: %q", got)
	}
}

// FuzzClean: the result is valid, has no hostile character, and stays so.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "a\nb", "\x1b]0;title\a", "\u202e\u2066", "\xf0\x9f", "\r\n\r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line, whole := Line(text), Text(text)
		for _, s := range []string{line, strings.ReplaceAll(whole, "\n", "")} {
			if !utf8.ValidString(s) {
				t.Fatalf("%q is not UTF-8", s)
			}
			for _, r := range s {
				if Hostile(r) {
					t.Fatalf("%q has %U", s, r)
				}
			}
		}
		if Line(line) != line || Text(whole) != whole {
			t.Fatalf("cleaning %q again changes it", text)
		}
	})
}
