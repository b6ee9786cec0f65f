package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// dialing is an attempt to get a link that all calls share who need one. done is
// closed after link and err are set.
type dialing struct {
	done chan struct{}
	link *link
	err  error
}

// connect returns a link that the caller holds, the current one or a new one.
func (c *Conn) connect(ctx context.Context) (*link, error) {
	for {
		l, d, err := c.current()
		if err != nil {
			return nil, err
		}
		if l == nil {
			select {
			case <-d.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if d.err != nil {
				return nil, d.err
			}
			l = d.link
		}
		if l.hold() {
			return l, nil
		}
	}
}

// current returns the link if it lives, or else the dialing that will bring the
// next one, which it starts if none is under way.
func (c *Conn) current() (*link, *dialing, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	if c.link != nil && c.link.alive() {
		return c.link, nil, nil
	}
	if c.dialing == nil {
		d := &dialing{done: make(chan struct{})}
		c.dialing = d
		c.tasks.Go(func() { c.dial(d) })
	}
	return nil, c.dialing, nil
}

// dial fills d and makes its link the current one.
func (c *Conn) dial(d *dialing) {
	l, err := c.dialAny()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.closed {
		l.close()
		l, err = nil, ErrClosed
	}
	if err == nil {
		c.link = l
	}
	d.link, d.err = l, err
	c.dialing = nil
	close(d.done)
}

// dialed is what became of one endpoint.
type dialed struct {
	at   *endpoint
	conn *quic.Conn
	err  error
}

// dialAny tries the endpoints in order, each a little after the one before, and
// returns a link to the first that answers.
func (c *Conn) dialAny() (*link, error) {
	ctx, cancel := context.WithCancel(c.ctx)
	order := c.endpoints.order(time.Now())
	results := make(chan dialed, len(order))
	running, untrusted := 0, 0
	defer func() {
		cancel()
		for range running { // late winners are not needed
			if r := <-results; r.err == nil {
				_ = r.conn.CloseWithError(connDone, "")
			}
		}
	}()

	stagger := time.NewTimer(0)
	defer stagger.Stop()
	errs := []error{errNoNode}
	for len(order) > 0 || running > 0 {
		var next <-chan time.Time
		if len(order) > 0 {
			next = stagger.C
		}
		select {
		case <-next:
			at := order[0]
			order = order[1:]
			running++
			c.tasks.Go(func() { results <- c.dialOne(ctx, at) })
			stagger.Reset(dialStagger)
		case r := <-results:
			running--
			if r.err == nil {
				return newLink(r.conn, r.at), nil
			}
			if ctx.Err() != nil {
				return nil, ErrClosed
			}
			if distrusts(r.err) {
				untrusted++
			}
			c.endpoints.failed(r.at, time.Now(), 0)
			errs = append(errs, fmt.Errorf("connect to %s: %w", r.at.address, r.err))
			stagger.Reset(0)
		}
	}
	if untrusted == c.endpoints.size() {
		errs[0] = ErrUntrusted
	}
	return nil, errors.Join(errs...)
}

// ErrUntrusted means that every node that was tried has shown a certificate that the
// client does not trust: wrong address, wrong pin, a clock that is off, or somebody in
// between. Trying again is of no use.
var ErrUntrusted = errors.New("no node's certificate is trusted")

// distrusts tells whether a handshake failed because of the node's certificate.
func distrusts(err error) bool {
	if errors.Is(err, tlsid.ErrPin) {
		return true
	}
	if _, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		return true
	}
	if _, is := errors.AsType[x509.HostnameError](err); is {
		return true
	}
	_, is := errors.AsType[x509.CertificateInvalidError](err)
	return is
}

// errNoNode is why a call has nowhere to go.
var errNoNode = errors.New("no node answers")

func (c *Conn) dialOne(ctx context.Context, at *endpoint) dialed {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addr, err := c.options.Resolve(ctx, at.address)
	if err != nil {
		return dialed{at: at, err: err}
	}
	config := c.options.TLS.Clone()
	if config.ServerName == "" {
		// Dial has checked the address.
		config.ServerName, _, _ = net.SplitHostPort(at.address)
	}
	conn, err := c.transport.Dial(ctx, addr, config, c.quic)
	return dialed{at, conn, err}
}

// abandon gives up a link after a failure: no new calls go there. Its endpoint
// is avoided for at least pause.
func (c *Conn) abandon(l *link, pause time.Duration) {
	c.endpoints.failed(l.at, time.Now(), pause)
	c.mu.Lock()
	if c.link == l {
		c.link = nil
	}
	c.mu.Unlock()
	l.retire()
}

// resolve is the default of Options.Resolve.
func resolve(ctx context.Context, address string) (net.Addr, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	return &net.UDPAddr{IP: addrs[0].IP, Zone: addrs[0].Zone, Port: number}, nil
}
