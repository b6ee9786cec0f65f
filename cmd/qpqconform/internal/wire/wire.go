// Package wire is a client of docs/protocol.md with no rules of its own: one QUIC
// connection to one node, on which calls are made, good ones and bad ones. It repeats
// nothing, waits for nothing, and checks the certificates by the words of the document
// and not by the code of the node. qpqconform stands on it.
package wire

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/schemas"
)

// Application is the ALPN of clients.
const Application = "qpq/1"

// packetSize is the UDP payload of first packets, in bytes.
const packetSize = 1200

// streamTime bounds what happens on one stream; no call takes longer.
const streamTime = 75 * time.Second

// Options say what a connection is like.
type Options struct {
	Pin         [sha256.Size]byte // of the cluster's authority
	Application string            // empty: the protocol's
	Curves      []tls.CurveID     // nil: TLS's own
	Tickets     tls.ClientSessionCache
}

// Link is a connection to a node.
type Link struct {
	Address   string
	Chain     []*x509.Certificate // as the node showed it
	TLS       tls.ConnectionState
	conn      *quic.Conn
	transport *quic.Transport
	socket    *socket
}

// Dial connects to a node whose certificates fit the pin.
func Dial(ctx context.Context, address string, o Options) (*Link, error) {
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", address, err)
	}
	udp, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, fmt.Errorf("open a UDP socket: %w", err)
	}
	l := &Link{Address: address, socket: &socket{PacketConn: udp, udp: udp}}
	l.transport = &quic.Transport{Conn: l.socket}
	if o.Application == "" {
		o.Application = Application
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{o.Application}, CurvePreferences: o.Curves, ClientSessionCache: o.Tickets,
		ServerName:         "any.name.will.do",
		InsecureSkipVerify: true, //nolint:gosec // pinned verifies the chain; names and public authorities mean nothing here
		VerifyConnection: func(state tls.ConnectionState) error {
			return Pinned(state.PeerCertificates, o.Pin, time.Now())
		},
	}
	l.conn, err = l.transport.Dial(ctx, at, config, &quic.Config{
		InitialPacketSize: packetSize, KeepAlivePeriod: 5 * time.Second, HandshakeIdleTimeout: 10 * time.Second,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", address, err), l.transport.Close(), udp.Close())
	}
	l.socket.stop()
	l.TLS = l.conn.ConnectionState().TLS
	l.Chain = l.TLS.PeerCertificates
	return l, nil
}

// Pinned accepts what docs/protocol.md, "Connecting", says of a chain: its last
// certificate is an authority with the pinned key, which has signed the first one, of a
// node of the same cluster, and both are within their times.
func Pinned(chain []*x509.Certificate, pin [sha256.Size]byte, now time.Time) error {
	if len(chain) != 2 {
		return fmt.Errorf("got %d certificates, want the node's and its authority's", len(chain))
	}
	leaf, root := chain[0], chain[1]
	if got := sha256.Sum256(root.RawSubjectPublicKeyInfo); got != pin {
		return fmt.Errorf("the authority's pin: got sha256:%x, want sha256:%x", got, pin)
	}
	if err := errors.Join(root.CheckSignatureFrom(root), leaf.CheckSignatureFrom(root)); err != nil {
		return err
	}
	for _, c := range chain {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return fmt.Errorf("got a certificate of %v to %v, want one that is within its time", c.NotBefore, c.NotAfter)
		}
	}
	if _, _, err := Names(chain); err != nil {
		return err
	}
	return nil
}

// Names reads the cluster's id and the node's from a chain's URIs.
func Names(chain []*x509.Certificate) (cluster, node string, err error) {
	leaf, root := chain[0], chain[len(chain)-1]
	if len(leaf.URIs) != 1 || len(root.URIs) != 1 {
		return "", "", fmt.Errorf("got %d and %d URIs, want one in each certificate", len(leaf.URIs), len(root.URIs))
	}
	cluster, found := strings.CutSuffix(strings.TrimPrefix(root.URIs[0].String(), "qpq://"), "/ca")
	if !found || len(cluster) != 32 || strings.Trim(cluster, "0123456789abcdef") != "" {
		return "", "", fmt.Errorf("the authority's URI: got %s, want qpq://CLUSTER/ca with 32 hexadecimal digits", root.URIs[0])
	}
	node, found = strings.CutPrefix(leaf.URIs[0].String(), "qpq://"+cluster+"/node/")
	if !found || node == "" {
		return "", "", fmt.Errorf("the node's URI: got %s, want qpq://%s/node/ID", leaf.URIs[0], cluster)
	}
	return cluster, node, nil
}

