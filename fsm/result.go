package fsm

import (
	"encoding/binary"
	"fmt"

	"quicproquo/schemas"
)

// Result is what applying one command gave: replicated data, the same on every
// node.
type Result struct {
	Code schemas.Code
	// Value is the number that the code speaks of: a limit, an epoch, an index.
	Value uint64
	// Data is the framed message of the method's results struct when Code is ok.
	// Several results may share its memory: it must never be changed.
	Data []byte
}

// Layout of a framed schemas.Result in one segment: the frame's head, the root
// pointer, code and value, the pointer to results. What Data holds behind its
// own frame head is such a pointer and what it points to, and since pointers
// are relative it can stand in that place as it is.
const (
	frameHead      = 8
	resultFixed    = frameHead + 8 + 2*8
	resultRoot     = 2<<32 | 1<<48 // a struct of two data words and one pointer
	emptyResultLen = resultFixed + 8
)

// Append appends the framed schemas.Result message to dst.
func (r Result) Append(dst []byte) []byte {
	results := r.Data
	if len(results) == 0 {
		results = make([]byte, frameHead+8)
	}
	results = results[frameHead:]
	dst = appendFrameHead(dst, resultFixed-frameHead+len(results))
	dst = le.AppendUint64(dst, resultRoot)
	dst = le.AppendUint64(dst, uint64(r.Code))
	dst = le.AppendUint64(dst, r.Value)
	return append(dst, results...)
}

// DecodeResult reads a framed schemas.Result message from another node. The
// result does not alias frame.
func DecodeResult(frame []byte) (Result, error) {
	if err := schemas.CheckFrame(frame, schemas.MaxPeerMessage); err != nil {
		return Result{}, fmt.Errorf("decode result: %w", err)
	}
	if len(frame) >= emptyResultLen && binary.LittleEndian.Uint32(frame) == 0 && le.Uint64(frame[frameHead:]) == resultRoot {
		return decodeOwnLayout(frame), nil
	}
	return decodeAnyLayout(frame)
}

// decodeOwnLayout undoes Append.
func decodeOwnLayout(frame []byte) Result {
	r := Result{
		Code:  schemas.Code(le.Uint16(frame[frameHead+8:])),
		Value: le.Uint64(frame[frameHead+16:]),
	}
	results := frame[resultFixed:]
	if le.Uint64(results) != 0 {
		r.Data = appendFrameHead(make([]byte, 0, frameHead+len(results)), len(results))
		r.Data = append(r.Data, results...)
	}
	return r
}

func decodeAnyLayout(frame []byte) (Result, error) {
	msg, err := schemas.ResultFrom(frame)
	if err != nil {
		return Result{}, fmt.Errorf("decode result: %w", err)
	}
	r := Result{Code: msg.Code(), Value: msg.Value()}
	results, err := msg.Results()
	if err != nil {
		return Result{}, fmt.Errorf("decode result: %w", err)
	}
	if !results.IsValid() {
		return r, nil
	}
	own, _ := schemas.NewMessage()
	if err := own.SetRoot(results); err != nil {
		return Result{}, fmt.Errorf("decode result: %w", err)
	}
	if r.Data, err = own.Marshal(); err != nil {
		return Result{}, fmt.Errorf("decode result: %w", err)
	}
	return r, nil
}

// appendFrameHead begins a framed message of one segment of size bytes.
func appendFrameHead(dst []byte, size int) []byte {
	dst = le.AppendUint32(dst, 0)
	return le.AppendUint32(dst, uint32(size/8))
}

// resultSlab makes small results without an allocation for each.
type resultSlab struct {
	free []byte
}

const slabSize = 8 << 10

// numbers returns the framed message whose root is a struct of these data words
// and no pointers.
func (s *resultSlab) numbers(words ...uint64) []byte {
	size := frameHead + 8 + 8*len(words)
	if cap(s.free)-len(s.free) < size {
		s.free = make([]byte, 0, slabSize)
	}
	from := len(s.free)
	s.free = appendFrameHead(s.free, size-frameHead)
	s.free = le.AppendUint64(s.free, uint64(len(words))<<32)
	for _, word := range words {
		s.free = le.AppendUint64(s.free, word)
	}
	return s.free[from:len(s.free):len(s.free)]
}

// encodeOutcomes returns a framed BatchEnqueueResults message.
func encodeOutcomes(outcomes []outcome) ([]byte, error) {
	msg, seg := schemas.NewMessage()
	results, err := schemas.NewRootBatchEnqueueResults(seg)
	if err != nil {
		return nil, err
	}
	if err := fillOutcomes(results.NewOutcomes, outcomes); err != nil {
		return nil, err
	}
	return msg.Marshal()
}

// fillOutcomes writes outcomes into a list of a message.
func fillOutcomes(newList func(int32) (schemas.RecipientOutcome_List, error), outcomes []outcome) error {
	list, err := newList(int32(len(outcomes)))
	if err != nil {
		return err
	}
	for i, o := range outcomes {
		list.At(i).SetCode(o.code)
		list.At(i).SetSeq(o.seq)
	}
	return nil
}
