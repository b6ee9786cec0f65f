package mesh

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// ClientStreams is how many streams a guest (client or joining node) may have open
// at once. QUIC's limit is fixed at the handshake, before anybody has logged in:
// what a client may do until then the front door limits (rpc.Limits).
const ClientStreams = 64

// Limits of one connection; bytes unless named otherwise.
const (
	// An idle connection costs about 42 KiB and an open stream 12 KiB on top.
	guestStreamWindow        = 64 << 10
	guestStreamWindowMax     = 1 << 20
	guestConnectionWindow    = 128 << 10
	guestConnectionWindowMax = 2 << 20
	// First windows of guests when many are there: they grow as what was sent is
	// read. So 10,000 guests whose data nobody reads pin 560 MiB, not 1.3 GiB,
	// and WindowBudget.
	crowdStreamWindow     = 16 << 10
	crowdConnectionWindow = 32 << 10
	guestUniStreams       = 8 // gossip of a node at an unknown address

	// A snapshot at 8 MiB per round trip fills 1 Gbit/s at 64 ms.
	peerStreamWindow        = 512 << 10
	peerStreamWindowMax     = 8 << 20
	peerConnectionWindow    = 1 << 20
	peerConnectionWindowMax = 32 << 20
	peerStreams             = 4096
	peerUniStreams          = 64
)

const (
	// connectionIDLen is in bytes: 8, so that ids of 10,000 connections do not
	// collide and a stateless reset finds its connection.
	connectionIDLen = 8
	// guestIdleTimeout lets a phone sleep; the server sends no keep-alives.
	guestIdleTimeout = 30 * time.Second
	// peerIdleTimeout is how long a silent node keeps its connections.
	peerIdleTimeout = 10 * time.Second
	peerKeepAlive   = peerIdleTimeout / 3
	// handshakeIdleTimeout ends an attempt after this long without an answer
	// (and any attempt after twice as long).
	handshakeIdleTimeout = 5 * time.Second
	// dialTimeout limits one attempt to reach a node, over all its addresses.
	dialTimeout = 10 * time.Second
	// drainTimeout limits how long Close waits for calls in progress when its
	// context has no nearer deadline.
	drainTimeout = 5 * time.Second
	// maxLinger limits how long Close waits for sent bytes to arrive.
	maxLinger = 250 * time.Millisecond
)

// Defaults of Options.
const (
	// DefaultMaxClients: 10,000 idle clients cost about 420 MiB.
	DefaultMaxClients = 10_000
	// DefaultMaxPerAddress allows for many clients behind one carrier's address.
	DefaultMaxPerAddress = 1_024
	// DefaultWindowBudget is in bytes, for all guests together.
	DefaultWindowBudget = 256 << 20
	// DefaultMaxHandshakes: a client that stops after its first packet costs what
	// an idle one does, 42 KiB; one that sends all that quic-go queues, 0.5 MiB.
	DefaultMaxHandshakes = 1_024
	// DefaultMaxHandshakesPerAddress lets a carrier's address bring many at once.
	DefaultMaxHandshakesPerAddress = 256
	// DefaultHandshakesPerSecond is about a fifth of what two cores can do.
	DefaultHandshakesPerSecond = 100
)

// Options say what an Endpoint needs. Conn, Identity, Keys, Member and Resolve
// are required.
type Options struct {
	// Conn is the socket. The caller owns it and closes it after Close; nobody
	// else may read or write it meanwhile.
	Conn     net.PacketConn
	Identity *tlsid.Identity
	Keys     Keys
	// Member reports whether a node may speak raft, peer and gossip now: it is
	// in the raft configuration (or this node has none yet). It is asked at
	// every connection, inwards and outwards, from any goroutine, and must not
	// block. When a node stops being a member, call Disconnect.
	Member func(tlsid.NodeID) bool
	// Trust reports whether a certificate, of this cluster's authority and in a node's name,
	// is that node's: nil, or an error that is ErrOtherKey or ErrDenied. It is asked in every
	// handshake with a node, inwards and outwards, from any goroutine, and must not block.
	// When it changes its mind, call Distrust. Nil trusts the authority alone.
	Trust func(tlsid.NodeID, *x509.Certificate) error
	// Resolve returns where a node may be, each as "host:port", the likeliest first. All
	// are tried, names are looked up again at each dial, and the certificate decides who
	// answers. It must not block.
	Resolve func(tlsid.NodeID) (addresses []string)
	// ClientCertificate is an operator's certificate for qpq/1; nil: the node's own.
	ClientCertificate *tls.Certificate

	// Limits of strangers.
	Limits

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // clock of certificate checks; nil: time.Now
}