// Packets are the sizes of the datagrams that came until the handshake was over, in bytes.
func (l *Link) Packets() []int { return l.socket.sizes() }

// Exporter is what a binding signs, 32 bytes.
func (l *Link) Exporter() ([32]byte, error) {
	state := l.conn.ConnectionState().TLS
	key, err := state.ExportKeyingMaterial("EXPERIMENTAL qpq/1 bind session", nil, 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("export from TLS: %w", err)
	}
	return [32]byte(key), nil
}

// Ended is closed when the connection is.
func (l *Link) Ended() <-chan struct{} { return l.conn.Context().Done() }

// Close ends the connection with the code for "done".
func (l *Link) Close() error {
	return errors.Join(l.conn.CloseWithError(0, ""), l.transport.Close(), l.socket.Close())
}

// Open opens a stream.
func (l *Link) Open(ctx context.Context) (*quic.Stream, error) {
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	deadline := time.Now().Add(streamTime)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	return s, s.SetDeadline(deadline)
}

// Exchange makes one call on a stream of its own and demands that the stream ends in
// peace behind the answer.
func (l *Link) Exchange(ctx context.Context, frame []byte) (Answer, error) {
	s, err := l.Open(ctx)
	if err != nil {
		return Answer{}, err
	}
	defer s.CancelRead(0)
	if _, err := s.Write(frame); err == nil {
		err = s.Close()
		if err != nil {
			return Answer{}, fmt.Errorf("end the request: %w", err)
		}
	} // else the answer says why
	a, err := ReadAnswer(s)
	if err != nil {
		return Answer{}, err
	}
	switch n, err := s.Read(make([]byte, 1)); {
	case n > 0:
		return a, errors.New("behind the answer: got more bytes, want the end of the stream")
	case !errors.Is(err, io.EOF):
		return a, fmt.Errorf("behind the answer: got %w, want the end of the stream", err)
	}
	return a, nil
}

// ResetCode is the code with which the node has reset a stream.
func ResetCode(err error) (code uint64, is bool) {
	reset, is := errors.AsType[*quic.StreamError](err)
	if !is || !reset.Remote {
		return 0, false
	}
	return uint64(reset.ErrorCode), true
}

// Answer is a response.
type Answer struct {
	Index      uint64
	Code       schemas.Code // ok: Results has the results
	Message    string
	Value      uint64
	RetryAfter time.Duration
	Response   schemas.Response
}

// ReadAnswer reads a response.
func ReadAnswer(r io.Reader) (Answer, error) {
	frame, err := schemas.ReadFrame(r, schemas.MaxResponse, nil)
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	msg, err := schemas.Unmarshal(frame)
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	response, err := schemas.ReadRootResponse(msg)
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	a := Answer{Index: response.Index(), Response: response}
	if response.Which() != schemas.Response_Which_error {
		return a, nil
	}
	failure, err := response.Error()
	if err != nil {
		return a, fmt.Errorf("read the failure: %w", err)
	}
	a.Code, a.Value = failure.Code(), failure.Value()
	a.RetryAfter = time.Duration(failure.RetryAfterMs()) * time.Millisecond
	a.Message, err = failure.Message_()
	return a, err
}

// socket is a UDP socket that notes how large the packets are that come.
type socket struct {
	net.PacketConn
	udp *net.UDPConn

	mu   sync.Mutex
	done bool
	came []int
}

func (s *socket) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := s.PacketConn.ReadFrom(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && !s.done {
		s.came = append(s.came, n)
	}
	return n, from, err
}

func (s *socket) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
}

func (s *socket) sizes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.came)
}

// SetReadBuffer and SetWriteBuffer are asked for by quic-go.
func (s *socket) SetReadBuffer(bytes int) error { return s.udp.SetReadBuffer(bytes) }

// SetWriteBuffer sets the operating system's buffer.
func (s *socket) SetWriteBuffer(bytes int) error { return s.udp.SetWriteBuffer(bytes) }
