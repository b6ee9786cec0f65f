package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/quic-go/quic-go"

	"quicproquo/schemas"
)

// words returns a frame of one segment with these words.
func words(list ...uint64) []byte {
	frame := head(8 * len(list))
	for _, w := range list {
		frame = binary.LittleEndian.AppendUint64(frame, w)
	}
	return frame
}

// Words of Cap'n Proto pointers (encoding spec, "Pointers").
const (
	structPtr = 0                   // kind 0, offset 0
	listPtr   = 1                   // kind 1
	farPtr    = 2                   // kind 2
	requestIs = 2<<32 | 2<<48       // a Request as we send it: 2 or 3 data words, 2 pointers
	selfPtr   = 0xffff_fffc         // a struct pointer with offset -1: it points at itself
	hugeList  = 1 | 0x1fff_ffff<<35 // 536,870,911 elements of no size
)

// Bytes that are framed but make no sense are answered with a code that says
// what is wrong, and the stream goes on.
func TestFramedNonsenseIsAnswered(t *testing.T) {
	qc := openDoor(t, NewServer(newFakeNode(1), Options{})).dial(t)
	root := schemasRoot(t)
	for _, c := range []struct {
		name  string
		frame []byte
		want  schemas.Code
		value uint64
	}{
		{"no root", words(0), schemas.Code_malformed, 0},
		{"empty message", head(0), schemas.Code_malformed, 0},
		{"root points behind the end", words(structPtr | 100<<2 | 1<<32), schemas.Code_malformed, 0},
		{"root is a list", words(listPtr|3<<32|1<<35, 0), schemas.Code_malformed, 0},
		{"root points at itself", words(selfPtr | 1<<48), schemas.Code_tokenMissing, 0},
		{"params point into a loop", loopParams(t), schemas.Code_malformed, 0},
		{"request id is a bomb", withRequestID(root, hugeList), schemas.Code_malformed, 0},
		{"far pointer to no segment", words(farPtr | 9<<32), schemas.Code_malformed, 0},
		{"double far pointer to nowhere", words(farPtr | 4 | 7<<32), schemas.Code_malformed, 0},
		{"far pointer loop over two segments", farLoop(), schemas.Code_malformed, 0},
		{"params are data", frameOf(t, healthMethod, func(r schemas.Request) { paramsOf(t, r, []byte("x")) }), schemas.Code_malformed, 0},
		{"unknown method", frameOf(t, 999, nil), schemas.Code_unknownMethod, 999},
		{"last ordinal", frameOf(t, 0xffff, nil), schemas.Code_unknownMethod, 0xffff},
		{"request id of 15 bytes", frameOf(t, healthMethod, func(r schemas.Request) { must(t, r.SetRequestId(make([]byte, 15))) }), schemas.Code_requestIdLength, 15},
		{"timeout of an hour", frameOf(t, healthMethod, func(r schemas.Request) { r.SetTimeoutMs(3_600_000) }), schemas.Code_timeoutTooLarge, 60_000},
		{"too large for its method", frameOf(t, healthMethod, func(r schemas.Request) { paramsOf(t, r, make([]byte, 5<<10)) }), schemas.Code_messageTooLarge, smallMethod},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStream(t, qc, c.frame)
			got, err := readAnswer(t, s)
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			if got.code != c.want || got.value != c.value {
				t.Errorf("got %s, value %d; want %s, %d", got.code.ID(), got.value, c.want.ID(), c.value)
			}
			if got.message == "" {
				t.Error("the failure has no words for people")
			}
			if _, err := s.Write(healthFrame(t)); err != nil {
				t.Fatalf("the stream was given up: %v", err)
			}
			if next, err := readAnswer(t, s); err != nil || next.status != "ok" {
				t.Errorf("next call on the stream: got %+v, %v", next, err)
			}
		})
	}
}

