package rpc

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// fakeStream is a stream without a network: it reads what it was made with and
// keeps what is written. stall makes it wait for more input forever, slow lets
// writes wait forever; both end at the deadline.
type fakeStream struct {
	in          *bytes.Reader
	out         bytes.Buffer
	stall, slow bool

	readBy, writeBy time.Time
	ctx             context.Context
	wrote           func() // called after each write; nil: nobody is told
	resetRead       []quic.StreamErrorCode
	resetWrite      []quic.StreamErrorCode
	closed          bool
}

func newFakeStream(input []byte) *fakeStream {
	return &fakeStream{in: bytes.NewReader(input), ctx: context.Background()}
}

func (s *fakeStream) Read(buf []byte) (int, error) {
	n, err := s.in.Read(buf)
	if err == io.EOF && s.stall {
		time.Sleep(time.Until(s.readBy))
		return 0, os.ErrDeadlineExceeded
	}
	return n, err
}

func (s *fakeStream) Write(data []byte) (int, error) {
	if s.slow {
		time.Sleep(time.Until(s.writeBy))
		return 0, os.ErrDeadlineExceeded
	}
	if s.wrote != nil {
		defer s.wrote()
	}
	return s.out.Write(data)
}

func (s *fakeStream) Close() error                       { s.closed = true; return nil }
func (s *fakeStream) SetReadDeadline(t time.Time) error  { s.readBy = t; return nil }
func (s *fakeStream) SetWriteDeadline(t time.Time) error { s.writeBy = t; return nil }
func (s *fakeStream) Context() context.Context           { return s.ctx }

func (s *fakeStream) CancelRead(code quic.StreamErrorCode) { s.resetRead = append(s.resetRead, code) }

func (s *fakeStream) CancelWrite(code quic.StreamErrorCode) {
	s.resetWrite = append(s.resetWrite, code)
}

// answers returns what was written.
func (s *fakeStream) answers(tb testing.TB) []answer {
	tb.Helper()
	var list []answer
	for s.out.Len() > 0 {
		a, err := readAnswer(tb, &s.out)
		if err != nil {
			tb.Fatalf("what was written is no response: %v", err)
		}
		list = append(list, a)
	}
	return list
}
