package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/quic-go/quic-go"

	client "quicproquo/client/conn"
	"quicproquo/schemas"
)

// What a call costs over loopback QUIC, client and server in one process: the
// bare echo of a health call's bytes on pooled streams is the floor; the ratios
// to it are what counts (docs/performance.md).
func BenchmarkCall(b *testing.B) {
	for name, callers := range map[string]int{"1 caller": 1, "32 callers": 32} {
		b.Run("library, "+name, func(b *testing.B) {
			c := benchDoor(b).client(b)
			benchCalls(b, callers, func() error { return benchHealth(b.Context(), c) })
		})
		b.Run("bare client, pooled streams, "+name, func(b *testing.B) {
			qc := benchDoor(b).dial(b)
			pool := make(chan *quic.Stream, callers)
			request, response := benchFrames(b)
			benchCalls(b, callers, func() error { return pooledCall(b, qc, pool, request, len(response)) })
		})
		b.Run("bare client, stream per call, "+name, func(b *testing.B) {
			qc := benchDoor(b).dial(b)
			request, response := benchFrames(b)
			benchCalls(b, callers, func() error { return streamCall(b, qc, request, len(response)) })
		})
		b.Run("QUIC echo, pooled streams, "+name, func(b *testing.B) {
			request, response := benchFrames(b)
			qc := echoDoor(b, len(request), response)
			pool := make(chan *quic.Stream, callers)
			benchCalls(b, callers, func() error { return pooledCall(b, qc, pool, request, len(response)) })
		})
		b.Run("QUIC echo, stream per call, "+name, func(b *testing.B) {
			request, response := benchFrames(b)
			qc := echoDoor(b, len(request), response)
			benchCalls(b, callers, func() error { return streamCall(b, qc, request, len(response)) })
		})
	}
}

// The door alone, without a network: decode, look up, answer, encode.
func BenchmarkAnswer(b *testing.B) {
	frame := healthFrame(b)
	c := newConn(NewServer(newFakeNode(1), Options{Limits: Limits{Rates: Off}}), quiet())
	s := newFakeStream(nil)
	b.ReportAllocs()
	for b.Loop() {
		one := newCall(c, s)
		one.frame = append(one.frame[:0], frame...)
		if _, err := one.answer(); err != nil {
			b.Fatal(err)
		}
		one.release()
	}
}

func benchDoor(b *testing.B) *door {
	b.Helper()
	// As many calls at once as a bound session has.
	return openDoor(b, NewServer(newFakeNode(1), Options{Limits: Limits{OpenCalls: 32, Rates: Off}}))
}

func benchHealth(ctx context.Context, c *client.Conn) error {
	_, err := c.Health(ctx)
	return err
}

// benchFrames are a health call's request and response as they go over the wire.
func benchFrames(b *testing.B) (request, response []byte) {
	b.Helper()
	request = frameOf(b, healthMethod, func(r schemas.Request) { must(b, r.SetRequestId(make([]byte, 16))) })
	s := newFakeStream(request)
	newConn(NewServer(newFakeNode(1), Options{}), quiet()).serveStream(s)
	return request, s.out.Bytes()
}

func benchCalls(b *testing.B, callers int, call func() error) {
	b.Helper()
	if err := call(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	work := make(chan struct{}, callers)
	done := make(chan error, callers)
	for range callers {
		go func() {
			for range work {
				if err := call(); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func pooledCall(b *testing.B, qc *quic.Conn, pool chan *quic.Stream, request []byte, size int) error {
	b.Helper()
	var s *quic.Stream
	select {
	case s = <-pool:
	default:
		var err error
		if s, err = qc.OpenStreamSync(b.Context()); err != nil {
			return err
		}
	}
	if _, err := s.Write(request); err != nil {
		return err
	}
	var response [2048]byte
	if _, err := io.ReadFull(s, response[:size]); err != nil {
		return err
	}
	pool <- s
	return nil
}

func streamCall(b *testing.B, qc *quic.Conn, request []byte, size int) error {
	b.Helper()
	s, err := qc.OpenStreamSync(b.Context())
	if err != nil {
		return err
	}
	if _, err := s.Write(request); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	var response [2048]byte
	if _, err := io.ReadFull(s, response[:size]); err != nil {
		return err
	}
	if _, err := s.Read(response[:]); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the response: %w", err)
	}
	return nil
}

// echoDoor answers every request of size bytes with the same response.
func echoDoor(b *testing.B, size int, response []byte) *quic.Conn {
	b.Helper()
	return openEcho(b, func(s *quic.Stream) {
		request := make([]byte, size)
		for {
			if _, err := io.ReadFull(s, request); err != nil {
				_ = s.Close()
				return
			}
			if _, err := s.Write(response); err != nil {
				return
			}
		}
	})
}
