package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"capnproto.org/go/capnp/v3"
)

// Errors of the framing. A reader that gets one must give up the stream:
// what follows can't be told apart from garbage.
var (
	ErrTooLarge  = errors.New("message is over its size limit")
	ErrMalformed = errors.New("message is not framed as Cap'n Proto")
)

const (
	wordSize = 8
	// frameGrain is how much is allocated before the first byte of a message
	// has arrived; a header that claims more gets more only as bytes come in.
	frameGrain = 64 << 10
)

// ReadFrame reads one message in Cap'n Proto's standard stream framing
// (segment table, then segments) and returns it whole, table included.
//
// limit bounds the whole frame in bytes. Memory grows with what has arrived,
// at most twice that: a header alone allocates frameGrain at most. buf is used
// if it is large enough and may be nil. A clean end of stream before the first
// byte is io.EOF, any other shortage io.ErrUnexpectedEOF.
func ReadFrame(r io.Reader, limit int, buf []byte) ([]byte, error) {
	return ReadFrameAsking(r, limit, buf, frameGrain, nil)
}

// ReadFrameAsking is ReadFrame that asks, before the frame's buffer grows to so many
// bytes, whether it may: an error of ask ends the reading and is returned. It begins with
// grain bytes, for which it asks, too.
func ReadFrameAsking(r io.Reader, limit int, buf []byte, grain int, ask func(size int) error) ([]byte, error) {
	buf = grow(buf[:0], wordSize)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, err
	}
	segments := uint64(binary.LittleEndian.Uint32(buf)) + 1
	if segments > MaxSegments {
		return nil, fmt.Errorf("%w: %d segments, at most %d are read", ErrMalformed, segments, MaxSegments)
	}
	table := tableSize(int(segments))
	buf, err := readMore(r, buf, table, grain, ask)
	if err != nil {
		return nil, err
	}
	total, err := frameSize(buf, limit)
	if err != nil {
		return nil, err
	}
	return readMore(r, buf, total, grain, ask)
}

// tableSize is the size in bytes of a segment table, padded to a word.
func tableSize(segments int) int {
	return Padded(4 + 4*segments)
}

// frameSize reads a whole segment table and returns the size of its frame.
func frameSize(frame []byte, limit int) (int, error) {
	segments := int(binary.LittleEndian.Uint32(frame)) + 1
	total := uint64(tableSize(segments))
	for i := range segments {
		total += uint64(binary.LittleEndian.Uint32(frame[4+4*i:])) * wordSize
	}
	if total > uint64(limit) {
		return 0, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, total, limit)
	}
	return int(total), nil
}

// readMore extends buf to size bytes from r, allocating as bytes arrive.
func readMore(r io.Reader, buf []byte, size, grain int, ask func(int) error) ([]byte, error) {
	for len(buf) < size {
		have := len(buf)
		step := min(size, max(2*have, grain))
		if ask != nil {
			if err := ask(step); err != nil {
				return nil, err
			}
		}
		buf = grow(buf, step)
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

// grow returns buf with length size, its contents kept.
func grow(buf []byte, size int) []byte {
	if size <= cap(buf) {
		return buf[:size]
	}
	larger := make([]byte, size)
	copy(larger, buf)
	return larger
}

// CheckFrame reports whether frame is exactly one framed message within limit.
func CheckFrame(frame []byte, limit int) error {
	if len(frame) > limit {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(frame), limit)
	}
	if len(frame) < wordSize {
		return fmt.Errorf("%w: %d bytes", ErrMalformed, len(frame))
	}
	segments := uint64(binary.LittleEndian.Uint32(frame)) + 1
	if segments > MaxSegments {
		return fmt.Errorf("%w: %d segments, at most %d are read", ErrMalformed, segments, MaxSegments)
	}
	if len(frame) < tableSize(int(segments)) {
		return fmt.Errorf("%w: truncated segment table", ErrMalformed)
	}
	size, err := frameSize(frame, limit)
	if err != nil {
		return err
	}
	if size != len(frame) {
		return fmt.Errorf("%w: table says %d bytes, there are %d", ErrMalformed, size, len(frame))
	}
	return nil
}

// Unmarshal opens a frame for reading. The message aliases frame: it must not
// be changed or reused while the message is read. The traversal limit is a
// small multiple of the frame's size, so that pointers which visit the same
// bytes again and again are refused.
func Unmarshal(frame []byte) (*capnp.Message, error) {
	if err := CheckFrame(frame, max(len(frame), 1)); err != nil {
		return nil, err
	}
	msg, err := capnp.Unmarshal(frame)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	msg.ResetReadLimit(uint64(len(frame)) * traversalFactor)
	msg.DepthLimit = maxDepth
	return msg, nil
}

// maxDepth is how deep pointers may nest; our deepest message has six levels.
const maxDepth = 16
