package schemas

import (
	"encoding/binary"
	"fmt"

	"capnproto.org/go/capnp/v3"
)

// Reader opens framed messages one after another without allocating for each,
// as long as they have one segment; others are opened as Unmarshal does. A
// message stays readable until the next Open. Not safe for concurrent use, and
// not to be copied after its first use.
type Reader struct {
	msg   capnp.Message
	arena capnp.ReadOnlySingleSegment
}

// Open is Unmarshal with the Reader's memory: the same checks, the same limits,
// the same errors. The message aliases frame.
func (r *Reader) Open(frame []byte) (*capnp.Message, error) {
	if err := CheckFrame(frame, max(len(frame), 1)); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(frame) != 0 || len(frame) == wordSize {
		return Unmarshal(frame)
	}
	if _, err := r.msg.Reset(nil); err != nil {
		return nil, err
	}
	r.arena.Release()
	r.arena.ReplaceData(frame[wordSize:])
	r.msg.DepthLimit = maxDepth
	if _, err := r.msg.Reset(&r.arena); err != nil {
		return nil, err
	}
	r.msg.ResetReadLimit(uint64(len(frame)) * traversalFactor)
	return &r.msg, nil
}

// OpenBatch is the function OpenBatch with the Reader's memory.
func (r *Reader) OpenBatch(sealed []byte) (Batch, error) {
	payload, err := envelopePayload(sealed)
	if err != nil {
		return Batch{}, err
	}
	msg, err := r.Open(payload)
	if err != nil {
		return Batch{}, fmt.Errorf("read batch: %w", err)
	}
	batch, err := ReadRootBatch(msg)
	if err != nil {
		return Batch{}, fmt.Errorf("read batch: %w", err)
	}
	return batch, nil
}
