// Package plain makes texts of strangers harmless for a terminal: nothing that they
// write moves the cursor, changes colours, hides text or turns its direction.
package plain

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns a text for one line: breaks and tabs become spaces.
func Line(text string) string { return clean(text, false) }

// Text returns a text of several lines: line breaks stay, tabs become spaces.
func Text(text string) string { return clean(text, true) }

func clean(text string, breaks bool) string {
	if harmless(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteRune(utf8.RuneError)
		case r == '\n' && breaks:
			b.WriteByte('\n')
		case r == '\r' && strings.HasPrefix(text, "\n"):
			// the break follows
		case r == '\n' || r == '\r' || r == '\t' || r == '\u2028' || r == '\u2029':
			b.WriteByte(' ')
		case Hostile(r):
			b.WriteRune(picture(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func harmless(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if r == '\n' || r == '\u2028' || r == '\u2029' || Hostile(r) {
			return false
		}
	}
	return true
}

// Hostile tells whether a character does something to a terminal or to the text
// around it instead of being shown: controls (C0, DEL, C1), marks that turn the
// direction of writing (Unicode TR 9 §2), invisible tags and fillers. The joiners
// that emoji and some scripts need are let through.
func Hostile(r rune) bool {
	switch {
	case unicode.IsControl(r):
		return true
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\u200e', r == '\u200f', r == '\u061c':
		return true
	case r == '\u200b', r == '\u2060', r == '\ufeff', r == '\u00ad', r == '\u3164', r == '\u115f', r == '\u1160', r == '\uffa0':
		return true
	case r >= '\ufff9' && r <= '\ufffb', r >= 0xE0000 && r <= 0xE001F:
		return true
	}
	return false
}

// picture stands for a character that is not shown: C0 controls have pictures.
func picture(r rune) rune {
	switch {
	case r < 0x20:
		return 0x2400 + r
	case r == 0x7f:
		return '\u2421'
	}
	return utf8.RuneError
}
