package content

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// checkBody reports whether a body of ours holds the limits, before it is copied.
func checkBody(body Body) error {
	switch b := body.(type) {
	case Text:
		return checkText(b.Text, MaxText)
	case Reply:
		return checkText(b.Text, MaxText)
	case Reaction:
		return checkText(b.Emoji, MaxEmoji)
	case Edit:
		return checkText(b.Text, MaxText)
	case Receipt:
		if err := checkReceipt(b.Kind); err != nil {
			return err
		}
		return checkSize(len(b.IDs), MaxReceiptIDs)
	case GroupInfo:
		return checkText(b.Title, MaxTitle)
	case Timer:
		return checkTimer(b.After)
	case Rejoined:
		return checkSize(len(b.Authenticator), MaxAuthenticator)
	case Unreadable:
		return checkSize(len(b.Envelopes), MaxUnreadable)
	}
	return nil
}

func checkText(text string, limit int) error {
	if err := checkSize(len(text), limit); err != nil {
		return err
	}
	if !utf8.ValidString(text) {
		return malformed("text is not UTF-8")
	}
	return nil
}

// checkSize reports whether there is something, and not more than limit.
func checkSize(n, limit int) error {
	switch {
	case n == 0:
		return malformed("nothing is in it")
	case n > limit:
		return fmt.Errorf("%w: %d, at most %d are allowed", ErrLimit, n, limit)
	}
	return nil
}

func checkReceipt(kind ReceiptKind) error {
	if kind != Delivered && kind != Read {
		return malformed("a receipt of kind %d", kind)
	}
	return nil
}

func checkTimer(d time.Duration) error {
	if d < 0 || d > MaxTimer || (d > 0 && d < time.Millisecond) {
		return fmt.Errorf("%w: a timer of %v, it has 1ms to %v", ErrLimit, d, MaxTimer)
	}
	return nil
}
