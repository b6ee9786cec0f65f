package fsm

import (
	"encoding/binary"

	"quicproquo/schemas"
)

// Reading the two commands that make up the load without the Cap'n Proto
// library's bookkeeping, which costs about as much as everything else that Apply
// does for an enqueue but the storage. Only plain messages are read here: one
// segment, near pointers, byte lists, nothing that overlaps and so could meet
// the library's traversal limit. Whatever is not plain is left to the library,
// which alone decides what is malformed. FuzzFastDecode holds the two together.

// plain is a message's single segment.
type plain struct {
	segment []byte
	// left is how many bytes may still be pointed to: every byte once.
	left int
}

// plainStruct is a struct in a plain message: its data section and its pointers.
type plainStruct struct {
	data     []byte
	pointers int // offset of the first pointer in the segment
	count    int
}

func openPlain(frame []byte) (plain, bool) {
	if len(frame) < 3*8 || binary.LittleEndian.Uint32(frame) != 0 ||
		uint64(binary.LittleEndian.Uint32(frame[4:]))*8 != uint64(len(frame)-8) {
		return plain{}, false
	}
	return plain{segment: frame[8:], left: len(frame) - 8}, true
}

// target resolves a near pointer at an offset to where it points.
func (p *plain) target(at int) (word uint64, offset int) {
	word = le.Uint64(p.segment[at:])
	return word, at + 8 + int(int32(word)>>2)*8
}

// take accounts for bytes that a pointer points to.
func (p *plain) take(offset, size int) bool {
	p.left -= size
	return offset >= 0 && p.left >= 0 && offset+size <= len(p.segment)
}

// structAt reads the struct that the pointer at an offset points to, with at
// least so many bytes of data and pointers.
func (p *plain) structAt(at, data, pointers int) (s plainStruct, ok bool) {
	word, offset := p.target(at)
	const structPointer = 0
	if word&3 != structPointer || word == 0 {
		return s, false
	}
	dataSize := int(uint16(word>>32)) * 8
	s.count = int(word >> 48)
	if dataSize < data || s.count < pointers || !p.take(offset, dataSize+s.count*8) {
		return s, false
	}
	s.data = p.segment[offset : offset+dataSize]
	s.pointers = offset + dataSize
	return s, true
}

// bytesAt reads a struct's pointer to bytes; a null pointer is no bytes.
func (p *plain) bytesAt(s *plainStruct, i int) ([]byte, bool) {
	word, offset := p.target(s.pointers + i*8)
	if word == 0 {
		return nil, true
	}
	const listPointer, byteElements = 1, 2
	size := int(word >> 35)
	if word&3 != listPointer || word>>32&7 != byteElements || !p.take(offset, size) {
		return nil, false
	}
	return p.segment[offset : offset+size : offset+size], true
}

// fastDecode reads a plain enqueue or ack. False: ask the library.
func (d *decoder) fastDecode(frame []byte) bool {
	p, ok := openPlain(frame)
	if !ok {
		return false
	}
	entry, ok := p.structAt(0, 4, 3)
	if !ok || le.Uint16(entry.data) != schemas.EntryVersion {
		return false
	}
	r := &d.request
	r.tag, r.size = schemas.Entry_command_Which(le.Uint16(entry.data[2:])), len(frame)
	id, ok := p.bytesAt(&entry, 0)
	if !ok || !p.actor(&entry, &r.actor) {
		return false
	}
	r.idLen = len(id)
	copy(r.id[:], id)
	switch r.tag {
	case schemas.Entry_command_Which_enqueue:
		return p.enqueue(&entry, &r.enqueue)
	case schemas.Entry_command_Which_ack:
		return p.ack(&entry, &r.ack)
	default:
		return false
	}
}

// actor reads on whose behalf; a null pointer is nobody.
func (p *plain) actor(entry *plainStruct, a *actor) bool {
	if word, _ := p.target(entry.pointers + 8); word == 0 {
		return a.set(schemas.Actor_Kind_nobody, nil, nil)
	}
	s, ok := p.structAt(entry.pointers+8, 2, 2)
	if !ok {
		return false
	}
	account, ok1 := p.bytesAt(&s, 0)
	device, ok2 := p.bytesAt(&s, 1)
	return ok1 && ok2 && a.set(schemas.Actor_Kind(le.Uint16(s.data)), account, device)
}

func (p *plain) enqueue(entry *plainStruct, e *enqueueRequest) bool {
	s, ok := p.structAt(entry.pointers+16, 8, 4)
	if !ok {
		return false
	}
	key, ok1 := p.bytesAt(&s, 0)
	payload, ok2 := p.bytesAt(&s, 1)
	channel, ok3 := p.bytesAt(&s, 2)
	e.payload = payload
	e.set(key, nil, channel)
	e.version, e.ttlSecs, e.ephemeral = le.Uint16(s.data), le.Uint32(s.data[4:]), s.data[2]&1 != 0
	return ok1 && ok2 && ok3
}

func (p *plain) ack(entry *plainStruct, a *ackRequest) bool {
	s, ok := p.structAt(entry.pointers+16, 16, 4)
	if !ok {
		return false
	}
	key, ok1 := p.bytesAt(&s, 0)
	channel, ok2 := p.bytesAt(&s, 1)
	device, ok3 := p.bytesAt(&s, 3)
	a.set(key, device, channel)
	a.seq, a.version = le.Uint64(s.data), le.Uint16(s.data[8:])
	return ok1 && ok2 && ok3
}
