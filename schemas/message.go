package schemas

import (
	"fmt"

	"capnproto.org/go/capnp/v3"
)

// NewMessage starts a message whose single segment has room for size bytes.
func NewMessage(size int) (*capnp.Message, *capnp.Segment) {
	msg, seg, err := capnp.NewMessage(capnp.SingleSegment(make([]byte, 0, size+messageSlack)))
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
