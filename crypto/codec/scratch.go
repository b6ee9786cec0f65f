package codec

import (
	"bytes"
	"sync"
)

// maxScratch is the largest buffer, in bytes, that is kept for the next user.
const maxScratch = 64 << 10

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// Marshal returns the wire form of v.
func Marshal(v Appender) []byte {
	p := scratch.Get().(*[]byte)
	b := v.AppendTo((*p)[:0])
	if cap(b) > maxScratch {
		*p = nil
		scratch.Put(p)
		return b
	}
	out := bytes.Clone(b)
	clear(b)
	*p = b
	scratch.Put(p)
	return out
}

// Scratch passes what fill appends to an empty buffer to use, and erases the buffer
// afterwards: what is signed, hashed or compared needs no memory of its own. Neither may
// keep it.
func Scratch(fill func(b []byte) []byte, use func(b []byte)) {
	p := scratch.Get().(*[]byte)
	b := fill((*p)[:0])
	use(b)
	clear(b)
	if cap(b) > maxScratch {
		b = nil
	}
	*p = b
	scratch.Put(p)
}
