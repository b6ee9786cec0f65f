package plain

import (
	"fmt"
	"unicode/utf8"
)

// JSON escapes in JSON what must not reach a terminal as it is: what Hostile says,
// the joiners and U+2800. The result is ASCII there ("\u009b", above U+FFFF a pair
// of surrogates) and decodes to the same values. encoding/json leaves all of them
// but C0, U+2028 and U+2029 as they are. raw is valid JSON: characters beyond ASCII
// stand in its strings only.
func JSON(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] < utf8.RuneSelf && raw[i] != 0x7f {
			out = append(out, raw[i])
			i++
			continue
		}
		r, size := utf8.DecodeRune(raw[i:])
		switch {
		case !escaped(r):
			out = append(out, raw[i:i+size]...)
		case r > 0xFFFF:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += size
	}
	return out
}

// escaped reports whether JSON has a character as an escape. Format characters that
// are drawn are escaped too: nobody reads JSON for them.
func escaped(r rune) bool {
	return Hostile(r) || joiner(r) || numberSign(r) || r == '\u2800'
}