// Limits bound what strangers cost a node. Zero values mean the defaults.
type Limits struct {
	// MaxClients limits connections on qpq/1 (default 10,000).
	MaxClients int
	// MaxPerAddress limits guest connections, handshakes included, from one IPv4
	// address or one IPv6 /64 (default 1,024).
	MaxPerAddress int
	// MaxHandshakes limits the handshakes of guests that are under way (default
	// 1,024), MaxHandshakesPerAddress those from one IPv4 address or IPv6 /64
	// (default 256). From a quarter of the first on, and from the sixteenth of
	// an address on, strangers must prove their address with a Retry, so spoofed
	// packets fill neither.
	MaxHandshakes, MaxHandshakesPerAddress int
	// WindowBudget limits by how many bytes the flow-control windows of all
	// guests together may grow beyond 128 KiB each (default 256 MiB).
	WindowBudget int64
	// HandshakesPerSecond is the rate above which strangers must first prove
	// their address with a Retry (RFC 9000 §8.1.2; default 100, burst one second).
	HandshakesPerSecond int
}

func (o *Options) withDefaults() (Options, error) {
	filled := *o
	switch {
	case o.Conn == nil, o.Identity == nil, o.Member == nil, o.Resolve == nil:
		return Options{}, errors.New("open mesh: Conn, Identity, Member and Resolve are required")
	case o.Keys == Keys{}:
		return Options{}, errors.New("open mesh: Keys are empty, take them from LoadOrCreateKeys")
	case o.MaxClients < 0, o.MaxPerAddress < 0, o.MaxHandshakes < 0, o.MaxHandshakesPerAddress < 0, o.WindowBudget < 0, o.HandshakesPerSecond < 0:
		return Options{}, errors.New("open mesh: limits must not be negative")
	}
	filled.setDefaults()
	if filled.Logger == nil {
		filled.Logger = slog.New(slog.DiscardHandler)
	}
	return filled, nil
}

func (l *Limits) setDefaults() {
	setDefault(&l.MaxClients, DefaultMaxClients)
	setDefault(&l.MaxPerAddress, DefaultMaxPerAddress)
	setDefault(&l.MaxHandshakes, DefaultMaxHandshakes)
	setDefault(&l.MaxHandshakesPerAddress, DefaultMaxHandshakesPerAddress)
	setDefault(&l.WindowBudget, DefaultWindowBudget)
	setDefault(&l.HandshakesPerSecond, DefaultHandshakesPerSecond)
}

func setDefault[T int | int64](value *T, standard T) {
	if *value == 0 {
		*value = standard
	}
}

// guestConfig is for connections from addresses that are no known node's.
func (e *Endpoint) guestConfig() *quic.Config {
	return &quic.Config{
		InitialPacketSize:              tlsid.InitialPacketSize,
		HandshakeIdleTimeout:           handshakeIdleTimeout,
		MaxIdleTimeout:                 guestIdleTimeout,
		InitialStreamReceiveWindow:     guestStreamWindow,
		MaxStreamReceiveWindow:         guestStreamWindowMax,
		InitialConnectionReceiveWindow: guestConnectionWindow,
		MaxConnectionReceiveWindow:     guestConnectionWindowMax,
		AllowConnectionWindowIncrease:  allowWindow,
		MaxIncomingStreams:             ClientStreams,
		MaxIncomingUniStreams:          guestUniStreams,
		EnableDatagrams:                false, // a queue outside the windows; see supportsDatagrams
	}
}

// crowdConfig is guestConfig when many guests are there.
func (e *Endpoint) crowdConfig() *quic.Config {
	config := e.guestConfig()
	config.InitialStreamReceiveWindow = crowdStreamWindow
	config.InitialConnectionReceiveWindow = crowdConnectionWindow
	return config
}

// dialConfig is for connections to nodes: streams are opened by who dialed.
func dialConfig() *quic.Config {
	config := peerConfig()
	config.KeepAlivePeriod = peerKeepAlive
	config.MaxIncomingStreams, config.MaxIncomingUniStreams = -1, -1 // none
	return config
}

// peerConfig is for connections from known nodes.
func peerConfig() *quic.Config {
	return &quic.Config{
		InitialPacketSize:              tlsid.InitialPacketSize,
		HandshakeIdleTimeout:           handshakeIdleTimeout,
		MaxIdleTimeout:                 peerIdleTimeout,
		InitialStreamReceiveWindow:     peerStreamWindow,
		MaxStreamReceiveWindow:         peerStreamWindowMax,
		InitialConnectionReceiveWindow: peerConnectionWindow,
		MaxConnectionReceiveWindow:     peerConnectionWindowMax,
		MaxIncomingStreams:             peerStreams,
		MaxIncomingUniStreams:          peerUniStreams,
		EnableDatagrams:                true,
	}
}
