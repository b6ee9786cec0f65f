package codec

import "encoding/binary"

// Appender is a value that knows its wire form.
type Appender interface {
	// AppendTo appends the wire form to b and returns the longer slice.
	AppendTo(b []byte) []byte
}

// Uint16 appends v.
func Uint16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }

// Uint32 appends v.
func Uint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// Uint64 appends v.
func Uint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// Optional appends the presence octet of an optional<T>.
func Optional(b []byte, present bool) []byte {
	if present {
		return append(b, 1)
	}
	return append(b, 0)
}

// headerSize returns the number of bytes of the minimal header for length n.
func headerSize(n int) int {
	switch {
	case n < 1<<6:
		return 1
	case n < 1<<14:
		return 2
	default:
		return 4
	}
}

func putHeader(b []byte, n int) {
	switch len(b) {
	case 1:
		b[0] = byte(n)
	case 2:
		binary.BigEndian.PutUint16(b, 1<<14|uint16(n))
	default:
		binary.BigEndian.PutUint32(b, 2<<30|uint32(n))
	}
}

// Length appends the minimal header for a vector of n bytes. It panics if n exceeds
// MaxVector: whoever builds a message limits it before.
func Length(b []byte, n int) []byte {
	if n < 0 || n > MaxVector {
		panic("codec: vector longer than 2^30-1 bytes")
	}
	var h [4]byte
	size := headerSize(n)
	putHeader(h[:size], n)
	return append(b, h[:size]...)
}

// Bytes appends opaque<V>.
func Bytes(b, v []byte) []byte { return append(Length(b, len(v)), v...) }

// Vector appends a vector whose body is written by body.
func Vector(b []byte, body func([]byte) []byte) []byte { return VectorAbout(b, 0, body) }

// VectorAbout is Vector for a body of about n bytes: with a good guess the body is
// written where it stays.
func VectorAbout(b []byte, n int, body func([]byte) []byte) []byte {
	start, guess := len(b), headerSize(n)
	b = body(append(b, make([]byte, guess)...))
	n = len(b) - start - guess
	if n > MaxVector {
		panic("codec: vector longer than 2^30-1 bytes")
	}
	size := headerSize(n)
	if size > guess {
		b = append(b, make([]byte, size-guess)...)
	}
	if size != guess {
		copy(b[start+size:], b[start+guess:start+guess+n])
		clear(b[start+size+n:])
		b = b[:start+size+n]
	}
	putHeader(b[start:start+size], n)
	return b
}

// Uint16s appends uint16<V>.
func Uint16s[T ~uint16](b []byte, v []T) []byte {
	b = Length(b, 2*len(v))
	for _, x := range v {
		b = Uint16(b, uint16(x))
	}
	return b
}

// AppendList appends a vector of values.
func AppendList[T Appender](b []byte, list []T) []byte {
	return Vector(b, func(b []byte) []byte {
		for _, v := range list {
			b = v.AppendTo(b)
		}
		return b
	})
}
