package conform

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/schemas"
)

// refuses is a check that a call is refused with a code. The call is made by make.
func refuses(section, what string, want schemas.Code, make func(context.Context, *World) (*person, spec, error)) Check {
	return Check{
		What: what + ": " + want.ID() + " " + want.Doc().Name, Section: section, Codes: []schemas.Code{want},
		run: func(ctx context.Context, w *World) error {
			p, s, err := make(ctx, w)
			if err != nil {
				return err
			}
			_, err = w.call(ctx, p, s, want)
			return err
		},
	}
}

// stranger makes a call without a session.
func stranger(s spec) func(context.Context, *World) (*person, spec, error) {
	return func(context.Context, *World) (*person, spec, error) { return nil, s, nil }
}

// as makes a call in the session of one of the run's accounts.
func as(name string, make func(w *World, me *person) spec) func(context.Context, *World) (*person, spec, error) {
	return func(ctx context.Context, w *World) (*person, spec, error) {
		p, err := w.someone(ctx, name)
		if err != nil {
			return nil, spec{}, err
		}
		return p, make(w, p), nil
	}
}

func errorLayers() []Check {
	large := health()
	large.fill = func(r schemas.Request) error { return r.SetRequestId(make([]byte, 5000)) }
	long := health()
	long.time = 60_001 * time.Millisecond
	short := health()
	short.id = make([]byte, 15)
	return []Check{
		refuses(errorsSection, "a method that needs a session, without one", schemas.Code_tokenMissing, stranger(whoami())),
		refuses(errorsSection, "a request id of 15 bytes", schemas.Code_requestIdLength, stranger(short)),
		refuses(errorsSection, "a time of more than 60,000 ms", schemas.Code_timeoutTooLarge, stranger(long)),
		{What: "an unknown method: E035, and the stream goes on", Section: errorsSection, Codes: []schemas.Code{schemas.Code_unknownMethod}, run: unknownMethod},
		{What: "contents that can't be read: E033, and the stream goes on", Section: errorsSection, Codes: []schemas.Code{schemas.Code_malformed}, run: malformed},
		{What: "a request over its method's limit: E034, and the stream goes on", Section: errorsSection, Codes: []schemas.Code{schemas.Code_messageTooLarge}, run: overLimit},
		{What: "a request over every limit: E034 at once, then the node ends the stream", Section: errorsSection, Codes: []schemas.Code{schemas.Code_messageTooLarge}, run: overEveryLimit},
		{What: "17 segments: the stream is reset with code 1, other streams go on", Section: errorsSection, run: func(ctx context.Context, w *World) error {
			return broken(ctx, w, segmented(17))
		}},
		{What: "a stream that ends within a message is reset with code 1, other streams go on", Section: errorsSection, run: func(ctx context.Context, w *World) error {
			return broken(ctx, w, segmented(1)[:20])
		}},
	}
}

// stays demands that a call is refused with a code and that the stream serves the next.
func stays(ctx context.Context, w *World, frame []byte, want schemas.Code) error {
	good := health()
	next, err := w.frame(&good)
	if err != nil {
		return err
	}
	s, err := w.stream(ctx, true, frame, next)
	if err != nil {
		return err
	}
	defer s.drop()
	for _, want := range []schemas.Code{want, schemas.Code_ok} {
		a, err := wire.ReadAnswer(s)
		if err != nil {
			return err
		}
		if a.Code != want {
			return differs("the answer", said(a), code(want))
		}
	}
	return s.ends()
}

func unknownMethod(ctx context.Context, w *World) error {
	frame := words(0x0000000005000000, 0x0000000002000200, 0x0f27000000000000, 0, 0, 0) // method 9999
	return stays(ctx, w, frame, schemas.Code_unknownMethod)
}

func malformed(ctx context.Context, w *World) error {
	frame := words(0x0000000001000000, 0xffffffffffffffff) // a root pointer to nowhere
	return stays(ctx, w, frame, schemas.Code_malformed)
}

func overLimit(ctx context.Context, w *World) error {
	s := health()
	s.fill = func(r schemas.Request) error {
		data, err := capnp.NewData(r.Segment(), make([]byte, 8<<10))
		return errors.Join(err, r.SetParams(data.ToPtr()))
	}
	frame, err := w.frame(&s)
	if err != nil {
		return err
	}
	return stays(ctx, w, frame, schemas.Code_messageTooLarge)
}

func overEveryLimit(ctx context.Context, w *World) error {
	head := binary.LittleEndian.AppendUint32(make([]byte, 4), (schemas.MaxRequest+8)/8)
	s, err := w.stream(ctx, false, head, make([]byte, 64))
	if err != nil {
		return err
	}
	defer s.drop()
	a, err := wire.ReadAnswer(s)
	if err != nil {
		return err
	}
	return first(func() error { return same("the answer", code(a.Code), code(schemas.Code_messageTooLarge)) }, s.ends, func() error { return noParams(ctx, w) })
}

func broken(ctx context.Context, w *World, bytes []byte) error {
	good := health()
	frame, err := w.frame(&good)
	if err != nil {
		return err
	}
	other, err := w.stream(ctx, false)
	if err != nil {
		return err
	}
	defer other.drop()
	s, err := w.stream(ctx, true, bytes)
	if err != nil {
		return err
	}
	defer s.drop()
	if err := s.resetWith(1); err != nil {
		return err
	}
	if _, err := other.Write(frame); err != nil {
		return err
	}
	a, err := wire.ReadAnswer(other)
	if err != nil {
		return differs("another stream of the connection", err, "an answer")
	}
	return same("another stream's answer", code(a.Code), "success")
}
