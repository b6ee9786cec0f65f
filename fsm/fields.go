package fsm

import "fmt"

// Rows of several fields, one behind the other: numbers of fixed size, bytes
// behind their length. Every row of the topics' tables is written with
// appendField and read with fields, so that none has a codec of its own.

// appendField appends bytes behind their length, which is below 64 KiB.
func appendField(row []byte, field []byte) []byte {
	row = le.AppendUint16(row, uint16(len(field)))
	return append(row, field...)
}

// fields reads a row from its beginning. After the last field, done tells
// whether the row had the right shape.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) take(n int) []byte {
	if n > len(f.rest) {
		f.bad = true
		return make([]byte, n)
	}
	field := f.rest[:n]
	f.rest = f.rest[n:]
	return field
}

func (f *fields) u8() byte    { return f.take(1)[0] }
func (f *fields) u16() uint16 { return le.Uint16(f.take(2)) }
func (f *fields) u32() uint32 { return le.Uint32(f.take(4)) }
func (f *fields) u64() uint64 { return le.Uint64(f.take(8)) }

// exact fills dst.
func (f *fields) exact(dst []byte) { copy(dst, f.take(len(dst))) }

// bytes copies a field that stands behind its length; an empty one is nil.
func (f *fields) bytes() []byte { return clone(f.take(int(f.u16()))) }

func (f *fields) text() string { return string(f.take(int(f.u16()))) }

// done is the row's error: too short, or longer than its fields.
func (f *fields) done(what string) error {
	if f.bad || len(f.rest) != 0 {
		return fmt.Errorf("%s: %w: %d bytes over", what, errRow, len(f.rest))
	}
	return nil
}
