package account

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Names that people take for the same are the same.
func TestUsernameCanonical(t *testing.T) {
	for typed, want := range map[string]string{
		"alice":                       "alice",
		"Alice":                       "alice",
		"ＡＬＩＣＥ":                       "alice", // fullwidth
		"JOSÉ":                        "josé",
		"jose\u0301":                  "josé", // decomposed
		"STRASSE":                     "strasse",
		"straße":                      "straße",
		"ΣΊΣΥΦΟΣ":                     "σίσυφοσ",
		"l·l":                         "l·l", // the middle dot between two l (RFC 5892 A.3)
		"a.b-c_d@e":                   "a.b-c_d@e",
		"мир":                         "мир",
		"שלום":                        "שלום",
		strings.Repeat("x", 64):       strings.Repeat("x", 64),
		strings.Repeat("é", 64):       strings.Repeat("é", 64),
		strings.Repeat("e\u0301", 64): strings.Repeat("é", 64),
	} {
		got, err := ParseUsername(typed)
		if err != nil || got.String() != want {
			t.Errorf("%q is %q (%v), want %q", typed, got, err, want)
		}
	}
}

// A refused name gets an error that names what is refused.
func TestUsernameRefused(t *testing.T) {
	for typed, want := range map[string]string{
		"":                         "it is empty",
		"al ice":                   "character 3, U+0020 ' ', is not allowed there",
		"alice\n":                  "character 6, U+000A, is not allowed there",
		"al\u200bice":              "character 3, U+200B, is not allowed there",
		"alice\u202e":              "character 6, U+202E, is not allowed there",
		"a·b":                      "character 2, U+00B7 '·', is not allowed there",
		"♥":                        "character 1, U+2665 '♥', is not allowed there",
		"henry\u2163":              "character 6, U+2163 'Ⅳ', is not allowed there",
		"\xff":                     "it is not valid UTF-8",
		"שa":                       "it mixes right-to-left and left-to-right text",
		strings.Repeat("x", 65):    "it has 65 characters, at most 64 are allowed",
		strings.Repeat("𐐨", 33):    "it has 132 bytes in canonical form, at most 128 are allowed",
		strings.Repeat("x", 257):   "it has 257 bytes, at most 256 are allowed",
		strings.Repeat("x", 1<<20): "it has 1048576 bytes, at most 256 are allowed",
	} {
		got, err := ParseUsername(typed)
		if !errors.Is(err, ErrUsername) || !strings.Contains(err.Error(), want) || got != (Username{}) {
			t.Errorf("%.20q: got %v, want %q", typed, err, want)
		}
	}
}

// A canonical name is its own canonical form, whatever was typed.
func TestUsernameIsStable(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		once, err := ParseUsername(rapid.StringN(1, 30, 120).Draw(rt, "typed"))
		if err != nil {
			return
		}
		twice, err := ParseUsername(once.String())
		if err != nil || twice != once {
			rt.Fatalf("%q becomes %q (%v)", once, twice, err)
		}
	})
}