// What breaks the framing, or is too large to be read, ends its stream: with an
// answer where the size says enough, with a reset where bytes can't be told
// apart any more. The connection's other streams go on.
func TestBrokenFramingEndsItsStreamOnly(t *testing.T) {
	qc := openDoor(t, NewServer(newFakeNode(1), Options{})).dial(t)
	other := openStream(t, qc, healthFrame(t))
	if got, err := readAnswer(t, other); err != nil || got.status != "ok" {
		t.Fatalf("other stream: %+v, %v", got, err)
	}
	whole := healthFrame(t)
	for _, c := range []struct {
		name  string
		bytes []byte
		fin   bool
		want  schemas.Code         // answered, then the stream ends
		reset quic.StreamErrorCode // or reset with this
	}{
		{"claims 3 MiB and a word", head(schemas.MaxRequest), false, schemas.Code_messageTooLarge, 0},
		{"claims 32 GiB", []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, false, schemas.Code_messageTooLarge, 0},
		{"16 segments of 32 GiB", append([]byte{15, 0, 0, 0}, bytes.Repeat([]byte{0xff}, 64+4)...), false, schemas.Code_messageTooLarge, 0},
		{"17 segments", append([]byte{16, 0, 0, 0}, make([]byte, 68)...), false, 0, StreamMalformed},
		{"4 billion segments", bytes.Repeat([]byte{0xff}, 8), false, 0, StreamMalformed},
		{"an HTTP request", []byte("GET / HTTP/1.1\r\n\r\n"), false, 0, StreamMalformed},
		{"half a head", whole[:4], true, 0, StreamMalformed},
		{"half a message", whole[:len(whole)-8], true, 0, StreamMalformed},
		{"a message and a half", append(bytes.Clone(whole), whole[:12]...), true, schemas.Code_ok, StreamMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStream(t, qc, c.bytes)
			if c.fin {
				must(t, s.Close())
			}
			var reset *quic.StreamError
			got, err := readAnswer(t, s)
			if err == nil {
				if got.code != c.want {
					t.Errorf("got %s, want %s", got.code.ID(), c.want.ID())
				}
				_, err = s.Read(make([]byte, 1))
			}
			if c.reset == 0 && !errors.Is(err, io.EOF) {
				t.Errorf("after the answer: got %v, want the end of the stream", err)
			}
			if c.reset != 0 && (!errors.As(err, &reset) || reset.ErrorCode != c.reset) {
				t.Errorf("got %v, want a reset with code %d", err, c.reset)
			}
			if _, err := other.Write(whole); err != nil {
				t.Fatalf("the other stream was given up: %v", err)
			}
			if got, err := readAnswer(t, other); err != nil || got.status != "ok" {
				t.Errorf("other stream: got %+v, %v", got, err)
			}
		})
	}
}

// Random bytes, resets in the middle and streams that end at any byte leave the
// connection whole: it still answers, and nothing of them stays.
func TestRandomStreamsLeaveTheConnectionWhole(t *testing.T) {
	server := NewServer(newFakeNode(1), Options{})
	qc := openDoor(t, server).dial(t)
	random := rand.NewChaCha8([32]byte{1})
	pick := rand.New(random)
	whole := healthFrame(t)
	for i := range 500 {
		data := bytes.Clone(whole)
		if i%2 == 0 {
			data = make([]byte, 1+pick.IntN(300))
			if _, err := random.Read(data); err != nil {
				t.Fatal(err)
			}
		} else {
			data[pick.IntN(len(data))] ^= byte(1 << pick.IntN(8))
		}
		s := openStream(t, qc, data[:1+pick.IntN(len(data))])
		switch i % 3 {
		case 0:
			_ = s.Close()                 // the server may have reset it already
			_, _ = io.Copy(io.Discard, s) // whatever is answered
			s.CancelRead(0)
		case 1:
			s.CancelWrite(9)
			s.CancelRead(9)
		case 2:
			s.CancelRead(9)
			_ = s.Close() // the server may have reset it already
		}
	}
	if got := callOn(t, qc, whole); got.status != "ok" {
		t.Errorf("got %+v after 500 broken streams, want ok", got)
	}
	eventually(t, "all streams but none are gone", func() bool { return server.streams.Load() == 0 })
	if n := server.strange.used(); n != 0 {
		t.Errorf("%d bytes of request memory are still reserved", n)
	}
}

// schemasRoot is a health request with a request id, whose id pointer can be
// replaced.
func schemasRoot(tb testing.TB) []byte {
	tb.Helper()
	return frameOf(tb, healthMethod, func(r schemas.Request) { must(tb, r.SetRequestId(make([]byte, 16))) })
}

// withRequestID replaces the first pointer of the root struct.
func withRequestID(frame []byte, pointer uint64) []byte {
	frame = bytes.Clone(frame)
	root := binary.LittleEndian.Uint64(frame[frameHead:])
	dataWords := int(root >> 32 & 0xffff)
	binary.LittleEndian.PutUint64(frame[frameHead+8+8*dataWords:], pointer)
	return frame
}

// loopParams has params that are a list of the request itself.
func loopParams(tb testing.TB) []byte {
	tb.Helper()
	frame := bytes.Clone(frameOf(tb, healthMethod, nil))
	root := binary.LittleEndian.Uint64(frame[frameHead:])
	at := frameHead + 8 + 8*int(root>>32&0xffff) + 8
	binary.LittleEndian.PutUint64(frame[at:], hugeList)
	return frame
}

// farLoop is two segments whose first words are far pointers at each other.
func farLoop() []byte {
	frame := []byte{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}
	frame = binary.LittleEndian.AppendUint64(frame, farPtr|1<<32)
	return binary.LittleEndian.AppendUint64(frame, farPtr|0<<32)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
