package account

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/secure/bidirule"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
)

// Limits of a user name.
const (
	// MaxUsernameInput limits a name as typed, in bytes, before any work on it.
	MaxUsernameInput = 256
	// MaxUsername limits a canonical name, in bytes.
	MaxUsername = 128
	// MaxUsernameRunes limits a canonical name, in code points.
	MaxUsernameRunes = 64
)

// Username is a user name in canonical form: the profile UsernameCaseMapped of
// PRECIS (RFC 8265 §3.3), which folds width and case, normalizes to NFC and
// refuses what could not be typed, seen or ordered alike everywhere. Two names
// are the same account when they are equal. The zero value is no name.
type Username struct {
	canonical string
}

// ParseUsername makes a name canonical. Its errors are [ErrUsername] and name
// what is refused.
func ParseUsername(typed string) (Username, error) {
	if typed == "" {
		return Username{}, fmt.Errorf("%w: it is empty", ErrUsername)
	}
	if len(typed) > MaxUsernameInput {
		return Username{}, fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrUsername, len(typed), MaxUsernameInput)
	}
	if !utf8.ValidString(typed) {
		return Username{}, fmt.Errorf("%w: it is not valid UTF-8", ErrUsername)
	}
	canonical, err := precis.UsernameCaseMapped.String(typed)
	if err != nil {
		return Username{}, refuse(typed, err)
	}
	if again, err := precis.UsernameCaseMapped.String(canonical); err != nil || again != canonical {
		return Username{}, fmt.Errorf("%w: it has no stable canonical form", ErrUsername)
	}
	if len(canonical) > MaxUsername {
		return Username{}, fmt.Errorf("%w: it has %d bytes in canonical form, at most %d are allowed", ErrUsername, len(canonical), MaxUsername)
	}
	if n := utf8.RuneCountInString(canonical); n > MaxUsernameRunes {
		return Username{}, fmt.Errorf("%w: it has %d characters, at most %d are allowed", ErrUsername, n, MaxUsernameRunes)
	}
	return Username{canonical: canonical}, nil
}

// String returns the canonical name, "" for the zero value.
func (u Username) String() string { return u.canonical }

// refuse says which character is at fault, or that only their company is.
func refuse(typed string, cause error) error {
	// The profile without its last rule, which no single character can break.
	letters := precis.NewIdentifier(precis.FoldWidth, precis.LowerCase(), precis.Norm(norm.NFC))
	position := 0
	for _, r := range typed {
		position++
		if _, err := letters.String(string(r)); err != nil {
			return fmt.Errorf("%w: character %d, %#U, is not allowed there (RFC 8265 §3.3)", ErrUsername, position, r)
		}
	}
	if errors.Is(cause, bidirule.ErrInvalid) {
		return fmt.Errorf("%w: it mixes right-to-left and left-to-right text in a forbidden way (RFC 5893 §2)", ErrUsername)
	}
	return fmt.Errorf("%w: its characters are not allowed in this combination (RFC 8265 §3.3)", ErrUsername)
}

// require refuses the zero name, which no client can have sent.
func (u Username) require() error {
	if u.canonical == "" {
		return fmt.Errorf("%w: it is empty", ErrUsername)
	}
	return nil
}
