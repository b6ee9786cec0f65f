package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"quicproquo/client/internal/patience"
	"quicproquo/client/internal/resume"
	"quicproquo/client/internal/senders"
	"quicproquo/client/internal/turnstile"
	"quicproquo/crypto/tlsid"
)

// Options say which cluster, and how.
type Options struct {
	// Endpoints are the nodes, HOST:PORT each. One is enough to begin with, all
	// of them survive the loss of any.
	Endpoints []string
	// InOrder makes the client try the endpoints in their order, the nearest first;
	// without it each client has an order of its own, so that they spread.
	InOrder bool
	// TLS says whom to trust: tlsid.ClientDialConfig pins a cluster's CA. It is
	// cloned; version and ALPN are set here. Without ServerName the endpoint's
	// host must stand in the node's certificate.
	TLS *tls.Config
	// PacketConn is the socket to use. Conn owns it from here on, also when
	// Dial fails.
	PacketConn net.PacketConn
	// Resolve finds an endpoint's addresses, the one to try first first; nil asks the
	// system's resolver. Eight at most are tried.
	Resolve func(ctx context.Context, endpoint string) ([]net.Addr, error)
	// Known are nodes that an earlier Conn has learned of: see Learned.
	Known []string
	// Learned has the client ask each node that it reaches for the others, and is called
	// with their addresses when these are news; nil: the client knows Endpoints only. The
	// TLS configuration must be the cluster's own (a pin or its authority), for else a
	// node could name anybody; otherwise nothing is asked and Known is not heeded.
	Learned func(addresses []string)
	// Fixed keeps a client that Open or Create returns from learning of nodes: it knows
	// Endpoints only.
	Fixed bool
	// Seen is the highest log index that the program has seen before, so that
	// a program that was restarted does not go back in time.
	Seen uint64
	// KeepSeen makes a Conn report SEEN_TOO_FAR_AHEAD and go on asking for what it has
	// seen, for programs that test a cluster: they know that nobody lies to them.
	KeepSeen bool
	Logger   *slog.Logger
}

// Conn is a connection to a cluster. It dials when it is first needed and moves
// to another node when one fails. All methods are safe for concurrent use.
//
// mu guards link, dialing and closed; everything else is set by Dial.
type Conn struct {
	options   Options
	log       *slog.Logger
	quic      *quic.Config
	transport *quic.Transport
	senders   *senders.Senders
	endpoints *endpoints
	patience  patience.Patience
	tickets   resume.Tickets
	dialers   *turnstile.Turnstile
	seen      atomic.Uint64
	corrected corrections             // see seen.go
	session   atomic.Pointer[Session] // who calls; stored under mu

	// ctx ends when the Conn closes. tasks are the dialers.
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	link    *link    // where calls go; nil before the first
	dialing *dialing // under way, or nil
	closed  bool
}

// Dial returns a Conn to the cluster of these endpoints. It sends nothing yet.
func Dial(options Options) (*Conn, error) {
	if options.PacketConn == nil {
		return nil, errors.New("open client: Options.PacketConn is needed: a UDP socket, such as net.ListenPacket(\"udp\", \":0\") returns")
	}
	book, err := newEndpoints(options.Endpoints, options.InOrder)
	if err == nil && options.TLS == nil {
		err = errors.New("a TLS configuration is needed: see tlsid.ClientDialConfig")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open client: %w", err), options.PacketConn.Close())
	}
	if options.Resolve == nil {
		options.Resolve = resolve
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	options.TLS = clientTLS(options.TLS)
	if options.Learned != nil && options.TLS.ServerName != "" {
		book.learn(options.Known)
	}
	ctx, cancel := context.WithCancel(context.Background())
	socket, heard := senders.Watch(options.PacketConn)
	c := &Conn{
		options: options, log: options.Logger, quic: quicConfig(), endpoints: book, dialers: dialers,
		transport: &quic.Transport{Conn: socket}, senders: heard,
		ctx: ctx, cancel: cancel,
	}
	c.seen.Store(min(options.Seen, maxIndex))
	return c, nil
}

// clientTLS sets what the protocol prescribes.
func clientTLS(from *tls.Config) *tls.Config {
	config := from.Clone()
	config.MinVersion = tls.VersionTLS13
	config.NextProtos = []string{tlsid.ALPNClient}
	return config
}

func quicConfig() *quic.Config {
	return &quic.Config{
		InitialPacketSize:     tlsid.InitialPacketSize,
		HandshakeIdleTimeout:  maxDialTimeout, // dialEndpoint has a nearer end
		MaxIdleTimeout:        idleTimeout,
		KeepAlivePeriod:       keepAlive,
		MaxIncomingStreams:    -1, // nodes open none
		MaxIncomingUniStreams: -1,
	}
}

// Endpoint returns the node that calls go to now, empty while there is none.
func (c *Conn) Endpoint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil || !c.link.alive() {
		return ""
	}
	return c.link.at.address
}

// Close ends every call that is on its way, closes the socket and returns when
// all goroutines have ended.
func (c *Conn) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	if c.link != nil {
		c.link.close()
	}
	c.mu.Unlock()
	if closed {
		return nil
	}
	c.cancel()
	c.tasks.Wait()
	return errors.Join(c.transport.Close(), c.options.PacketConn.Close())
}
