// Package plain makes texts of strangers harmless for a terminal, and for JSON that
// goes to one: nothing that they write moves the cursor, changes colours, hides text,
// turns its direction or is there without being seen.
package plain

import (
	"strings"
	"unicode/utf8"
)

// Line returns a text for one line: breaks and tabs become spaces.
func Line(text string) string { return clean(text, false) }

// Text returns a text of several lines: line breaks stay, tabs become spaces.
func Text(text string) string { return clean(text, true) }

// clean copies a text, a sign in the place of each character that is not shown.
// Which joiners are shown depends on their neighbours: before and next.
func clean(text string, breaks bool) string {
	if harmless(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	var before [2]rune // the last two, the last one first
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		next, _ := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteRune(utf8.RuneError)
		case r == '\n' && breaks:
			b.WriteByte('\n')
		case r == '\r' && next == '\n':
			// the break follows
		case blank(r):
			b.WriteByte(' ')
		case joiner(r) && joins(before, r, next):
			b.WriteRune(r)
		case joiner(r) || Hostile(r):
			b.WriteRune(picture(r))
		default:
			b.WriteRune(r)
		}
		before = [2]rune{r, before[0]}
	}
	return b.String()
}

// blank reports whether a character is shown as a space: breaks, tabs, and the
// pattern of braille without a dot.
func blank(r rune) bool {
	switch r {
	case '\n', '\r', '\t', '\u2028', '\u2029', '\u2800':
		return true
	}
	return false
}

// harmless reports whether a text can stay as it is, without a closer look.
func harmless(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if r < utf8.RuneSelf && r >= ' ' && r != 0x7f {
			continue
		}
		if blank(r) || joiner(r) || Hostile(r) {
			return false
		}
	}
	return true
}

// picture stands for a character that is not shown: C0 controls have pictures.
func picture(r rune) rune {
	switch {
	case r >= 0 && r < 0x20:
		return 0x2400 + r
	case r == 0x7f:
		return '\u2421'
	}
	return utf8.RuneError
}
