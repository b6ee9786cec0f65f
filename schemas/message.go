package schemas

import (
	"encoding/binary"
	"fmt"

	"capnproto.org/go/capnp/v3"
)

// NewMessage starts a message with a single segment that grows as needed.
func NewMessage() (*capnp.Message, *capnp.Segment) { return newMessage(capnp.SingleSegment(nil)) }

// SizedMessage is a message whose size is known before: it grows in place, in the
// bytes of its own frame, so neither growing nor framing copies anything.
type SizedMessage struct {
	head int
	buf  []byte // head bytes, the segment table, the segment
	msg  *capnp.Message
}

// NewSizedMessage starts a message with a single segment of at most size bytes
// beyond the words of a few small structs; allocating more is an error of the
// library.
func NewSizedMessage(size int) (*SizedMessage, *capnp.Segment) { return newSizedMessage(0, size) }

// newSizedMessage leaves head bytes before the frame.
func newSizedMessage(head, size int) (*SizedMessage, *capnp.Segment) {
	begin := head + wordSize
	m := &SizedMessage{head: head, buf: make([]byte, begin+size+messageSlack)}
	msg, seg := newMessage(capnp.SingleSegment(m.buf[begin:begin]))
	m.msg = msg
	return m, seg
}

// Marshal returns the frame. The message must not be changed any more.
func (m *SizedMessage) Marshal() ([]byte, error) {
	frame, err := m.marshal()
	if err != nil {
		return nil, err
	}
	return frame[m.head:], nil
}

// marshal returns the frame behind its head.
func (m *SizedMessage) marshal() ([]byte, error) {
	seg, err := m.msg.Segment(0)
	if err != nil {
		return nil, fmt.Errorf("frame message: %w", err)
	}
	if m.msg.NumSegments() != 1 {
		return nil, fmt.Errorf("frame message: %d segments, want one", m.msg.NumSegments())
	}
	size := len(seg.Data())
	binary.LittleEndian.PutUint32(m.buf[m.head+4:], uint32(size/wordSize))
	return m.buf[:m.head+wordSize+size], nil
}

func newMessage(arena capnp.Arena) (*capnp.Message, *capnp.Segment) {
	msg, seg, err := capnp.NewMessage(arena)
	if err != nil {
		panic(fmt.Sprintf("capnp: a new message with an empty segment: %v", err))
	}
	return msg, seg
}

// messageSlack is the room for struct words around a message's data.
const messageSlack = 256

// EntryFrom returns the command entry of a framed message. The entry aliases
// frame.
func EntryFrom(frame []byte) (Entry, error) {
	msg, err := Unmarshal(frame)
	if err != nil {
		return Entry{}, err
	}
	entry, err := ReadRootEntry(msg)
	if err != nil {
		return Entry{}, fmt.Errorf("read entry: %w", err)
	}
	return entry, nil
}

// ResultFrom returns the result of a framed message. It aliases frame.
func ResultFrom(frame []byte) (Result, error) {
	msg, err := Unmarshal(frame)
	if err != nil {
		return Result{}, err
	}
	result, err := ReadRootResult(msg)
	if err != nil {
		return Result{}, fmt.Errorf("read result: %w", err)
	}
	return result, nil
}

// Caller is on whose behalf an entry runs, in plain Go. The zero value is
// nobody.
type Caller struct {
	Kind    Actor_Kind
	Account []byte // 32 bytes for an account
	Device  []byte // 16 bytes for an account
}

// BuildEntry returns a framed Entry. requestID is 16 bytes, or nil for a
// command that is harmless to repeat; fill sets the command.
func BuildEntry(requestID []byte, by Caller, fill func(Entry_command) error) ([]byte, error) {
	msg, seg := NewMessage()
	entry, err := NewRootEntry(seg)
	if err != nil {
		return nil, fmt.Errorf("build entry: %w", err)
	}
	entry.SetVersion(EntryVersion)
	if err := entry.SetRequestId(requestID); err != nil {
		return nil, fmt.Errorf("build entry: %w", err)
	}
	if by.Kind != Actor_Kind_nobody {
		if err := setActor(entry, by); err != nil {
			return nil, fmt.Errorf("build entry: %w", err)
		}
	}
	if err := fill(entry.Command()); err != nil {
		return nil, fmt.Errorf("build entry: %w", err)
	}
	return msg.Marshal()
}

func setActor(entry Entry, by Caller) error {
	actor, err := entry.NewActor()
	if err != nil {
		return err
	}
	actor.SetKind(by.Kind)
	if err := actor.SetAccount(by.Account); err != nil {
		return err
	}
	return actor.SetDevice(by.Device)
}
