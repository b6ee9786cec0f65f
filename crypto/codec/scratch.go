package codec

import (
	"bytes"
	"sync"
)

// maxScratch is the largest buffer, in bytes, that is kept for the next user: the ratchet
// tree of a thousand members with post-quantum keys has 2.7 MB.
const maxScratch = 4 << 20

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// Marshal returns the wire form of v.
func Marshal(v Appender) []byte {
	p := scratch.Get().(*[]byte)
	b := v.AppendTo((*p)[:0])
	if cap(b) > maxScratch {
		giveBack(p, nil)
		return b
	}
	out := bytes.Clone(b)
	giveBack(p, b)
	return out
}

// Scratch passes what fill appends to an empty buffer to use, and erases the buffer
// afterwards: what is signed, hashed or compared needs no memory of its own. Neither may
// keep it.
func Scratch(fill func(b []byte) []byte, use func(b []byte)) {
	p := scratch.Get().(*[]byte)
	b := fill((*p)[:0])
	use(b)
	giveBack(p, b)
}

// giveBack erases b and keeps it for the next user, unless it is too large.
func giveBack(p *[]byte, b []byte) {
	clear(b)
	if cap(b) > maxScratch {
		b = nil
	}
	*p = b
	scratch.Put(p)
}
