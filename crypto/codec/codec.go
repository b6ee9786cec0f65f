// Package codec reads and writes the TLS presentation language as RFC 9420 §2.1
// uses it: big-endian integers, optional values, and vectors whose length header is a
// variable-size integer (RFC 9000 §16 without the eight-byte form, RFC 9420 §2.1.2).
//
// It must never allocate before a length has been checked against the bytes that are
// really there, accept a length header that is not minimal, or let trailing bytes pass
// unseen: [Reader.Finish] refuses them.
//
// Reading order: codec.go (reader), append.go (writer).
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxVector is the largest vector length that a header can express, in bytes
// (RFC 9420 §2.1.2: 30 bits).
const MaxVector = 1<<30 - 1

// Errors a Reader reports. All are wrapped with what was being read.
var (
	ErrTruncated  = errors.New("input ends early")
	ErrTrailing   = errors.New("bytes left over after the value")
	ErrHeader     = errors.New("vector length header is reserved")
	ErrNotMinimal = errors.New("vector length header is not minimal")
	ErrValue      = errors.New("value is not allowed here")
	ErrTooMany    = errors.New("list is longer than is allowed here")
)

// Reader decodes values from a byte slice. The first error sticks: later reads return
// zero values, so a decoder reads straight through and checks Err once. Byte strings
// returned alias the input, which must therefore not change afterwards.
type Reader struct {
	b   []byte
	err error
}

// NewReader returns a reader over b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns the first error, or nil.
func (r *Reader) Err() error { return r.err }

// Len returns the number of unread bytes.
func (r *Reader) Len() int { return len(r.b) }

// More reports whether unread bytes are left and no error has happened; it is the
// condition of every loop over the elements of a vector.
func (r *Reader) More() bool { return r.err == nil && len(r.b) > 0 }

// Fail records err unless an earlier error is recorded already.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// Finish returns the first error, or ErrTrailing if bytes are left.
func (r *Reader) Finish() error {
	if r.err == nil && len(r.b) > 0 {
		r.Fail(fmt.Errorf("%d: %w", len(r.b), ErrTrailing))
	}
	return r.err
}

// Fixed returns the next n bytes.
func (r *Reader) Fixed(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.b) {
		r.Fail(fmt.Errorf("need %d bytes, have %d: %w", n, len(r.b), ErrTruncated))
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Rest returns all unread bytes.
func (r *Reader) Rest() []byte { return r.Fixed(len(r.b)) }

// Uint8 reads a uint8.
func (r *Reader) Uint8() uint8 {
	if v := r.Fixed(1); v != nil {
		return v[0]
	}
	return 0
}

// Uint16 reads a uint16.
func (r *Reader) Uint16() uint16 {
	if v := r.Fixed(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

// Uint32 reads a uint32.
func (r *Reader) Uint32() uint32 {
	if v := r.Fixed(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// Uint64 reads a uint64.
func (r *Reader) Uint64() uint64 {
	if v := r.Fixed(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// Optional reads the presence octet of an optional<T> (RFC 9420 §2.1.1).
func (r *Reader) Optional() bool {
	switch v := r.Uint8(); v {
	case 0:
		return false
	case 1:
		return r.err == nil
	default:
		r.Fail(fmt.Errorf("presence octet %d: %w", v, ErrValue))
		return false
	}
}

// Absent skips optional values that are absent, and returns how many.
func (r *Reader) Absent() int {
	b := r.b
	for len(b) >= 8 && binary.NativeEndian.Uint64(b) == 0 {
		b = b[8:]
	}
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	n := len(r.b) - len(b)
	r.b = b
	return n
}

// Length reads a vector length header and checks it for minimality, not against the
// bytes that follow.
func (r *Reader) Length() int {
	if r.err != nil {
		return 0
	}
	if len(r.b) == 0 {
		r.Fail(fmt.Errorf("vector length header: %w", ErrTruncated))
		return 0
	}
	var size, v int
	switch r.b[0] >> 6 {
	case 0:
		size = 1
	case 1:
		size = 2
	case 2:
		size = 4
	default:
		r.Fail(ErrHeader)
		return 0
	}
	header := r.Fixed(size)
	for i, c := range header {
		if i == 0 {
			c &= 0x3f
		}
		v = v<<8 | int(c)
	}
	if r.err == nil && headerSize(v) != size {
		r.Fail(fmt.Errorf("length %d in %d bytes: %w", v, size, ErrNotMinimal))
		return 0
	}
	return v
}

// Bytes reads opaque<V>.
func (r *Reader) Bytes() []byte { return r.Fixed(r.Length()) }

// Vector reads a vector header and returns a reader over exactly its body. Errors of
// the returned reader must be handed back with Done.
func (r *Reader) Vector() *Reader { return &Reader{b: r.Bytes(), err: r.err} }

// Done ends a reader returned by Vector: leftovers in it are an error of r.
func (r *Reader) Done(inner *Reader) {
	if err := inner.Finish(); err != nil {
		r.Fail(err)
	}
}

// Uint16s reads uint16<V>.
func (r *Reader) Uint16s() []uint16 { return Numbers[uint16](r) }

// Numbers reads uint16<V> as another type.
func Numbers[T ~uint16](r *Reader) []T {
	b := r.Bytes()
	if len(b)%2 != 0 {
		r.Fail(fmt.Errorf("uint16 in %d bytes: %w", len(b), ErrTruncated))
		return nil
	}
	if len(b) == 0 {
		return nil
	}
	out := make([]T, len(b)/2)
	for i := range out {
		out[i] = T(binary.BigEndian.Uint16(b[2*i:]))
	}
	return out
}

// List reads a vector of values, each with read. Its capacity grows with the values
// that were really decoded, never with a length that was only claimed.
func List[T any](r *Reader, read func(*Reader) T) []T { return ListUpTo(r, MaxVector, read) }

// ListUpTo is List of at most so many values; more are ErrTooMany. A value in memory can
// be many times its encoding, so a list that is known to be short is not read further.
func ListUpTo[T any](r *Reader, most int, read func(*Reader) T) []T {
	v := r.Vector()
	var out []T
	for v.More() {
		if len(out) == most {
			r.Fail(fmt.Errorf("more than %d: %w", most, ErrTooMany))
			return nil
		}
		out = append(out, read(v))
	}
	r.Done(v)
	if r.err != nil {
		return nil
	}
	return out
}

// Unmarshal decodes exactly one value from b.
func Unmarshal[T any](b []byte, read func(*Reader) T) (T, error) {
	r := NewReader(b)
	v := read(r)
	if err := r.Finish(); err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}
