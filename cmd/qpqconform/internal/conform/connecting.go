package conform

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/schemas"
)

const connectingSection, callSection, errorsSection = "Connecting", "A call", "Errors"

func connecting() []Check {
	return []Check{
		{What: "every node shows its own certificate and that of the pinned authority, with the URIs of one cluster", Section: connectingSection, run: certificates},
		{What: "another pin than the authority's refuses the chain", Section: connectingSection, run: anotherPin},
		{What: "TLS 1.3 with ALPN qpq/1 and X25519MLKEM768; X25519 alone is accepted", Section: connectingSection, run: handshakes},
		{What: "another ALPN is refused", Section: connectingSection, run: anotherApplication},
		{What: "a session ticket saves the second handshake its certificates", Section: connectingSection, run: tickets},
		{What: "nodes begin with packets of 1,200 bytes", Section: connectingSection, run: firstPackets},
		{What: "health names the cluster's nodes, and each of them serves", Section: connectingSection, Methods: []string{"health"}, run: members},
	}
}

// each does something at every node.
func (w *World) each(ctx context.Context, do func(node int, l *wire.Link) error) error {
	for i := range w.nodes {
		l, err := w.link(ctx, nil, i)
		if err != nil {
			return err
		}
		if err := do(i, l); err != nil {
			return fmt.Errorf("node %s: %w", w.nodes[i], err)
		}
	}
	return nil
}

func certificates(ctx context.Context, w *World) error {
	var of string
	ids := map[string]bool{}
	return w.each(ctx, func(_ int, l *wire.Link) error {
		cluster, node, err := wire.Names(l.Chain)
		if err != nil {
			return err
		}
		leaf := l.Chain[0]
		switch {
		case of != "" && of != cluster:
			return differs("its cluster", cluster, of)
		case ids[node]:
			return differs("its id", node, "one of its own")
		case !slices.Contains(leaf.DNSNames, cluster+".qpq.internal"):
			return differs("its DNS names", leaf.DNSNames, cluster+".qpq.internal among them")
		case time.Until(leaf.NotAfter) > 31*24*time.Hour:
			return differs("the end of its certificate", leaf.NotAfter, "30 days from its signing at most")
		}
		of, ids[node] = cluster, true
		for _, c := range l.Chain {
			if err := p256(c); err != nil {
				return err
			}
		}
		return nil
	})
}

func p256(c *x509.Certificate) error {
	key, is := c.PublicKey.(*ecdsa.PublicKey)
	if !is || key.Curve != elliptic.P256() {
		return differs("the key of "+c.Subject.String(), c.PublicKeyAlgorithm, "ECDSA P-256")
	}
	return nil
}

func anotherPin(ctx context.Context, w *World) error {
	l, err := w.link(ctx, nil, 0)
	if err != nil {
		return err
	}
	if err := wire.Pinned(l.Chain, sha256.Sum256([]byte("another key")), time.Now()); err == nil {
		return differs("a chain of another authority", "accepted", "refused")
	}
	return wire.Pinned(l.Chain, w.options.Pin, time.Now())
}

func handshakes(ctx context.Context, w *World) error {
	for i := range w.nodes {
		for _, curve := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519} {
			o := wire.Options{Pin: w.options.Pin}
			if curve == tls.X25519 {
				o.Curves = []tls.CurveID{curve}
			}
			l, err := wire.Dial(ctx, w.nodes[i], o)
			if err != nil {
				return err
			}
			state := l.TLS
			err = errors.Join(same("key exchange", state.CurveID, curve), same("version of TLS", state.Version, uint16(tls.VersionTLS13)),
				same("ALPN", state.NegotiatedProtocol, wire.Application), l.Close())
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func anotherApplication(ctx context.Context, w *World) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	l, err := wire.Dial(ctx, w.nodes[0], wire.Options{Pin: w.options.Pin, Application: "qpq/0"})
	if err == nil {
		return errors.Join(differs("a handshake with ALPN qpq/0", "done", "refused"), l.Close())
	}
	return nil
}

func tickets(ctx context.Context, w *World) error {
	o := wire.Options{Pin: w.options.Pin, Tickets: tls.NewLRUClientSessionCache(4)}
	for range 2 {
		l, err := wire.Dial(ctx, w.nodes[0], o)
		if err != nil {
			return err
		}
		s := health()
		_, err = w.on(ctx, l, &s) // the ticket has come by the time of the answer
		resumed := l.TLS.DidResume
		if err = errors.Join(err, l.Close()); err != nil || resumed {
			return err
		}
	}
	return differs("the second handshake", "a whole one", "a resumed one")
}

func firstPackets(ctx context.Context, w *World) error {
	for i := range w.nodes {
		l, err := w.dial(ctx, i)
		if err != nil {
			return err
		}
		sizes := l.Packets()
		if err := l.Close(); err != nil {
			return err
		}
		if len(sizes) == 0 || slices.Max(sizes) > 1200 {
			return differs("bytes of the packets of the handshake", sizes, "1,200 at most")
		}
	}
	return nil
}

func members(ctx context.Context, w *World) error {
	return w.each(ctx, func(i int, l *wire.Link) error {
		s := health()
		s.node = i + 1
		a, err := w.call(ctx, nil, s, schemas.Code_ok)
		if err != nil {
			return err
		}
		h := results[schemas.HealthResults](a)
		id, err := h.NodeId()
		if err != nil {
			return err
		}
		_, node, err := wire.Names(l.Chain)
		if err != nil {
			return err
		}
		members, err := list(h.Members())
		if err != nil {
			return err
		}
		for _, at := range members {
			if _, _, err := net.SplitHostPort(at); err != nil || len(members) > schemas.MaxMembers {
				return differs("members", members, "HOST:PORT, 16 at most")
			}
		}
		status, err := h.Status()
		words := []string{"ok", "read-only", "catching-up", "no-leader", "draining"}
		if err == nil && !slices.Contains(words, status) {
			err = differs("status", status, strings.Join(words, ", "))
		}
		return errors.Join(err, same("nodeId", id, node))
	})
}

func calls() []Check {
	return []Check{
		{What: "the bytes of the example of docs/protocol.md are answered", Section: callSection, Methods: []string{"health"}, run: example},
		{What: "calls in turn on one stream, also sent before the last answer has come, are answered in order, and the stream ends after the last", Section: callSection, Methods: []string{"health"}, run: inTurn},
		{What: "a message of 16 segments is read", Section: callSection, run: manySegments},
		{What: "no parameters at all mean the struct of defaults", Section: callSection, Methods: []string{"health"}, run: noParams},
		{What: "a request that comes byte by byte is answered", Section: callSection, run: slowly},
		{What: "a stream that is opened and reset at once harms no other", Section: callSection, run: resets},
	}
}

// stream opens a stream and sends bytes; end ends the client's side.
func (w *World) stream(ctx context.Context, end bool, send ...[]byte) (*stream, error) {
	l, err := w.link(ctx, nil, 0)
	if err != nil {
		return nil, err
	}
	s, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range send {
		if _, err := s.Write(b); err != nil {
			break // the answer says why
		}
	}
	if end {
		_ = s.Close()
	}
	return &stream{s, func() { s.CancelRead(0); s.CancelWrite(0) }}, nil
}

type stream struct {
	io.ReadWriter
	drop func()
}

// ends demands that a stream ends in peace.
func (s *stream) ends() error {
	if n, err := s.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return differs("behind the last answer", fmt.Sprintf("%d bytes, %v", n, err), "the end of the stream")
	}
	return nil
}

