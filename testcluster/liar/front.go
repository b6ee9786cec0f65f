package liar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/client"
	"quicproquo/cluster"
	"quicproquo/crypto/tlsid"
	"quicproquo/testcluster"
)

// Options shape a front.
type Options struct {
	// Node is the honest one that calls are handed on to, and whose certificate the
	// front shows. Another may take its place, at its address.
	Node func() *testcluster.Node
	// Listen opens a socket: one for clients, one towards the node. Nil: loopback.
	Listen func() (net.PacketConn, error)
	// Watch is told of calls as they pass, before lies and after them; nil: nobody is.
	Watch Watcher
	// Retry has every client prove its address first, by a QUIC Retry; nil: none has to.
	Retry func(net.Addr) bool
}

// Watcher sees calls as they pass, and may keep them waiting or answer them. Its methods
// are called by many goroutines.
type Watcher interface {
	// Connected is told of a client's connection.
	Connected(conn *quic.Conn)
	// Before sees a call that has come. An error ends its stream without an answer.
	Before(c *Call) error
	// After sees the response that it gets, of a subscription each.
	After(c *Call) error
}

// Front is a node that lies. All methods are safe for concurrent use.
type Front struct {
	node     func() *testcluster.Node
	dial     *tls.Config
	listener *quic.Listener
	sockets  []net.PacketConn
	down, up *quic.Transport
	book     *Book
	watch    Watcher
	ctx      context.Context
	cancel   context.CancelFunc
	tasks    sync.WaitGroup

	mu     sync.Mutex
	rules  []*rule
	faults []error
}

// idle is how long a connection may be silent; clients ask more often.
const idle = 30 * time.Second

// Start opens a front. It has the cluster take session tokens that are not bound to
// a connection, as any node can.
func Start(ctx context.Context, options Options) (*Front, error) {
	if options.Listen == nil {
		options.Listen = func() (net.PacketConn, error) { return net.ListenPacket("udp4", "127.0.0.1:0") }
	}
	secrets, err := cluster.LoadSecrets(options.Node().Dir())
	if err != nil {
		return nil, fmt.Errorf("start a lying node: %w", err)
	}
	f := &Front{node: options.Node, book: newBook(), watch: options.Watch}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	if err := f.open(secrets, &options); err != nil {
		return nil, errors.Join(fmt.Errorf("start a lying node: %w", err), f.Close())
	}
	if err := f.propose(ctx, testcluster.SettingEntry("bearer_tokens", 2)); err != nil {
		return nil, errors.Join(fmt.Errorf("start a lying node: have tokens taken: %w", err), f.Close())
	}
	f.tasks.Go(f.serve)
	return f, nil
}

// open makes the two sockets and what runs on them.
func (f *Front) open(secrets cluster.Secrets, options *Options) (err error) {
	for range 2 {
		socket, err := options.Listen()
		if err != nil {
			return err
		}
		f.sockets = append(f.sockets, socket)
	}
	f.down, f.up = &quic.Transport{Conn: f.sockets[0], VerifySourceAddress: options.Retry}, &quic.Transport{Conn: f.sockets[1]}
	if f.dial, err = tlsid.ClientDialConfig(secrets.Identity.AuthoritiesPEM(), nil); err != nil {
		return err
	}
	f.dial.MinVersion, f.dial.NextProtos = tls.VersionTLS13, []string{tlsid.ALPNClient}
	config := tlsid.ServerConfig(secrets.Identity, tlsid.ServerOptions{})
	f.listener, err = f.down.Listen(config, &quic.Config{InitialPacketSize: tlsid.InitialPacketSize, MaxIdleTimeout: idle, MaxIncomingStreams: 1000})
	return err
}

// Address is where clients find the front.
func (f *Front) Address() string { return f.sockets[0].LocalAddr().String() }

// ClientOptions are client options with this front as the only node.
func (f *Front) ClientOptions(from client.Options) client.Options {
	from.Endpoints, from.Fixed = []string{f.Address()}, true
	return from
}

// Book is what the front remembers.
func (f *Front) Book() *Book { return f.book }

func (f *Front) serve() {
	for {
		conn, err := f.listener.Accept(f.ctx)
		if err != nil {
			return
		}
		f.tasks.Go(func() { f.take(conn) })
	}
}

// take serves one client's connection with a connection of its own to the node.
func (f *Front) take(conn *quic.Conn) {
	ctx, cancel := context.WithTimeout(f.ctx, idle)
	address, err := net.ResolveUDPAddr("udp", f.node().Address()) // another may be in its place
	if err != nil {
		cancel()
		f.fault(err)
		return
	}
	up, err := f.up.Dial(ctx, address, f.dial, &quic.Config{InitialPacketSize: tlsid.InitialPacketSize, MaxIdleTimeout: idle, KeepAlivePeriod: idle / 3})
	cancel()
	if err != nil {
		_ = conn.CloseWithError(1, "the node is about to stop")
		return
	}
	p := &patron{front: f, down: conn, up: up}
	if f.watch != nil {
		f.watch.Connected(conn)
	}
	stop := context.AfterFunc(f.ctx, func() { _ = conn.CloseWithError(1, "the node is about to stop") })
	defer stop()
	defer context.AfterFunc(up.Context(), func() { _ = conn.CloseWithError(1, "the node is about to stop") })()
	p.serve()
	_ = up.CloseWithError(0, "")
}

// fault notes that a lie could not be told.
func (f *Front) fault(err error) {
	if _, of := errors.AsType[*lieError](err); !of {
		return // a connection that has ended
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, err)
}

// Faults returns why lies could not be told, nil if all could: a test that was to see
// one has seen nothing.
func (f *Front) Faults() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.faults...)
}

// Close ends all connections and returns when nothing of the front runs any more.
func (f *Front) Close() error {
	f.cancel()
	var errs []error
	if f.listener != nil {
		errs = append(errs, f.listener.Close())
	}
	f.tasks.Wait()
	for _, t := range []*quic.Transport{f.down, f.up} {
		if t != nil {
			errs = append(errs, t.Close())
		}
	}
	for _, socket := range f.sockets {
		errs = append(errs, socket.Close())
	}
	return errors.Join(errs...)
}
