package suite

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// redacted is what a secret shows of itself.
const redacted = "[secret]"

// Secret is key material. Whatever prints, logs or encodes it as text gets a
// placeholder; binary encoders write it on purpose.
type Secret []byte

// Zero overwrites the secret.
func (s Secret) Zero() { clear(s) }

// Clone returns a copy, so that one can be zeroed without the other.
func (s Secret) Clone() Secret {
	if s == nil {
		return nil
	}
	return append(make(Secret, 0, len(s)), s...)
}

// Equal compares in time that depends on the lengths only.
func (s Secret) Equal(other []byte) bool { return subtle.ConstantTimeCompare(s, other) == 1 }

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, which encoding/json honours too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