// resetWith demands that a stream is reset.
func (s *stream) resetWith(want uint64) error {
	_, err := io.ReadAll(s)
	if got, is := wire.ResetCode(err); !is || got != want {
		return differs("the stream", err, fmt.Sprint("reset with code ", want))
	}
	return nil
}

// words are the bytes of 64-bit words, as docs/protocol.md writes them.
func words(list ...uint64) (b []byte) {
	for _, w := range list {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b
}

func example(ctx context.Context, w *World) error {
	s, err := w.stream(ctx, true, words(0x0000000005000000, 0x0000000002000200, 0x0500000000000000, 0, 0, 0))
	if err != nil {
		return err
	}
	defer s.drop()
	a, err := wire.ReadAnswer(s)
	if err != nil {
		return err
	}
	w.note("health", a)
	return first(func() error { return same("the answer", code(a.Code), "success") }, s.ends)
}

func inTurn(ctx context.Context, w *World) error {
	one, two := health(), of("whoami", schemas.NewWhoamiParams, nil)
	a, err := w.frame(&one)
	if err != nil {
		return err
	}
	b, err := w.frame(&two)
	if err != nil {
		return err
	}
	s, err := w.stream(ctx, true, a, b, a)
	if err != nil {
		return err
	}
	defer s.drop()
	for i, want := range []schemas.Code{schemas.Code_ok, schemas.Code_tokenMissing, schemas.Code_ok} {
		got, err := wire.ReadAnswer(s)
		if err != nil {
			return err
		}
		if got.Code == schemas.Code_ok {
			w.note("health", got)
		}
		if got.Code != want {
			return differs(fmt.Sprint("answer ", i+1), said(got), code(want))
		}
	}
	return s.ends()
}

// segmented is a call of health in so many segments, of which all but the first are empty.
func segmented(segments int) []byte {
	table := binary.LittleEndian.AppendUint32(nil, uint32(segments-1))
	table = binary.LittleEndian.AppendUint32(table, 5)
	table = append(table, make([]byte, 4*(segments-1))...)
	if len(table)%8 != 0 {
		table = append(table, make([]byte, 4)...)
	}
	return append(table, words(0x0000000002000200, 0x0500000000000000, 0, 0, 0)...)
}

func manySegments(ctx context.Context, w *World) error {
	s, err := w.stream(ctx, true, segmented(16))
	if err != nil {
		return err
	}
	defer s.drop()
	a, err := wire.ReadAnswer(s)
	if err != nil {
		return err
	}
	return same("the answer", code(a.Code), "success")
}

func noParams(ctx context.Context, w *World) error {
	_, err := w.call(ctx, nil, spec{method: "health"}, schemas.Code_ok)
	return err
}

func slowly(ctx context.Context, w *World) error {
	one := health()
	frame, err := w.frame(&one)
	if err != nil {
		return err
	}
	s, err := w.stream(ctx, false)
	if err != nil {
		return err
	}
	defer s.drop()
	for i := range frame {
		if _, err := s.Write(frame[i : i+1]); err != nil {
			return err
		}
	}
	a, err := wire.ReadAnswer(s)
	if err != nil {
		return err
	}
	return same("the answer", code(a.Code), "success")
}

func resets(ctx context.Context, w *World) error {
	for range 8 {
		s, err := w.stream(ctx, false, []byte{0})
		if err != nil {
			return err
		}
		s.drop()
	}
	return noParams(ctx, w)
}
